"""The command line: what it imports, what it hands on, what it prints, and its exit codes."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from diffsci import __version__, cli, config, families
from diffsci.cli import border
from diffsci.errors import ConfigError, DataError, NumericsError, StorageError
from diffsci.sweeps import sweeping
from tests.test_config import GOOD, MUTATIONS

HEAVY = ("torch", "mlflow", "xarray", "numpy", "dask", "zarr", "matplotlib", "yaml", "omegaconf")
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _quiet():
    """The command line sets up logging for the process; tests take it back."""
    root, ours = logging.getLogger(), logging.getLogger("diffsci")
    levels = root.level, ours.level
    yield
    logging.captureWarnings(False)
    for handler in [each for each in root.handlers if isinstance(each, border._ToStderr)]:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def stages(monkeypatch):
    """`diffsci.pipeline` with its functions replaced by ones that record or raise."""
    from diffsci import checking, pipeline

    calls = []

    def stand_in(name, result):
        def record(*arguments, **named):
            calls.append((name, (*arguments, *named.values())))
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(checking if name == "check" else pipeline, name, record)
        return calls

    return stand_in


def call(*arguments):
    return CliRunner().invoke(cli.main, [str(each) for each in arguments])


def finished(command):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_help_version_and_list_import_nothing_heavy():
    for command in (["--help"], ["--version"], ["run", "--help"], ["list"], ["list", "samplers"]):
        code = (
            "import sys; sys.argv = ['diffsci', *sys.argv[1:]]\n"
            "from diffsci.cli import main\n"
            "try: main()\n"
            f"finally: print(*(m for m in {HEAVY} if m in sys.modules), file=sys.stderr)"
        )
        done = finished([sys.executable, "-c", code, *command])
        assert (done.returncode, done.stderr.strip()) == (0, ""), command


def test_help_tells_every_command_and_option():
    text = call("--help").output
    for command in ("run", "check", "list", "data", "sample", "compare", "status", "sync", "ui"):
        assert f"\n  {command} " in text
        assert call(command, "--help").exit_code == 0
    assert call("--version").output == f"diffsci, version {__version__}\n"
    for option in ("--plugin", "--verbose", "--version"):
        assert option in text


def test_list_gives_every_word_with_its_line():
    everything = call("list")
    assert everything.exit_code == 0
    for family in families.FAMILIES:
        alone = call("list", family).output.splitlines()
        assert [line.split()[0] for line in alone] == list(families.names(family))
        assert f"{family}:" in everything.output
    wrong = call("list", "sampler")
    assert wrong.exit_code == 2
    assert "did you mean 'samplers'?" in wrong.stderr


@pytest.mark.parametrize("case", MUTATIONS)
def test_a_faulty_file_is_one_line_and_exit_code_2(good, case):
    old, new, expected = MUTATIONS[case]
    good.write_text(GOOD.replace(old, new, 1))
    done = call("run", good, "--dry-run")
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {good}")
    assert expected in line
    assert list(good.parent.iterdir()) == [good]  # nothing was written


def test_a_config_error_of_a_fresh_process(good):
    """One that needs a member's module, so torch."""
    good.write_text(GOOD.replace("ddim, steps: 5", "ddim, steps: -5"))
    done = finished([sys.executable, "-m", "diffsci.cli", "run", str(good)])
    expected = f"error: {good}:19: sample.sampler.steps: got -5, expected 1 or more\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_run_hands_on_the_built_pipeline(good, stages):
    calls = stages("run", Path("runs/good"))
    done = call("run", good, "train.steps=7", "sample.sampler=heun", "--out", "elsewhere")
    assert (done.exit_code, done.stdout) == (0, "runs/good\n")
    ((_, (loaded, out, dry_run, allow)),) = calls
    assert allow == ()
    assert isinstance(loaded, config.Loaded)
    assert loaded.pipeline.train.steps == 7
    assert (out, dry_run) == (Path("elsewhere"), False)
    done = call("run", good, "--dry-run")
    assert done.stdout == f"{good}: valid\n"
    assert calls[1][1][1:] == (None, True, ())
    assert call("run", good, "--allow", "data", "--allow", "train.lr").exit_code == 0
    assert calls[2][1][1:] == (None, False, ("data", "train.lr"))


def test_sample_hands_on_what_was_asked(good, stages):
    calls = stages("sample", Path("x.zarr"))
    run = good.parent / "runs" / "quick"
    run.mkdir(parents=True)
    done = call("sample", run, "--members", 5, "--seed", 2, "--out", "x.zarr", "sample.leads=3")
    assert (done.exit_code, done.stdout) == (0, "x.zarr\n")
    assert calls == [("sample", (run, 5, 2, Path("x.zarr"), ("sample.leads=3",)))]
    wrong = call("sample", good.parent / "runs" / "quik")
    assert wrong.exit_code == 2
    assert f"no such run; did you mean '{run}'?" in wrong.stderr
    assert "give the folder that `diffsci run` made" in call("sample", good).stderr
    wrong = call("register", good.parent / "nope" / "none", "--name", "x")
    assert wrong.exit_code == 2 and "no such run; expected a folder that" in wrong.stderr
    for bad in (["--members", 0], ["--members", "x"], ["--seed", -1]):
        assert call("sample", run, *bad).exit_code == 2


def test_check_prints_faults_and_ends_with_3(good, stages):
    from diffsci.data.checks.problems import Problem

    nan = Problem(code="nan", file="a.nc", variable="t", value="3 NaN", fix="fill them")
    gap = Problem(code="gap", file="a.nc", coordinate="time", value="2 days", fix="none needed")
    stages("check", [nan, gap])
    done = call("check", "a.nc")
    assert done.exit_code == 3
    assert done.stdout.splitlines() == [f"fault: {nan}", f"warning: {gap}"]
    assert done.stderr == "1 fault\n"
    done = call("check", "a.nc", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout) == [nan.to_dict(), gap.to_dict()]
    broken = Problem(code="config", file="b.yaml", value="no", fix="yes")
    stages("check", [nan, broken, gap])
    done = call("check", "a.nc", "b.yaml", "--json")
    assert (done.exit_code, done.stderr) == (2, "2 faults\n")
    assert json.loads(done.stdout) == [nan.to_dict(), broken.to_dict(), gap.to_dict()]
    stages("check", [gap])
    assert call("check", "a.nc").exit_code == 0
    calls = stages("check", [])
    done = call("check", "a.nc", "b.yaml", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])
    assert calls[-1] == ("check", (("a.nc", "b.yaml"), []))
    address = "https://example.org/a.nc?part=1"
    call("check", address, "data.source=https://example.org/b.nc", "--json")
    assert calls[-1] == ("check", ((address,), ["data.source=https://example.org/b.nc"]))
    assert call("check").exit_code == 2


def test_check_of_a_faulty_pipeline_ends_with_2(good):
    good.write_text(GOOD.replace("lr: 1e-3", "lrr: 1e-3"))
    done = call("check", good)
    assert done.exit_code == 2
    assert done.stdout == f"fault: {good}: line 16: train.lrr: unknown key; did you mean 'lr'?\n"
    assert done.stderr == "1 fault\n"
    done = call("check", good, "--json")
    assert done.exit_code == 2
    (problem,) = json.loads(done.stdout)
    assert (problem["code"], problem["file"]) == ("config", str(good))
    assert problem["coordinate"] == "line 16"
    assert (problem["value"], problem["fix"]) == ("train.lrr: unknown key", "did you mean 'lr'?")


def test_compare_and_ui_hand_on(good, monkeypatch):
    from diffsci.evaluation import compare
    from diffsci.tracking import ui

    calls = []
    monkeypatch.setattr(compare, "compare", lambda runs, out: calls.append((runs, out)) or out)
    monkeypatch.setattr(ui, "serve", calls.append)
    a, b = good.parent / "a", good.parent / "b"
    a.mkdir()
    b.mkdir()
    assert call("compare", a, b, "--out", "c.html").stdout == "c.html\n"
    assert call("ui", "--port", 5001).exit_code == 0
    assert calls == [((a, b), Path("c.html")), 5001]
    assert call("compare", a).exit_code == 2
    assert call("compare", a, good.parent / "c").exit_code == 2
    assert call("ui", "--port", 70000).exit_code == 2


def test_data_list_and_show_read_the_catalog(good):
    folder = good.parent / "data_catalog"
    folder.mkdir()
    (folder / "mine.yaml").write_text("title: My own data\nsource: mine.nc\n")
    done = call("data", "list")
    assert done.exit_code == 0
    assert any(
        line.split(maxsplit=1) == ["mine", "My own data"] for line in done.output.splitlines()
    )
    wrong = call("data", "show", "mime")
    assert wrong.exit_code in (2, 3)
    assert "mine" in wrong.stderr


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (ConfigError("a: b"), 2, "error: a: b\n"),
        (DataError("a: b"), 3, "error: a: b\n"),
        (NumericsError("a: b"), 4, "error: a: b\n"),
        (StorageError("a: b"), 5, "error: a: b\n"),
        (OSError(errno.ENOSPC, "No space", "x.zarr"), 5, "error: x.zarr: no space left"),
        (OSError(errno.EFBIG, "Too large", "x.nc"), 5, "error: x.nc: larger than a file"),
        (PermissionError(errno.EACCES, "Denied", "x"), 5, "error: x: permission denied"),
        (OSError(errno.EROFS, "Read-only"), 5, "error: the file system is read-only"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (
            ZeroDivisionError("a\n b"),
            1,
            "error: unexpected ZeroDivisionError: a b; -v shows where\n",
        ),
        (OSError(errno.EIO, "I/O"), 1, "error: unexpected OSError"),
        (MemoryError(), 1, "error: unexpected MemoryError: no message"),
    ],
)
def test_every_error_is_one_line_with_its_code(good, stages, error, code, expected):
    stages("run", error)
    done = call("run", good)
    assert done.exit_code == code
    assert done.stderr.startswith(expected)
    assert len(done.stderr.splitlines()) == 1


def test_verbose_shows_the_traceback_before_or_after_the_command(good, stages):
    stages("run", ZeroDivisionError("here"))
    for arguments in (["-v", "run", good], ["run", good, "-v"]):
        done = call(*arguments)
        assert "Traceback (most recent call last)" in done.stderr
        assert done.stderr.endswith("error: unexpected ZeroDivisionError: here\n")
        assert done.exit_code == 1


def test_our_log_lines_are_plain_and_others_are_silent(good, monkeypatch):
    from diffsci import pipeline

    def run(*_, **__):
        logging.getLogger("diffsci.training").info("step 1")
        logging.getLogger("diffsci.training").debug("detail")
        logging.getLogger("mlflow").warning("noise")
        logging.getLogger("someone").info("noise")
        return Path("r")

    monkeypatch.setattr(pipeline, "run", run)
    assert call("run", good).stderr == "step 1\n"
    assert "DEBUG diffsci.training: detail" in call("-v", "run", good).stderr


def test_usage_errors_end_with_2(good):
    for arguments in (["rum"], ["run"], ["run", good, "--nope"], ["data"], []):
        assert call(*arguments).exit_code == 2
    assert call("run", good, "nonsense").stderr.startswith("error: command line: got 'nonsense'")
    assert "no such file; did you mean" in call("run", good.parent / "god.yaml").stderr


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m diffsci.cli list | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert (done.stdout, done.stderr) == ("domains:\n", "")


def test_points_of_a_sweep_have_its_plugins_and_what_may_have_changed(good, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(sweeping, "run", lambda *call: given.append(call[-1]) or tmp_path)
    monkeypatch.setattr(families, "plugged", lambda: ("mine", "ours.toy"))
    done = call("run", good, "sweep={seed: [1, 2]}", "--jobs", "2", "--allow", "code")
    assert done.exit_code == 0, done.stderr
    (command,) = given
    before = ["-m", "diffsci", "--plugin", "mine", "--plugin", "ours.toy", "run", str(good)]
    words = ["sweep={seed: [1, 2]}", "--out", "here", "--point", "seed-1", "--allow", "code"]
    assert command(Path("here"), "seed-1") == [*before, *words]


def test_a_plugin_beside_the_user_is_found(good, stages, monkeypatch):
    calls = stages("run", Path("r"))
    monkeypatch.setattr(families, "_plugins", {})
    monkeypatch.setattr(families, "_words", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    toy = (REPOSITORY / "tests" / "toy_member.py").read_text()
    (good.parent / "beside.py").write_text(toy)
    done = call("--plugin", "beside", "run", good, "sample.guidance={use: beside, whole: 9}")
    assert done.exit_code == 0, done.stderr
    assert calls[0][1][0].pipeline.sample.guidance.whole == 9
    assert call("--plugin", "nowhere", "run", good).exit_code == 2
    sys.modules.pop("beside")


def test_what_a_finished_run_needs_is_imported_without_torch():
    """Its command has nothing to do, and says so at once."""
    code = (
        "import sys, diffsci.pipeline, diffsci.stages.training.mending\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
