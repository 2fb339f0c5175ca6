"""Company: what processes that train together tell each other beside gradients, and how they part.

Words go through the store by which they met, not through collectives: so they can be waited for
without an end, and are heard when a collective fails. A process that ends by an error leaves its
cause there, and the others end with it: same text, same exit code, its rank and host named. One
that is killed or stands still says nothing; the others miss it at the next collective, at once or
after the timeout, and name it as the one that did not answer.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from diffsci.errors import DiffsciError
from diffsci.running.stopping import Stopped

ANSWER_SECONDS = 5.0
"""Survivors of a failed collective have so long to say that they are."""

_LOST = re.compile(r"gloo|NCCL|[Cc]onnection|[Tt]imed out|[Tt]imeout|Broken pipe|recvValue|Store")


class RankError(DiffsciError):
    """The run ends because another process of it did.

    Args:
        text: Which, and why.
        code: Its exit code.
        lost: Whether it said nothing, so that nobody has to wait for a word of it.
    """

    def __init__(self, text: str, code: int, lost: bool = False) -> None:
        super().__init__(text)
        self.exit_code, self.lost = code, lost


def is_lost(error: BaseException) -> bool:
    """Whether an error says that others cannot be reached, whatever it was wrapped in."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, RuntimeError) and _LOST.search(f"{type(each).__name__} {each}"):
            return True
        each = each.__cause__
    return False


def cause_of(error: BaseException) -> BaseException:
    """The error, or that of another process which it came in the middle of.

    A launcher that misses one process sends SIGTERM to the others, which may be on their way out.
    """
    each = error.__context__ if isinstance(error, Stopped) else None
    while each is not None and not (isinstance(each, RankError) or is_lost(each)):
        each = each.__context__
    return error if each is None else each


@dataclass(frozen=True, kw_only=True)
class Company:
    """The processes of a run.

    Args:
        rank: Of this one.
        world: How many there are.
        store: By which they met.
    """

    rank: int
    world: int
    store: Store

    def arrive(self) -> None:
        """Say who this is."""
        self.store.set(f"who/{self.rank}", f"process {os.getpid()} on {socket.gethostname()}")

    def tell(self, word: str, text: str) -> None:
        """A word to all others, once."""
        self.store.set(f"word/{word}", text)

    def hear(self, word: str, teller: int = 0) -> str | None:
        """The word, when it is told; none when the teller has left without it.

        Raises:
            RankError: When a process ended by an error.
        """
        while not self._is(f"word/{word}"):
            self._require_nobody_failed()
            if self._is(f"left/{teller}") and not self._is(f"word/{word}"):
                return None
            time.sleep(0.02)
        return str(self.store.get(f"word/{word}").decode())

    def take(self, word: str) -> int:
        """A number that no other process takes, counted from 0.

        Raises:
            RankError: When a process ended by an error.
        """
        self._require_nobody_failed()
        return int(self.store.add(f"taken/{word}", 1)) - 1

    def told(self, word: str) -> str | None:
        """The word, where it was told by now.

        Raises:
            RankError: When a process ended by an error.
        """
        self._require_nobody_failed()
        key = f"word/{word}"
        return str(self.store.get(key).decode()) if self._is(key) else None

    def meet(self, place: str, seconds: float) -> None:
        """Wait until all are there.

        Raises:
            RankError: When a process ended by an error, or is not there in time.
        """
        self.store.set(f"at/{place}/{self.rank}", "")
        until = time.monotonic() + seconds
        while missing := [r for r in range(self.world) if not self._is(f"at/{place}/{r}")]:
            self._require_nobody_failed()
            if time.monotonic() > until:
                raise RankError(f"{self._names(missing)} did not come within {seconds:.0f} s", 1)
            time.sleep(0.02)

    def leave(self) -> None:
        """Say that this one has done its part; rank 0, which may host the store, is the last."""
        self.store.set(f"left/{self.rank}", "")
        self._see_off([rank for rank in range(1, self.world) if self.rank == 0])

    def _see_off(self, others: list[int]) -> None:
        until = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < until and not all(self._is(f"left/{rank}") for rank in others):
            time.sleep(0.02)

    def explained(self, error: BaseException) -> BaseException:
        """What an error of this process comes from: itself, or what another one ended by."""
        try:
            if isinstance(error, RankError):
                return error
            if is_lost(error):
                return self._who_is_lost(error)
            self._blame(error)
            return error
        except RankError as found:  # another one has said meanwhile what it ended by
            return found
        except RuntimeError:  # of the store: its host is rank 0, or the launcher
            text = f"rank 0, or the launcher that hosts its store, has ended ({_line(error)})"
            return RankError(f"{text}; {_AGAIN}", 1, lost=True)

    def parted(self, error: BaseException) -> BaseException:
        """What to raise for an error of this process, which then leaves the others."""
        found = self.explained(error)
        if not (is_lost(found) or (isinstance(found, RankError) and found.lost)):
            with suppress(RuntimeError):  # of the store, as above
                self.leave()
        return found

    def _blame(self, error: BaseException) -> None:
        code = getattr(error, "exit_code", getattr(error, "code", 1))
        text = (
            _line(error) if isinstance(error, DiffsciError) else f"{type(error).__name__}: {error}"
        )
        cause = {"rank": self.rank, "text": text, "code": code if isinstance(code, int) else 1}
        # The first one is the cause, the rest follow from it.
        self.store.compare_set("cause", "", json.dumps(cause))

    def _who_is_lost(self, error: BaseException) -> BaseException:
        self.store.set(f"hurt/{self.rank}", "")
        until = time.monotonic() + ANSWER_SECONDS
        others = [rank for rank in range(self.world) if rank != self.rank]
        while time.monotonic() < until:
            self._require_nobody_failed()
            others = [r for r in others if not (self._is(f"hurt/{r}") or self._is(f"left/{r}"))]
            if not others:
                return error
            time.sleep(0.05)
        what = (
            "was killed, or does not answer"
            if len(others) == 1
            else "were killed, or do not answer"
        )
        return RankError(f"{self._names(others)} {what} ({_line(error)}); {_AGAIN}", 1, lost=True)

    def _require_nobody_failed(self) -> None:
        if self._is("cause"):
            cause = json.loads(self.store.get("cause").decode() or "{}")
            if cause and cause["rank"] != self.rank:
                name = self._names([cause["rank"]])
                self.store.set(f"left/{self.rank}", "")
                raise RankError(f"{name} ended: {cause['text']}", cause["code"])

    def _names(self, ranks: list[int]) -> str:
        told = []
        for rank in ranks:
            known = self._is(f"who/{rank}")
            who = self.store.get(f"who/{rank}").decode() if known else "never seen"
            told.append(f"rank {rank} ({who})")
        return ", ".join(told)

    def _is(self, key: str) -> bool:
        return bool(self.store.check([key]))


_AGAIN = "the same command goes on from the last checkpoint"


def _line(error: BaseException) -> str:
    """The error in one line of bounded length, without where in gloo it was noticed."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[\S*gloo\S*\] ", "", text).partition(". This is typically")[0]
    return text[:300]


_met: dict[tuple[str, ...], tuple[Store, int]] = {}
"""Stores that this process has met others by, and how often: by address, port and rank."""


def meet_others(seconds: float) -> Store:
    """The store that the environment of `torchrun` names, with its own part of the names.

    They are those of one meeting. The points of a sweep are met for one after another, the store
    is the launcher's and stays, and what was said for one point is not of the next.
    """
    where = tuple(os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT", "RANK"))
    store, count = _met.get(where, (None, 0))
    if store is None:
        store = next(iter(rendezvous("env://", timeout=timedelta(seconds=seconds))))[0]
    _met[where] = (store, count + 1)
    return PrefixStore(f"diffsci/{count}", store)
