"""diffsci: probabilistic scientific surrogates, from gridded data to a calibrated, scored ensemble.

model = diffsci.load("runs/quickstart")
ensemble = model.sample(condition, members=16, seed=0)
fields = diffsci.open_data("my_data/t2m.nc")
stored = diffsci.open_forecast("runs/quickstart")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["load", "open_data", "open_forecast"]

if TYPE_CHECKING:
    from diffsci.data.opening import open_data
    from diffsci.forecasting.store.views import open_forecast
    from diffsci.pipeline import load


def __getattr__(name: str) -> object:
    # `import diffsci` stays light: torch and xarray come with the first use.
    if name == "load":
        from diffsci.pipeline import load

        return load
    if name == "open_forecast":
        from diffsci.forecasting.store.views import open_forecast

        return open_forecast
    if name == "open_data":
        from diffsci.data.opening import open_data

        return open_data
    raise AttributeError(f"module 'diffsci' has no attribute {name!r}")
