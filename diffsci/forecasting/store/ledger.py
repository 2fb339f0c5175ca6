"""The ledger of a forecast store: what is in it, and what it was made from.

It lies inside the store as the attributes of a group of its own, `ledger`, which is plain Zarr and
which readers of the root never see. Nothing in it depends on when or how the work was done: two
stores that were asked for the same have the same ledger, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import zarr

from diffsci.errors import DataError, StorageError
from diffsci.forecasting.bounds import Bounds
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.failing import Failure
from diffsci.forecasting.given import Given
from diffsci.forecasting.store import differing
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running.changes import Change, changes
from diffsci.training.ema import weights_of

GROUP = "ledger"
FORMAT = 1
SCHEME = "Philox4x32-10 keyed by (seed, case), counters (draw, lead, member)"


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What a store holds.

    Args:
        identity: What the bits of a member depend on, beside its case and its number.
        cases: Digest of what is known of each case, by the case's key, in the store's order.
        members: Members of each case.
        leads: Forecast steps; 1 where there are none.
        layout: How values are stored.
        failed: Members that are NaN.
    """

    identity: dict[str, Any]
    cases: dict[str, str]
    members: int
    leads: int
    layout: dict[str, Any] = field(default_factory=dict)
    failed: tuple[Failure, ...] = ()

    @property
    def digest(self) -> str:
        """Of all but the failures."""
        return digest_of_plain(self.to_dict() | {"failed": []})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in a fixed order."""
        return {
            "format": FORMAT,
            "identity": dict(sorted(self.identity.items())),
            "layout": dict(sorted(self.layout.items())),
            "members": self.members,
            "leads": self.leads,
            "cases": [list(pair) for pair in self.cases.items()],
            "failed": [each.to_dict() for each in sorted(self.failed)],
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any], where: Place) -> Ledger:
        """From what `to_dict` gave.

        Raises:
            StorageError: For a newer format, or what is no ledger.
        """
        try:
            if plain["format"] > FORMAT:
                raise StorageError(
                    f"{where}: its ledger has format {plain['format']}, newer than {FORMAT}, which "
                    "this diffsci reads; update diffsci"
                )
            return cls(
                identity=dict(plain["identity"]),
                layout=dict(plain["layout"]),
                members=int(plain["members"]),
                leads=int(plain["leads"]),
                cases={str(key): str(digest) for key, digest in plain["cases"]},
                failed=tuple(Failure(**each) for each in plain["failed"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{where}: its ledger cannot be read ({error!r})") from None

    def write(self, store: Place, zarr_format: int) -> None:
        """Put it into a store."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.open_group(
                store.address,
                path=GROUP,
                mode="w",
                zarr_format=zarr_format,  # type: ignore[arg-type]
                attributes=self.to_dict(),
            )

    @classmethod
    def read(cls, store: Place) -> Ledger | None:
        """That of a store; none where it has none, as stores that others made.

        Raises:
            StorageError: When it cannot be read.
        """
        for name, key in (("zarr.json", "attributes"), (".zattrs", None)):
            if not store.has(f"{GROUP}/{name}"):
                continue
            try:
                plain = json.loads(store.read(f"{GROUP}/{name}"))
            except ValueError as error:
                raise StorageError(f"{store}: its ledger is damaged ({error})") from None
            return cls.of(plain[key] if key else plain, store)
        return None

    def differences(self, asked: Ledger) -> list[Change]:
        """What a store that is asked for would be made from otherwise, whatever it holds."""
        layout = changes(self.layout, asked.layout)
        return [
            *changes(self.identity, asked.identity),
            *(replace(each, key=f"store.{each.key}") for each in layout),
        ]

    def require_same(self, asked: Ledger, store: Place | str, note: str = "") -> None:
        """Refuse to add to a store what was made from something else.

        Args:
            asked: What it is to hold.
            store: The store.
            note: What may be the reason.

        Raises:
            StorageError: With what differs, and the overrides with which nothing does.
        """
        found = self.differences(asked)
        if found:
            texts = differing.overrides(found)
            way = f"give {texts} to add to it, or " if texts else ""
            raise StorageError(
                f"{store}: it was made from something else ({differing.listed(found)}){note}, and "
                f"one store holds one ensemble; {way}choose another name with --out"
            )
        self.require_same_cases(asked, store)

    def require_same_cases(self, asked: Ledger, store: Place | str) -> None:
        """Refuse other data, or other observations, of the cases that both have.

        Raises:
            StorageError: Naming the first of them.
        """
        other = [
            key for key, digest in asked.cases.items() if self.cases.get(key, digest) != digest
        ]
        if other:
            raise StorageError(
                f"{store}: what is known of {len(other)} of its cases is not what it was made from "
                f"(the first is {other[0]}): other data, or other observations; choose another "
                "name with --out"
            )


def digest_of_plain(plain: object) -> str:
    """Short hash of plain values, independent of the order of keys in mappings."""
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def identity_of(model: Surrogate, engine: Engine, seed: int) -> dict[str, Any]:
    """What the bits of a member depend on, beside its case, its number and the machine.

    Args:
        model: The model.
        engine: How it computes.
        seed: Of the noise.
    """
    section = model.pipeline.sample
    described = {
        "sampler": engine.sampler,
        "guidance": engine.guidance,
        "perturb": section.perturb if section else None,
        "tiles": section.tiles if section else None,
        "made_by": model.pipeline.model,
    }
    return {
        "model": model.provenance.get("diffsci_model") or _digest_of_weights(model),
        "statistics": _digest_of_arrays(
            [model.statistics.state_mean, model.statistics.state_std]
            + [model.statistics.target_mean, model.statistics.target_std]
        ),
        **{name: None if part is None else _told(repr(part)) for name, part in described.items()},
        "bounds": [list(each) for each in Bounds.of(model.channels).pairs],
        "limit": engine.limit,
        "seed": seed,
        "seed_scheme": SCHEME,
        "compute_batch": engine.compute_batch,
        "precision": engine.device.precision,
        **_constraints(engine),
        # As above: what was made before there was such a share goes on.
        **({"persistent_noise": engine.persistent_noise} if engine.persistent_noise else {}),
    }


def _constraints(engine: Engine) -> dict[str, str]:
    """What states are brought onto, files of conditions too; nothing where there is nothing."""
    if engine.constraints is None:
        return {}
    held = engine.constraints.projection
    arrays = [each.numpy() for each in (held.rows, held.values, held.low, held.high)]
    return {"constraints": f"{_told(repr(held.subspaces))} {_digest_of_arrays(arrays)}"}


def conditions_of(given: Given) -> dict[str, str]:
    """Digest of what is known of each case, by its key.

    Raises:
        DataError: For two cases of one key: their members would have the same noise.
    """
    found: dict[str, str] = {}
    for index, key in enumerate(given.cases.keys):
        if key in found:
            raise DataError(f"case {key} is given twice; leave one of them out")
        parts = [given.known, given.scalars, given.edges]
        parts += [] if given.observed is None else [given.observed.values]
        arrays = [part[index].numpy() for part in parts if part is not None]
        found[key] = _digest_of_arrays(arrays)
    return found


def _told(text: str) -> str:
    """The text itself, as long as somebody would read it."""
    return text if len(text) <= 300 else f"digest {digest_of_plain(text)}"


def _digest_of_arrays(arrays: list[np.ndarray]) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()[:16]


def _digest_of_weights(model: Surrogate) -> str:
    weights = weights_of(model.denoiser)
    return _digest_of_arrays([weights[name].cpu().numpy() for name in sorted(weights)])
