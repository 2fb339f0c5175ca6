"""The code of a registered model: MLflow keeps a copy of this file beside the model's own folder.

Nothing of it is pickled. The weights are safetensors in the folder that `diffsci.load` reads, whose
checksums are looked at first. Input and output are NetCDF files as bytes, one a row, in a column
`netcdf`, since labels and units must come along; a model that is given nothing takes no bytes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

import diffsci
from diffsci.data.catalog import Entry, Source
from diffsci.forecasting.requests.answering import Question, planned
from diffsci.forecasting.requests.plausible import WITHIN


class Registered(PythonModel):
    """A trained surrogate behind MLflow's interface."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401
        """Read the model's folder, once."""
        self.model = diffsci.load(context.artifacts["model"])
        self.engine = self.model.engine()

    def predict(
        self,
        context: Any,  # noqa: ANN401
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """The ensemble of each row's file, as NetCDF bytes.

        Args:
            context: Of MLflow.
            model_input: A column `netcdf`.
            params: `members`, `seed`, `lead`, `start` and `within`; 0 members, a negative seed and
                empty texts take what the pipeline says.
        """
        asked = params or {}
        members, seed = int(asked.get("members", 0)), int(asked.get("seed", -1))
        start = str(asked.get("start", ""))
        question = Question(
            members=members or None,
            seed=None if seed < 0 else seed,
            lead=str(asked.get("lead", "")) or None,
            starts=tuple(start.split(",")) if start else (),
            within=float(asked.get("within", WITHIN)),
        )
        return pd.DataFrame({"netcdf": [self._one(b, question) for b in model_input["netcdf"]]})

    def _one(self, body: bytes, question: Question) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            given, made = Path(folder) / "given.nc", Path(folder) / "made.nc"
            given.write_bytes(body)
            entry = Entry(name="input", source=Source(path=str(given))) if body else None
            answer = planned(self.model, entry, question).answer(self.engine)
            answer.to_netcdf(made, engine="netcdf4")
            return made.read_bytes()


set_model(Registered())
