"""What to say when a step left the finite numbers: where it began, and what would help."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from diffsci.batch import Batch
from diffsci.errors import NumericsError


def explain(
    step: int, index: np.ndarray, batch: Batch, losses: Tensor, module: nn.Module
) -> NumericsError:
    """The error for a step whose loss or gradient is not finite; no weight has been touched.

    Args:
        step: The step that was not done, counted from 1.
        index: Numbers of the batch's examples in the training set.
        batch: What was trained on.
        losses: Loss of each example.
        module: The network, with its gradients.
    """
    given = {"target": batch.target, "condition": batch.condition, "scalars": batch.scalars}
    for name, values in given.items():
        bad = [] if values is None else _bad_rows(values, index)
        if bad:
            return NumericsError(
                f"training step {step}: {name} of the training examples {bad} is not finite; "
                "no weight was changed. Find the values with `diffsci check` and mend or mask them"
            )
    bad = _bad_rows(losses, index)
    if bad:
        return NumericsError(
            f"training step {step}: the loss of the training examples {bad} is not finite though "
            "their values are; no weight was changed. Lower train.lr or train.clip, or set "
            "runtime.precision=fp32"
        )
    names = [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
    ]
    return NumericsError(
        f"training step {step}: the gradient is not finite in {len(names)} weights, first "
        f"{names[:3]}, over the training examples {index.tolist()}; no weight was changed. Lower "
        "train.lr or train.clip, or set runtime.precision=fp32"
    )


def _bad_rows(values: Tensor, index: np.ndarray) -> list[int]:
    finite = torch.isfinite(values.detach().flatten(1) if values.ndim > 1 else values.detach())
    rows = finite.all(dim=1) if finite.ndim > 1 else finite
    return [int(number) for number in index[~rows.cpu().numpy()]]
