"""Sections `runtime` and `tracking`: where it computes, and where runs are remembered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Literal

from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how it computes.

    Args:
        device: `auto` takes CUDA, then Apple's MPS, then the CPU.
        threads: Of torch on the CPU; `auto` (or 0) leaves torch's own choice, one per core.
        precision: `bf16` and `fp16` run the network under autocast, fp16 with a scaled loss where
            it trains; `auto` takes bf16 where it is native.
        compile: Whether torch compiles the network; `auto` does in training, where a run is long
            enough to win back the minute that it takes, and not in sampling, where the bits of a
            member would come to depend on how many are drawn.
        memory_format: How fields lie in memory; `auto` takes what measured faster on the device.
        checkpointing: Whether training holds the inputs of blocks alone and computes the rest
            again; `auto` does where it would not fit into memory otherwise. Bits do not depend on
            it.
        deterministic: Whether training takes deterministic algorithms alone, and fails where there
            is none; `auto` does on the CPU. On CUDA it takes longer.
        sharding: What processes that train together share out: `none`, each holds all weights, or
            `full`: each holds its part of weights, averages and moments.
        workers: Processes that read training data where it stays on disk; 0 reads the next batch in
            a thread, while the step runs. No number depends on it.
        memory: GiB of data that may be held in memory, `auto` half of what is free; larger data
            stays on disk, read batch by batch. No number depends on it.
        batch: States held while a window of leads of a unit of the store is made, one lead of
            `sample.compute_batch` rows at least. Results do not depend on it.
        dask: Where dask workers sample: `local` starts some on this machine, an address such as
            `tcp://host:8786` is that of a scheduler; null samples in the run's own processes.
    """

    device: str = "auto"
    threads: int | Literal["auto"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    checkpointing: bool | Literal["auto"] = "auto"
    deterministic: bool | Literal["auto"] = "auto"
    sharding: Literal["none", "full"] = "none"
    workers: int = 0
    memory: float | Literal["auto"] = "auto"
    batch: int = 64
    dask: str | None = None

    def __post_init__(self) -> None:
        fits = self.threads == "auto" or self.threads >= 0
        require(fits, "threads", self.threads, "auto (torch's choice), or 1 or more")
        require(self.workers >= 0, "workers", self.workers, "0 (a thread) or more")
        fits = self.memory == "auto" or self.memory >= 0
        require(fits, "memory", self.memory, "auto (half of what is free), or GiB, 0 or more")
        require(self.batch >= 1, "batch", self.batch, "1 or more")
        fits = self.dask is None or re.fullmatch(r"local|[a-z]+://\S+", self.dask) is not None
        require(fits, "dask", self.dask, "null, local, or an address such as tcp://host:8786")
        if self.sharding == "full":
            require(self.compile is not True, "compile", True, "auto or false, with sharding: full")
            fits = self.memory_format != "channels_last"
            expected = "auto or contiguous, with sharding: full"
            require(fits, "memory_format", self.memory_format, expected)
            require(self.device != "mps", "device", self.device, "cuda or cpu, with sharding: full")
        known = re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", self.device)
        require(known is not None, "device", self.device, "auto, cpu, mps, cuda or cuda:N")


STORES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")
"""Kinds of tracking stores; of a database also with its driver, such as `mysql+pymysql`."""


def _is_store(uri: str) -> bool:
    """Whether MLflow, or a plugin of it that is installed, has such stores."""
    scheme = uri.partition("://")[0] if "://" in uri or uri != "databricks" else uri
    if scheme.partition("+")[0] in STORES:
        return True
    return bool(entry_points(group="mlflow.tracking_store", name=scheme))


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """MLflow.

    Args:
        enabled: Off: nothing is imported or written.
        uri: Tracking store; none takes `sqlite:///mlflow.db` in the working directory.
        experiment: Name; none takes the pipeline's data entry and task.
        register: Name under which the model goes into MLflow's registry at the end of the run.
        alias: Of the version that is registered, such as `champion`.
    """

    enabled: bool = True
    uri: str | None = None
    experiment: str | None = None
    register: str | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        # The address is written into run folders and logs, so it must not hold a password.
        secret = self.uri is not None and re.search(r"://[^/@]*:[^/@]*@", self.uri) is not None
        expected = "no password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        require(not secret, "uri", "an address with a password", expected)
        require(self.uri != "", "uri", self.uri, "an address, or null for the default")
        fits = self.uri is None or _is_store(self.uri)
        known = f"{', '.join(STORES[:-1])} or {STORES[-1]}"
        expected = f"an address that begins with {known} and ://, such as sqlite:///mlflow.db"
        require(fits, "uri", self.uri, expected)
        for name in ("register", "alias"):
            value = getattr(self, name)
            fits = value is None or re.fullmatch(r"[^\W_][\w .-]{0,199}", value) is not None
            require(fits, name, value, "letters, digits, - _ . and blanks, or null")
        fits = self.alias is None or self.register is not None
        require(fits, "alias", self.alias, "null, or `register` beside it")
