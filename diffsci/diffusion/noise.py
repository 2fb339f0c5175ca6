"""Noise without state: each number is a function of who asks for it, not of what came before.

A counter-based generator turns (key, counter) into random bits. The key is a hash of the seed and
of the case; the counter holds the position in the field, the draw, the lead and the member. So
member k of a case is the same in any batch, order, process or restart, and a rollout needs no
saved state.

Philox4x32-10 makes four 32-bit words from a 128-bit counter and a 64-bit key by ten rounds of
multiplication; the Box-Muller transform makes two normals from two words.

Source: Salmon et al. (2011), Parallel Random Numbers: As Easy as 1, 2, 3,
doi:10.1145/2063384.2063405.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.errors import require

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LASTING = _MASK
"""Number of the draw that a member has in common at all leads."""

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    """Four words of 32 random bits for each counter, as int64 tensors of the common shape.

    Products of two 32-bit words wrap around in int64, which leaves their 64 bits as they are.

    Args:
        counter: Four int64 tensors with values in [0, 2^32) that broadcast against each other.
        key: Two such tensors.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for turn in range(_ROUNDS):
        if turn:
            k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
        product_0, product_2 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product_2 >> 32) ^ c1 ^ k0) & _MASK,
            product_2 & _MASK,
            ((product_0 >> 32) ^ c3 ^ k1) & _MASK,
            product_0 & _MASK,
        )
    return c0, c1, c2, c3


def normals(words: Words, count: int) -> Float[Tensor, "batch count"]:
    """The first `count` standard normals of each row, in float64, four from each counter.

    Computed in float64 whatever is asked for, so that float32 and float64 runs, and CPU and GPU,
    see the same noise up to rounding. Half a unit is added to a word, which keeps the logarithm
    finite.

    Args:
        words: Of shape [batch, blocks].
        count: At most four times the blocks.
    """
    uniform = [(word.to(torch.float64) + 0.5) * 2.0**-32 for word in words]
    pairs = []
    for first, second in ((uniform[0], uniform[1]), (uniform[2], uniform[3])):
        radius = torch.sqrt(-2 * torch.log(first))
        angle = 2 * math.pi * second
        pairs += [radius * torch.cos(angle), radius * torch.sin(angle)]
    return torch.stack(pairs, dim=-1).flatten(1)[:, :count]


def key_of(seed: int, case: str) -> int:
    """64 bits for a seed and a case, the same on every machine."""
    digest = hashlib.sha256(f"{seed}\n{case}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


@dataclass(frozen=True, kw_only=True)
class MemberNoise:
    """Standard normal noise for a batch whose rows are members of cases at leads.

    `noise(like, index)` is draw number `index` for each row, of the shape, dtype and device of
    `like`. The bits of a row depend on `seed`, on its case, member and lead, on `index` and on
    the position of the element in the row; not on the other rows. By convention draw 0 starts a
    sampler and it takes 1, 2, ... itself.

    Args:
        seed: Of the ensemble.
        cases: One stable name per row, such as its initialisation time.
        members: Number of the member, per row.
        leads: Number of the forecast step, per row.
        persistent: Share p of the variance of draw 0 that a member has in common at all leads:
            sqrt(p) times a draw that knows no lead, plus sqrt(1 - p) times that of the lead. Each
            is standard normal, and any two leads correlate by p.
    """

    seed: int
    cases: tuple[str, ...]
    members: tuple[int, ...]
    leads: tuple[int, ...]
    persistent: float = 0.0
    _rows: dict[torch.device, Words] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        for name in ("members", "leads"):
            values = getattr(self, name)
            require(len(values) == len(self.cases), name, values, f"{len(self.cases)} numbers")
            fits = all(0 <= value <= _MASK for value in values)
            require(fits, name, values, "numbers from 0 to 2^32 - 1")
        require(0 <= self.persistent <= 1, "persistent", self.persistent, "a share from 0 to 1")

    def __call__(
        self, like: Float[Tensor, "batch *shape"], index: int
    ) -> Float[Tensor, "batch *shape"]:
        """Draw number `index`."""
        require(len(like) == len(self.cases), "like", len(like), f"{len(self.cases)} rows")
        require(0 <= index < _LASTING, "index", index, "a number from 0 to 2^32 - 2")
        device = _where(like)
        if device not in self._rows:
            keys = [key_of(self.seed, case) for case in self.cases]
            columns = [[key & _MASK for key in keys], [key >> 32 for key in keys]]
            table = torch.tensor([*columns, self.leads, self.members], dtype=torch.int64)
            low, high, lead, member = table.to(device)[:, :, None]
            self._rows[device] = low, high, lead, member
        rows = self._rows[device]
        own = _draw(rows, index, like)
        if index or not self.persistent:
            return own
        low, high, lead, member = rows
        lasting = _draw((low, high, torch.zeros_like(lead), member), _LASTING, like)
        return math.sqrt(self.persistent) * lasting + math.sqrt(1 - self.persistent) * own


def seeded(seed: int) -> Callable[[Tensor, int], Tensor]:
    """Noise for a batch of any size: row r is member r of one nameless case."""
    key = key_of(seed, "")

    def noise(like: Tensor, index: int) -> Tensor:
        members = torch.arange(len(like), device=_where(like))[:, None]
        low, high, lead = (torch.full_like(members, word) for word in (key & _MASK, key >> 32, 0))
        return _draw((low, high, lead, members), index, like)

    return noise


def _where(like: Tensor) -> torch.device:
    # Apple's GPUs have no float64: there the numbers are made on the CPU.
    return torch.device("cpu") if like.device.type == "mps" else like.device


def _draw(rows: Words, index: int, like: Tensor) -> Tensor:
    low, high, lead, member = rows
    count = math.prod(like.shape[1:])
    block = torch.arange(-(-count // 4), device=low.device)[None]
    draw = torch.full_like(block[:, :1], index)
    words = philox((block, draw, lead, member), (low, high))
    return normals(words, count).to(like.dtype).to(like.device).reshape(like.shape)
