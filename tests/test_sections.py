"""Sections: defaults hold their own rules, and each rule refuses what it should."""

import dataclasses
import subprocess
import sys

import pytest

from diffsci import families, sections
from diffsci.errors import FieldError

PART = sections.Part(time=("1860", "1999"))
DATA = sections.Data(entry="x", domain=None, task=None, split=sections.Split(train=PART, test=PART))


def pipeline(**changes):
    return sections.Pipeline(**{"name": "a", "data": DATA, **changes})


def test_importing_the_sections_imports_nothing_heavy():
    heavy = "('torch', 'xarray', 'numpy', 'yaml')"
    code = f"import sys, diffsci.sections; print(*(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("section", "field", "bad"),
    [
        (sections.Train(steps=1), "steps", 0),
        (sections.Train(steps=1), "batch_size", -1),
        (sections.Train(steps=1), "checkpoint_every", 0),
        (sections.Train(steps=1), "lr", 0.0),
        (sections.Train(steps=1), "lr", -1e-3),
        (sections.Train(steps=1), "lr_end", 1.5),
        (sections.Train(steps=1), "warmup", -1),
        (sections.Train(steps=1), "ema", 1.0),
        (sections.Train(steps=1), "drop_scalars", 1.1),
        (sections.Sample(), "members", 0),
        (sections.Sample(), "seed", -1),
        (sections.Sample(), "cases", 0),
        (sections.Evaluate(), "confidence", 1.0),
        (sections.Evaluate(), "resamples", 0),
        (sections.Runtime(), "threads", -1),
        (sections.Runtime(), "dask", "somewhere"),
        (sections.Sample(), "members", 2**32 + 1),
        (sections.Sample(), "limit", 0.0),
        (sections.Runtime(), "device", "gpu"),
        (sections.Runtime(), "device", "cuda:x"),
        (sections.Part(), "samples", (3, 3)),
        (sections.Part(), "share", (0.5, 0.5)),
        (sections.Part(), "share", (0.5, 1.5)),
        (PART, "share", (0.0, 0.5)),
        (sections.Part(), "samples", (-1, 3)),
        (sections.Tracking(), "uri", ""),
        (pipeline(), "name", "../up"),
        (pipeline(), "name", ".hidden"),
        (pipeline(), "name", ""),
        (pipeline(), "name", "a\n"),
        (pipeline(), "name", "a" * 101),
        (pipeline(), "seed", -1),
    ],
)
def test_each_rule_names_its_field(section, field, bad):
    with pytest.raises(FieldError) as caught:
        dataclasses.replace(section, **{field: bad})
    assert caught.value.field == field


def test_a_scheduler_that_no_stage_would_use_is_refused():
    with pytest.raises(FieldError, match="dask: got 'x', expected null, local, or an address"):
        sections.Runtime(dask="x")


def test_good_names_and_devices_pass():
    for name in ("a", "ks-2", "2024_run.v1", "façade"):
        assert pipeline(name=name).name == name
    for device in ("auto", "cpu", "mps", "cuda", "cuda:1"):
        assert sections.Runtime(device=device).device == device


def test_a_stage_needs_the_one_before():
    with pytest.raises(FieldError, match=r"train: .* a section `model` before it"):
        pipeline(train=sections.Train(steps=1))
    with pytest.raises(FieldError, match=r"evaluate: .* a section `sample` before it"):
        pipeline(evaluate=sections.Evaluate())


def test_either_entry_or_source():
    with pytest.raises(FieldError, match="either `entry` or `source`"):
        dataclasses.replace(DATA, source="a.nc")
    with pytest.raises(FieldError, match="either `entry` or `source`"):
        dataclasses.replace(DATA, entry=None)


def test_a_password_in_the_tracking_address_is_refused_and_not_repeated():
    with pytest.raises(FieldError) as caught:
        sections.Tracking(uri="https://me:s3cret@host/x")
    assert "s3cret" not in str(caught.value)
    assert sections.Tracking(uri="sqlite:///a@b.db").uri == "sqlite:///a@b.db"


def test_member_fields_name_a_family_and_a_member_that_exist():
    for section in vars(sections).values():
        if not (isinstance(section, type) and dataclasses.is_dataclass(section)):
            continue
        for field in dataclasses.fields(section):
            if "family" in field.metadata:
                words = families.names(field.metadata["family"])
                assert field.metadata.get("default") in (None, *words)
