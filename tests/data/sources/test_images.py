"""Folders of images: values as stored, classes, sequences; what differs is made alike or told."""

import numpy as np
import pytest
from PIL import Image as Picture

from diffsci.data import reader
from diffsci.data.catalog import Entry, Source
from diffsci.data.checks import preflight
from diffsci.data.domains.image import Image
from diffsci.errors import DataError
from diffsci.sections import Part

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 6, 8), dtype=np.uint8)
RGB = RNG.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)


def read(path, **options):
    entry = Entry(name="mine", source=Source(path=str(path)), engine="images", open_kwargs=options)
    return reader.read(entry, Image(), Part())


def save(folder, images, suffix="png", start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(images):
        Picture.fromarray(pixels).save(folder / f"{start + number:03d}.{suffix}")
    return folder


@pytest.mark.parametrize("suffix", ["png", "tiff", "npy"])
@pytest.mark.parametrize("images", [GREY, RGB])
def test_values_are_as_stored(suffix, images, tmp_path):
    if suffix == "npy":
        tmp_path.joinpath("a").mkdir()
        for number, pixels in enumerate(images):
            np.save(tmp_path / "a" / f"{number}.npy", pixels)
    else:
        save(tmp_path / "a", images, suffix)
    found = reader.read(str(tmp_path / "a"), Image(), Part())
    wanted = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    assert np.array_equal(found.values[:, 0], wanted.astype("f4"))
    assert found.scalars is None


def test_sixteen_bits_stay_sixteen_bits(tmp_path):
    deep = RNG.integers(0, 65536, (2, 6, 8), dtype=np.uint16)
    for suffix in ("png", "tiff"):
        folder = save(tmp_path / suffix, deep, suffix)
        found = reader.read(str(folder), Image(), Part())
        assert np.array_equal(found.values[:, 0, 0], deep.astype("f4"))


def test_jpeg_is_what_pillow_decodes(tmp_path):
    save(tmp_path / "a", RGB, "jpeg")
    found = reader.read(str(tmp_path / "a"), Image(), Part())
    wanted = np.stack(
        [np.asarray(Picture.open(tmp_path / "a" / f"{i:03d}.jpeg")) for i in range(4)]
    )
    assert np.array_equal(found.values[:, 0], wanted.transpose(0, 3, 1, 2).astype("f4"))


def test_a_subfolder_is_a_class_and_so_is_a_line_of_a_table(tmp_path):
    save(tmp_path / "a" / "cat", GREY[:3])
    save(tmp_path / "a" / "dog", GREY[3:])
    found = reader.read(str(tmp_path / "a"), Image(), Part())
    assert found.scalars.argmax(axis=1).tolist() == [0, 0, 0, 1]
    save(tmp_path / "b", GREY)
    (tmp_path / "b" / "classes.csv").write_text("000.png,x\n001.png,y\n002.png,x\n003.png,z\n")
    found = read(tmp_path / "b", labels="classes.csv")
    assert found.scalars.argmax(axis=1).tolist() == [0, 1, 0, 2]
    (tmp_path / "b" / "classes.csv").write_text("000.png,x\n")
    with pytest.raises(DataError, match="no class for 3 images, the first is 001.png"):
        read(tmp_path / "b", labels="classes.csv")
    save(tmp_path / "a", GREY[:1])
    with pytest.raises(DataError, match="both in it and in its subfolders"):
        reader.read(str(tmp_path / "a"), Image(), Part())


def test_folders_of_frames_are_sequences_in_time(tmp_path):
    save(tmp_path / "a" / "one", GREY[:2])
    save(tmp_path / "a" / "two", GREY[2:])
    found = read(tmp_path / "a", layout="frames")
    assert np.array_equal(found.values[:, :, 0], GREY.reshape(2, 2, 6, 8).astype("f4"))
    alone = read(tmp_path / "a" / "one", layout="frames")
    assert alone.values.shape == (1, 2, 1, 6, 8)
    save(tmp_path / "a" / "two", GREY[:1], start=7)
    with pytest.raises(DataError, match="sequences have 2 to 3 frames"):
        read(tmp_path / "a", layout="frames")


def test_sizes_are_made_equal_by_declaration_alone(tmp_path):
    save(tmp_path / "a", [GREY[0], GREY[1, :5, :7]])
    with pytest.raises(DataError, match=r"differ in size .*\[6, 8\] in 000.*\[5, 7\] in 001.*fit"):
        reader.read(str(tmp_path / "a"), Image(), Part())
    cropped = read(tmp_path / "a", size=[4, 4], fit="crop").values[:, 0, 0]
    assert np.array_equal(cropped[0], GREY[0, 1:5, 2:6])
    assert np.array_equal(cropped[1], GREY[1, 0:4, 1:5])
    padded = read(tmp_path / "a", size=[8, 10], fit="pad").values[:, 0, 0]
    assert np.array_equal(padded[0, 1:7, 1:9], GREY[0]) and padded[0].sum() == GREY[0].sum()
    halved = read(tmp_path / "a", size=[3, 4], fit="resize").values[0, 0, 0]
    # float32 means of four values below 256.
    assert np.allclose(halved, GREY[0].reshape(3, 2, 4, 2).mean(axis=(1, 3)), atol=1e-3)
    with pytest.raises(DataError, match="cannot be cropped"):
        read(tmp_path / "a", size=[9, 9], fit="crop")


def test_grey_and_colour_are_mixed_by_declaration_alone(tmp_path):
    save(tmp_path / "a", [GREY[0], RGB[1]])
    with pytest.raises(DataError, match="grey and colour images are mixed.*colour: rgb"):
        reader.read(str(tmp_path / "a"), Image(), Part())
    found = read(tmp_path / "a", colour="rgb").values[:, 0]
    assert np.array_equal(found[0], np.stack([GREY[0]] * 3)) and found.shape[1] == 3
    assert read(tmp_path / "a", colour="grey").values.shape[2] == 1


def test_cmyk_turned_and_opaque_pictures_are_upright_rgb(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    Picture.fromarray(RGB[0]).convert("CMYK").save(folder / "0.tiff")
    exif = Picture.Exif()
    exif[0x0112] = 6
    Picture.fromarray(RGB[1].transpose(1, 0, 2)[::-1].copy()).save(folder / "1.png", exif=exif)
    Picture.fromarray(np.dstack([RGB[2], np.full((6, 8), 255, "u1")])).save(folder / "2.png")
    found = reader.read(str(folder), Image(), Part()).values[:, 0].transpose(0, 2, 3, 1)
    assert found.shape == (3, 6, 8, 3)
    assert np.array_equal(found[0], RGB[0]) and np.array_equal(found[2], RGB[2])
    assert np.array_equal(found[1], RGB[1])


def test_every_bad_picture_is_named(tmp_path):
    folder = save(tmp_path / "a", RGB)
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.jpg").write_bytes(b"<html>")
    Picture.fromarray(np.dstack([RGB[0], np.zeros((6, 8), "u1")])).save(folder / "glass.png")
    with pytest.raises(DataError) as caught:
        reader.read(str(folder), Image(), Part())
    assert "empty.png" in str(caught.value) and "page.jpg" in str(caught.value)
    problems = preflight.check_entry(str(folder))
    assert problems and all("png" in str(p) or "jpg" in str(p) for p in problems)
    for name in ("empty.png", "page.jpg"):
        (folder / name).unlink()
    with pytest.raises(DataError, match="glass.png: has transparent pixels"):
        reader.read(str(folder), Image(), Part())
    (folder / "glass.png").unlink()
    whole = (folder / "003.png").read_bytes()
    (folder / "003.png").write_bytes(whole[: len(whole) - 60])
    with pytest.raises(DataError, match="003.png: .*(cut off|truncated)"):
        reader.read(str(folder), Image(), Part())


def test_a_picture_that_claims_a_huge_size_is_refused_before_it_is_read(tmp_path):
    import struct
    import zlib

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 65535, 65535, 8, 0, 0, 0, 0)
    (tmp_path / "a").mkdir()
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "a" / "bomb.png").write_bytes(bomb)
    with pytest.raises(DataError, match="bomb.png"):
        reader.read(str(tmp_path / "a"), Image(), Part())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": "red"}, "colour: got 'red', expected rgb or grey"),
        ({"size": [0, 3]}, r"size: got \[0, 3\], expected"),
        ({"fitt": "crop"}, "fitt: got 'crop'; there are"),
    ],
)
def test_wrong_options_are_refused(options, message, tmp_path):
    save(tmp_path / "a", GREY)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a", **options)
