"""Pixels: one image file as float32 numbers, as stored, made alike by a declared policy alone.

Grey stays grey and 16 bits stay 16 bits. What a reader would change unasked is refused: transparent
pixels, and colours of 16 bits, of which it would drop the lower half.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffsci.errors import DataError

MAX_PIXELS = 2**28
"""An image that claims more is refused before its pixels are read."""

_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")
_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How images are made alike.

    Args:
        colour: `rgb` or `grey`; none leaves it as it is, the same for all.
        size: Rows and columns; none takes those that all have.
        fit: How to come to that size; none refuses other sizes.
    """

    colour: str | None = None
    size: tuple[int, int] | None = None
    fit: str | None = None


def shape_of(file: Path, policy: Policy) -> tuple[int, ...]:
    """Rows, columns and, for colour, 3; from the head of the file."""
    if file.suffix.lower() == ".npy":
        try:
            shape = np.lib.format.open_memmap(file, "r").shape
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{file}: no array can be read ({error}); write it anew") from error
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
            raise DataError(f"{file}: shape {shape}, expected [rows, columns] or [..., 3]")
        return shape if policy.colour is None else (*shape[:2], *_kind(policy.colour))
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                columns, rows = image.size
                deep = any("16" in str(tile[3]) for tile in image.tile) and image.mode == "RGB"
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                colour = policy.colour or ("grey" if image.mode in _GREY else "rgb")
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: no image can be read ({error}); fetch it again") from error
    if deep:
        raise DataError(f"{file}: colours of 16 bits would lose 8 of them; write it as .npy")
    if rows * columns > MAX_PIXELS:
        raise DataError(f"{file}: claims {rows} x {columns} pixels; leave it out")
    size = (columns, rows) if turned else (rows, columns)
    return (*size, *_kind(colour))


def _kind(colour: str) -> tuple[int, ...]:
    return (3,) if colour == "rgb" else ()


def pixels(file: Path, shape: tuple[int, ...], policy: Policy) -> np.ndarray:
    """One image as float32 of that shape.

    Raises:
        DataError: When the file is cut off.
    """
    if file.suffix.lower() == ".npy":
        values = np.load(file, allow_pickle=False).astype(np.float32)
        if policy.colour == "grey" and values.ndim == 3:
            values = values @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        elif policy.colour == "rgb" and values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=-1)
    else:
        values = _decoded(file, grey=not shape[2:])
    return values if values.shape == shape else _fitted(values, shape, str(policy.fit))


def _decoded(file: Path, *, grey: bool) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image)
            if grey and upright.mode in _DEEP:
                return np.asarray(upright, dtype=np.float32)
            if (
                upright.mode in ("RGBA", "LA", "PA")
                and np.asarray(upright.getchannel("A")).min() < 255
            ):
                raise DataError(
                    f"{file}: has transparent pixels, whose colour is not known; "
                    "lay it on a background"
                )
            return np.asarray(upright.convert("L" if grey else "RGB"), dtype=np.float32)
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{file}: the image is cut off or damaged ({error}); fetch it again"
        ) from error


def _fitted(values: np.ndarray, shape: tuple[int, ...], fit: str) -> np.ndarray:
    """Cut to the middle, padded with zeros around the middle, or resized with area averages."""
    if fit == "resize":
        from PIL import Image

        planes = values[..., None] if values.ndim == 2 else values
        size = (shape[1], shape[0])
        parts = [
            np.asarray(
                Image.fromarray(planes[..., c]).resize(
                    size, Image.Resampling.BOX, reducing_gap=None
                )
            )
            for c in range(planes.shape[-1])
        ]
        return np.stack(parts, axis=-1).reshape(shape)
    cut, put = [], []
    for have, want in zip(values.shape[:2], shape[:2], strict=True):
        if fit == "crop" and have < want:
            raise DataError(
                f"an image of {list(values.shape[:2])} cannot be cropped to {list(shape[:2])}; "
                "write `fit: pad` or `fit: resize`, or a smaller `size`"
            )
        if fit == "pad" and have > want:
            raise DataError(
                f"an image of {list(values.shape[:2])} cannot be padded to {list(shape[:2])}; "
                "write `fit: crop` or `fit: resize`, or a larger `size`"
            )
        size = min(have, want)
        cut.append(slice((have - size) // 2, (have - size) // 2 + size))
        put.append(slice((want - size) // 2, (want - size) // 2 + size))
    made = np.zeros(shape, dtype=np.float32)
    made[tuple(put)] = values[tuple(cut)]
    return made
