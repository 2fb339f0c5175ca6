"""diffsci: probabilistic scientific surrogates, from gridded data to a calibrated, scored ensemble.

model = diffsci.load("runs/quickstart")
ensemble = model.sample(condition, members=16, seed=0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["load"]

if TYPE_CHECKING:
    from diffsci.pipeline import load


def __getattr__(name: str) -> object:
    # `import diffsci` stays light: torch and xarray come with the first use.
    if name == "load":
        from diffsci.pipeline import load

        return load
    raise AttributeError(f"module 'diffsci' has no attribute {name!r}")
