"""Long trajectories of a model of short pieces: estimates of pieces that overlap, blended.

Where frames far apart say nothing of each other that those between do not say, the estimate of a
frame depends on its neighbourhood alone, and a piece about it is enough.

Source: Rozet and Louppe (2023), Score-based Data Assimilation, arXiv:2306.10574.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.guidance.base import ConditionalDenoise
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Pieces that cover some frames.

    Args:
        frames: In all.
        length: Of a piece.
        channels: Of a frame.
        starts: First frame of each piece.
    """

    frames: int
    length: int
    channels: int
    starts: tuple[int, ...]

    @classmethod
    def of(cls, frames: int, length: int, channels: int, overlap: int) -> Chain:
        """The fewest pieces that overlap by so many frames or more.

        Args:
            frames: In all, `length` or more.
            length: Of a piece.
            channels: Of a frame.
            overlap: Frames.
        """
        require(frames >= length, "frames", frames, f"{length} or more, the length of a piece")
        require(0 <= overlap < length, "overlap", overlap, f"0 to {length - 1} frames")
        more = -(-(frames - length) // (length - overlap))
        starts = np.round(np.linspace(0, frames - length, more + 1)).astype(int)
        return cls(frames=frames, length=length, channels=channels, starts=tuple(starts.tolist()))

    @property
    def weights(self) -> Float[np.ndarray, "piece frame"]:
        """What each piece counts in each of its frames; sums to 1 in each.

        Nearly nothing at its ends, where it does not know what lies beyond: of a process with a
        memory of a few frames the 4th power leaves a tenth of the error that a straight line does.
        """
        place = np.arange(self.length)
        hat = np.minimum(place + 1, self.length - place).astype(np.float64) ** 4
        total = np.zeros(self.frames)
        for start in self.starts:
            total[start : start + self.length] += hat
        return np.stack([hat / total[start : start + self.length] for start in self.starts])

    def over(self, denoise: ConditionalDenoise) -> ConditionalDenoise:
        """The denoiser of whole trajectories, frames one after the other along channels.

        Args:
            denoise: Of pieces.
        """
        weights = torch.from_numpy(self.weights)

        def chained(
            x_t: Tensor, t: Tensor, condition: Tensor | None, scalars: Tensor | None
        ) -> Tensor:
            space = x_t.shape[2:]
            x = x_t.reshape(len(x_t), self.frames, self.channels, *space)
            pieces = torch.stack([x[:, s : s + self.length] for s in self.starts], dim=1)
            count = len(self.starts)
            given = None if scalars is None else scalars.repeat_interleave(count, dim=0)
            flat = pieces.reshape(len(x) * count, self.length * self.channels, *space)
            made = denoise(flat, t, None, given).reshape(pieces.shape)
            shape = (1, count, self.length, *[1] * (1 + len(space)))
            made = made * weights.to(made).reshape(shape)
            out = torch.zeros_like(x)
            for number, start in enumerate(self.starts):
                before, after = start, self.frames - start - self.length
                part = made[:, number]
                out = out + torch.nn.functional.pad(
                    part, (*[0, 0] * (1 + len(space)), before, after)
                )
            return out.reshape(x_t.shape)

        return chained
