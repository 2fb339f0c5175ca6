"""Families: words come from files, entry points and plugins, and only what fits is let in."""

import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

from diffsci import families
from diffsci.errors import ConfigError

MEMBER = '''
from dataclasses import dataclass
from diffsci.diffusion.guidance.base import Guidance

@dataclass(frozen=True, kw_only=True)
class {name}(Guidance):
    """Leaves the denoiser as it is.

    More."""

    strength: float = 1.0

    @property
    def calls_per_step(self):
        return 1

    def __call__(self, denoise):
        return denoise
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes an importable module, and forgets it and its members afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(families, "_plugins", {})
    monkeypatch.setattr(families, "_words", {})
    names = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        names.append(name)
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def entry_point(monkeypatch):
    """Adds entry points as an installed package would."""
    points = []
    monkeypatch.setattr(families, "_all_entry_points", lambda: tuple(points))
    families._foreign.cache_clear()

    def add(name, value, family="guidance"):
        points.append(EntryPoint(name=name, value=value, group=f"diffsci.{family}"))
        families._foreign.cache_clear()

    yield add
    families._foreign.cache_clear()


@pytest.mark.parametrize(
    ("family", "word"), [(f, w) for f in families.FAMILIES for w in families.names(f)]
)
def test_each_file_is_one_member_and_its_name_the_word(family, word):
    cls = families.load(family, word)
    assert issubclass(cls, families.base(family))
    assert cls.__module__.endswith(f".{word}")
    summary = families.summary(family, word)
    assert summary == cls.__doc__.split("\n")[0]
    assert 10 < len(summary) <= 100
    assert summary.endswith(".") or summary[-1].isalnum()


@pytest.mark.parametrize("family", families.FAMILIES)
def test_words_are_sorted_bare_names_without_base_and_private_files(family):
    words = families.names(family)
    assert list(words) == sorted(words)
    assert all(word.isidentifier() and not word.startswith("_") for word in words)
    assert "base" not in words


def test_keys_read_without_import_are_the_fields():
    import dataclasses

    for family in families.FAMILIES:
        for word in families.names(family):
            fields = [f.name for f in dataclasses.fields(families.load(family, word)) if f.init]
            assert list(families.keys(family, word)) == fields, (family, word)


def test_unknown_words_are_answered_with_near_ones():
    with pytest.raises(ConfigError, match="no family 'sampler'.*did you mean 'samplers'"):
        families.names("sampler")
    with pytest.raises(
        ConfigError, match="no 'dimm' among the samplers; there are ab, ancestral.*'ddim'"
    ):
        families.load("samplers", "dimm")
    for hostile in ("../batch", "os.path", "base", "_padding", ""):
        with pytest.raises(ConfigError):
            families.load("networks", hostile)
    assert families.did_you_mean("zzz", ["abc"]) == ""


def test_summaries_import_no_member():
    code = (
        "import sys; from diffsci import families as f\n"
        "[f.summary(x, w) and f.keys(x, w) for x in f.FAMILIES for w in f.names(x)]\n"
        "print(*(m for m in ('torch', 'xarray', 'mlflow') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_plugin_module_is_one_more_member(module):
    assert families.plugin(module("gentle", MEMBER.format(name="Gentle"))) == ("guidance",)
    assert "gentle" in families.names("guidance")
    assert families.summary("guidance", "gentle") == "Leaves the denoiser as it is."
    assert families.name_of(families.load("guidance", "gentle")()) == "gentle"


def test_plugins_that_do_not_fit_are_refused(module):
    with pytest.raises(ConfigError, match="--plugin nowhere: cannot be imported"):
        families.plugin("nowhere")
    with pytest.raises(ConfigError, match="no class in it implements"):
        families.plugin(module("empty", "x = 1"))
    with pytest.raises(ConfigError, match="both A and B are guidance"):
        families.plugin(module("both", MEMBER.format(name="A") + MEMBER.format(name="B")))
    with pytest.raises(ConfigError, match="'classifier_free' exists"):
        families.plugin(module("classifier_free", MEMBER.format(name="A")))
    with pytest.raises(ConfigError, match="is no dataclass"):
        text = MEMBER.format(name="A").replace("@dataclass(frozen=True, kw_only=True)", "")
        families.plugin(module("bare", text))


def test_entry_points_of_installed_packages_are_members(module, entry_point):
    entry_point("mild", f"{module('their_module', MEMBER.format(name='Mild'))}:Mild")
    assert "mild" in families.names("guidance")
    assert families.summary("guidance", "mild") == "from their_module:Mild"
    assert families.keys("guidance", "mild") is None
    assert families.name_of(families.load("guidance", "mild")()) == "mild"


def test_entry_points_that_do_not_fit_are_refused(module, entry_point):
    entry_point("lost", "nowhere:Thing")
    entry_point("wrong", "collections:OrderedDict")
    entry_point("twice", "a:A")
    entry_point("twice", "b:B")
    with pytest.raises(ConfigError, match="cannot load nowhere:Thing"):
        families.load("guidance", "lost")
    with pytest.raises(ConfigError, match="does not implement diffsci.diffusion.guidance.base"):
        families.load("guidance", "wrong")
    with pytest.raises(ConfigError, match="several packages: a:A, b:B"):
        families.load("guidance", "twice")
