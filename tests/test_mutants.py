"""The errors of benchmarks/mutants.py: each can be made, and what is to notice it is run."""

import subprocess
import sys

import pytest

from benchmarks import mutants
from benchmarks.mutants import CAUGHT, CORE, MUTANTS, ROOT, Mutant
from diffsci.families import names

each = pytest.mark.parametrize(
    "mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.what}"
)


@each
def test_an_error_is_one_line_of_python_that_occurs_once(mutant):
    text = (ROOT / CORE / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
    wrong = text.replace(mutant.old, mutant.new)
    compile(wrong, mutant.file, "exec")
    lines = zip(text.splitlines(), wrong.splitlines(), strict=True)
    assert sum(old != new for old, new in lines) == 1


def test_every_member_of_three_families_has_one():
    files = [mutant.file for mutant in MUTANTS]
    assert len(files) >= 20
    assert len({(mutant.file, mutant.old) for mutant in MUTANTS}) == len(files)
    for family in ("schedules", "samplers", "guidance"):
        for name in names(family):
            assert f"{family}/{name}.py" in files
    assert {"samplers/_exponential.py", "guidance/_observing.py"} <= set(files)


def test_what_is_to_notice_is_run_by_default():
    """Nodes that pytest does not know, or leaves out as slow, would make it end otherwise."""
    tests = list(dict.fromkeys(test for mutant in MUTANTS for test in mutant.tests))
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("assert not right", CAUGHT),
        ("raise ValueError('refused: as a field is - by name')", CAUGHT),
        ("assert rigth", "broken"),
    ],
)
def test_a_crash_is_not_a_catch(body, verdict, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-q'\n")
    (tmp_path / "test_it.py").write_text(f"right = True\n\ndef test_it():\n    {body}\n")
    found, line = mutants.run(tmp_path, ("test_it.py",), fresh=True)
    assert found == verdict, line


def test_an_unknown_test_is_not_a_catch(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-q'\n")
    assert mutants.run(tmp_path, ("test_it.py",), fresh=True)[0] == "broken"


def test_the_file_is_as_before_when_its_tests_have_run(tmp_path, monkeypatch):
    path = tmp_path / CORE / "one.py"
    path.parent.mkdir(parents=True)
    path.write_text("a = 1\n")
    before, seen = path.stat().st_mtime_ns, []

    def run(folder, tests, *, fresh):
        seen.append(path.read_text())
        return "passed", ""

    monkeypatch.setattr(mutants, "run", run)
    mutant = Mutant("one.py", "another number", "a = 1", "a = 2", ("none",))
    assert mutants.verdict_on(mutant, tmp_path) == ("SURVIVED", "")
    assert seen == ["a = 2\n"]
    assert (path.read_text(), path.stat().st_mtime_ns) == ("a = 1\n", before)
    assert mutants.verdict_on(Mutant("one.py", "", "b", "c", ()), tmp_path)[0] == "broken"


@pytest.mark.slow
def test_every_error_is_noticed():
    """Minutes: a fresh process for each."""
    script = [sys.executable, str(ROOT / "benchmarks" / "mutants.py")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"{len(MUTANTS)} of {len(MUTANTS)} in" in done.stdout
