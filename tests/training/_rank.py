"""Run as rank 1 beside a test that is rank 0: both train a tiny model."""

import torch

from diffsci.training import distributed
from tests.training.tiny import TinyExamples, tiny_denoiser, tiny_section, tiny_train


def trained(accumulate=1):
    """The state after all steps of this rank, in float64 and without dropout."""
    # Rank 1 begins elsewhere: joining must give it rank 0's weights.
    denoiser = tiny_denoiser(seed=distributed.current().rank, dtype=torch.float64)
    denoiser.network.dropout.p = 0.0
    valid = TinyExamples(5, seed=1, dtype=torch.float64)
    section = tiny_section(accumulate=accumulate)
    *_, last = tiny_train(denoiser, TinyExamples(dtype=torch.float64), section, valid=valid)
    return last.state()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group(torch.device("cpu"), timeout_seconds=60.0):
        for accumulate in (1, 2):
            trained(accumulate)
