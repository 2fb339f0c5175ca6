"""Report and comparison: well-formed, self-contained, escaped, and right about what they say."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from diffsci.errors import ConfigError, StorageError
from diffsci.evaluation import members
from diffsci.evaluation.compare import compare
from diffsci.evaluation.compared_run import read_run
from diffsci.evaluation.page import best_of, facts, goal_of, goal_words, is_wide
from diffsci.evaluation.page import table as page_table
from diffsci.evaluation.plots import NAMES
from diffsci.evaluation.report import write_report
from diffsci.evaluation.rows import Row
from diffsci.evaluation.scores.brier import Brier
from diffsci.evaluation.scores.crps import Crps
from diffsci.evaluation.scores.threshold_crps import ThresholdCrps
from diffsci.evaluation.table import evaluate
from tests.evaluation.toys import box, globe, line, results, table

VOID = {"wbr", "meta", "img", "br", "link", "hr", "input"}


class Reader(HTMLParser):
    """Holds that tags close in order, and collects text, sources and bold cells."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.sources, self.best, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.sources += [found[key] for key in ("src", "href", "srcset", "data") if key in found]
        if tag not in VOID:
            self.open.append((tag, found.get("class") or ""))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.text.append(data)
        if any("best" in kind for _, kind in self.open):
            self.best.append(data.strip())


def read(path):
    """The page, once it is known that nothing in it points outside."""
    text = path.read_text(encoding="utf-8")
    page = Reader(text)
    assert all(
        source.startswith(("data:image/png;base64,", "data:image/gif;base64,"))
        for source in page.sources
    )
    assert "script" not in page.tags
    assert "url(" not in text and "@import" not in text
    return page


def fake_figures(folder):
    """Pages take the bytes of a figure as they are, so these need not be pictures."""
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(b"\x89PNG")
    return {name: folder / name for name in NAMES}


def run_folder(path, found=None, config="model: {width: 32}\n", **record):
    found = results(line(), leads=(6.0, 12.0)) if found is None else found
    path.mkdir(parents=True)
    made = table(found)
    made.write(path)
    fake_figures(path / "figures")
    (path / "config.yaml").write_text(config)
    (path / "run.json").write_text(json.dumps({"stages": {}, **record}))
    return path


def test_cells_of_one_size_are_not_called_weighted(tmp_path):
    made = table(results(box(8, 8)))
    path = write_report(tmp_path / "a.html", title="a", summary="b", scores=made, figures={},
                        config="", provenance={})  # fmt: skip
    text = "".join(read(path).text)
    assert "test cases, all cells alike;" in text and "area-weighted" not in text


def test_a_table_of_nothing_says_so_and_heads_break():
    assert facts({}) == '<p class="soft">Nothing is told.</p>'
    assert '<th scope="col">damped_<wbr>anomaly (6 members)</th>' in page_table(
        ["damped_anomaly (6 members)"], []
    )


def test_a_report_is_whole_and_escaped(tmp_path):
    found = results(globe())
    made = table(found)
    path = write_report(
        tmp_path / "report.html",
        title="a <b> & c",
        summary="<script>alert(1)</script>",
        scores=made,
        figures=fake_figures(tmp_path / "figures"),
        config="name: <i>x</i>\nlr: 0.001\n",
        provenance={
            "Data": {"licence": "OGL & <more>", "citation": None},
            "Versions": {"torch": "2.0"},
            "Seconds": {"train": 178.25, "per": {"step": 1.0}},
        },
        cost={"network calls of a <member>": 12, "core-hours of sampling": 0.0012345},
    )
    page = read(path)
    text = "".join(page.text)
    assert "<script>alert(1)</script>" in text  # as text, not as a tag
    assert "name: <i>x</i>" in text and "OGL & <more>" in text
    assert (
        "Over 6 test cases, area-weighted;" in text
        and "90 % interval (evaluate.confidence)" in text
    )
    assert "fair form" in text
    assert "model (5\u00a0members)" in text and "persistence (1\u00a0member)" in text
    assert "crpss_vs_persistence" in text
    # What the model took stands at the foot of the first table, once; the baseline took nothing.
    head, _, rest = path.read_text().partition("</table>")
    told = ("network calls of a &lt;member&gt;", "12"), ("core-hours of sampling", "0.001234")
    for name, value in told:
        cells = f'<td class="number">{value}</td><td class="number">–</td>'
        assert f"<td>{name}</td><td></td>{cells}" in head and name not in rest
    assert len(page.sources) == len(NAMES)
    # What scrolls can be reached by the keyboard.
    wide = sum(map(is_wide, NAMES))
    scrolls = path.read_text().count('<div class="scroll" tabindex="0"')
    assert wide == 3 and scrolls == page.tags.count("table") + wide
    row = made.row("model", "air_temperature", "crps")
    assert page.best == []  # persistence has one member, and compares with none of five
    assert f"[{row.low:.4g}, {row.high:.4g}]" in text


def test_a_time_of_all_leads_is_told_once_beside_scores_of_each(tmp_path):
    found = results(globe(), leads=(6.0, 12.0))
    path = write_report(
        tmp_path / "report.html",
        title="a",
        summary="b",
        scores=table(found, "correlation", "correlation_time"),
        figures=fake_figures(tmp_path / "figures"),
        config="",
        provenance={},
    )
    bold = re.findall("<b>(.*?)</b>", path.read_text().replace("<wbr>", ""))
    words = [text for text in bold if text.startswith("correlation")]
    # Each is in the table over all leads and has a line of what it is; one is by lead, too.
    assert words.count("correlation_time") == 2 and words.count("correlation") == 2 + 2


def test_calibrated_intervals_are_in_the_report(tmp_path):
    made = table(results(line(), leads=(6.0, 12.0)))
    model = replace(row(0.93), forecast="model", variable="air_temperature", members=5, count=6)
    held = [
        replace(model, score=f"conformal_90{end}", lead=lead, value=value, unit=unit)
        for end, value, unit in (("", 0.93, "1"), ("_width", 4.25, "K"))
        for lead in (None, 6.0, 12.0)
    ]
    path = write_report(
        tmp_path / "report.html",
        title="t",
        summary="s",
        scores=replace(made, rows=(*made.rows, *held)),
        figures={},
        config="",
        provenance={},
        lead_unit="h",
    )
    page = read(path)
    text = "".join(page.text)
    assert page.text.count("Calibrated intervals") == 1
    assert "Calibrated intervals, lead 12 h" in text and text.count("90 %") >= 4
    assert page.text.count("0.93") == page.text.count("4.25") == 3  # over all leads, and of each
    assert "calibrate.levels" in text


def test_values_of_unlike_ensembles_are_starred_by_fair_scores_alone(tmp_path):
    """The first members of a forecast are no better than it is: see `members.py`."""
    ours = results(line(), cases=12, members=6)
    few, one = ours.model[:, :3], ours.model[:, :1]
    words = ("crps", "rmse", "rank_histogram")
    known = {name: members.starred([row(1.0, 6), row(2.0, 3)], name) for name in words}
    assert known == {"crps": {0}, "rmse": set(), "rank_histogram": set()}
    # Of one member there is no fair CRPS; with a rival of as many, the best is starred.
    assert members.starred([row(1.0, 6), row(2.0, 1)], "crps") == set()
    assert members.starred([row(1.0, 6), row(3.0, 1), row(2.0, 6)], "rmse") == {0}
    assert members.starred([row(1.0, 6), row(2.0, 3)], "crps", {"equitable": False}) == set()
    made = table(replace(ours, forecasts={"model": ours.model, "few": few, "one": one}), *words)
    path = write_report(tmp_path / "a.html", title="a", summary="b", scores=made, figures={},
                        config="", provenance={})  # fmt: skip
    lines = path.read_text().split("<tr>")
    for word, is_starred in (("crps", True), ("rmse", False), ("rank_<wbr>histogram", False)):
        (line_of,) = (text for text in lines if f"<td><b>{word}</b>" in text)
        assert ('number best"' in line_of) == is_starred
    # Nothing was run: its words are not said.
    assert "evaluate.confidence" not in path.read_text() and "pipeline" not in path.read_text()


def test_leads_are_in_the_report(tmp_path):
    found = results(line(), leads=(6.0, 12.0))
    path = write_report(
        tmp_path / "report.html",
        title="t",
        summary="s",
        scores=table(found),
        figures={},
        config="",
        provenance={},
        lead_unit="h",
    )
    assert "air_temperature, lead 12 h" in read(path).text


def test_a_comparison_shows_what_differs_and_what_is_best(tmp_path):
    one = run_folder(tmp_path / "one", config="model: {width: 32, depth: 3}\ntrain: {lr: 0.1}\n")
    two = run_folder(tmp_path / "two", config="model: {width: 64, depth: 3}\n")
    page = read(compare([one, two], tmp_path / "page.html"))
    text = "".join(page.text)
    assert "model.width" in text and "model.depth" not in text and "train.lr" in text
    assert "The runs are scored" not in text
    assert "Scores by lead" in text
    # The figures of each run and the common curves; without seconds nothing is said of cost.
    assert len(page.sources) == 2 * len(NAMES) + 1 and "Cost and skill" not in text


def test_a_comparison_of_unlike_runs_says_so(tmp_path, caplog):
    one = run_folder(tmp_path / "a" / "run", data_digest="x")
    other = results(line(), leads=(6.0, 12.0), cases=4, members=3)
    two = run_folder(tmp_path / "b" / "run", other, data_digest="y")
    page = read(compare([one, two], tmp_path / "page.html"))
    text = "".join(page.text)
    assert "different numbers of cases. a/run: 6; b/run: 4" in text
    assert "The data differ" in text and "different numbers of members" in text
    # Of other cases no value is better, and no picture is of the same case.
    assert page.best == [] and "No value is starred" in text and "Of the same cases" not in text
    assert "different numbers of cases" in caplog.text and "of members" in caplog.text


def test_only_keys_that_differ_are_told_of_unlike_tests(tmp_path, caplog):
    part = "data: {entry: e1, split: {test: {time: [a, %s], samples: null}}}\n"
    digests = [{"train": "f" * 64, "test": letter * 64} for letter in "ab"]
    one, two = (
        run_folder(tmp_path / name, config=part % name, data=data)
        for name, data in zip("cd", digests, strict=True)
    )
    text = "".join(read(compare([one, two], tmp_path / "page.html")).text)
    assert 'The test sets differ. c: data.split.test.time=["a", "c"]; d: data' in text
    assert f"The data differ. c: test part={12 * 'a'}; d: test part={12 * 'b'}. What" in text
    assert "The test sets differ. c: data.split" in caplog.text
    # Runs of one test set are told of together.
    third = run_folder(tmp_path / "e", config=part % "c", data=digests[0])
    text = "".join(read(compare([one, two, third], tmp_path / "page.html")).text)
    assert 'The test sets differ. c, e: data.split.test.time=["a", "c"]; d: data' in text
    with pytest.raises(ConfigError, match="is given twice; give each run once"):
        compare([one, two, tmp_path / "d" / ".." / "c"], tmp_path / "page.html")
    (one / "run.json").unlink()
    with pytest.raises(StorageError, match="is a folder of `diffsci score`, not a run"):
        compare([one, two], tmp_path / "page.html")


def test_cost_is_laid_against_skill_where_runs_say_what_they_took(tmp_path):
    seconds = [{"stages": {"sample": {"seconds": s}}} for s in (6.0, 0.6)]
    runs = [run_folder(tmp_path / str(n), **record) for n, record in enumerate(seconds)]
    page = read(compare(runs, tmp_path / "page.html"))
    assert "Cost and skill" in page.text and len(page.sources) == 2 * len(NAMES) + 2
    # 6 cases, 5 members and 2 leads in 6 seconds.
    assert read_run(runs[0], "a").milliseconds() == pytest.approx(100)
    assert read_run(runs[1], "b").milliseconds() == pytest.approx(10)
    assert read_run(runs[1], "b").called() == "b"
    counts = run_folder(tmp_path / "counts", network_calls=12)
    assert read_run(counts, "c").called() == "c (12 calls)"


def test_only_what_differs_of_a_nested_section_is_shown(tmp_path):
    scores = "evaluate: {scores: [crps, {use: coverage, levels: [0.5, 0.9]}, rmse]}\n"
    one = run_folder(tmp_path / "one", config="sample: {sampler: {use: ddim, steps: 4}}\n" + scores)
    two = run_folder(
        tmp_path / "two",
        config="sample: {sampler: {use: ddim, steps: 8}}\n" + scores.replace("0.9]", "0.8]"),
    )
    text = "".join(read(compare([one, two], tmp_path / "page.html")).text)
    assert "sample.sampler.steps" in text and "evaluate.scores.coverage.levels" in text
    assert "[0.5, 0.9]" in text and "[0.5, 0.8]" in text
    # Neither the whole section nor what is the same of it.
    assert "sample.sampler.use" not in text and "evaluate.scores.rmse" not in text
    assert '"use"' not in text and '"steps"' not in text


def test_the_best_of_unlike_ensembles_is_starred_by_fair_scores_alone(tmp_path):
    one = run_folder(tmp_path / "one")
    two = run_folder(tmp_path / "two", results(line(), leads=(6.0, 12.0), members=3))
    lines = compare([one, two], tmp_path / "page.html").read_text().split("<tr>")
    starred = {word: any(f"<b>{word}</b>" in text and "best" in text for text in lines)
               for word in ("crps", "rmse")}  # fmt: skip
    # Of the model; those of persistence, one member in both, are starred as ever.
    models = [text for text in lines[: len(lines) // 2] if "<b>rmse</b>" in text]
    assert starred["crps"] and not any('number best"' in text for text in models)


def test_equal_pipelines_are_called_equal(tmp_path):
    one, two = run_folder(tmp_path / "one"), run_folder(tmp_path / "two")
    assert "the same" in "".join(read(compare([one, two], tmp_path / "p.html")).text)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    good = run_folder(tmp_path / "good")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.yaml").write_text("a: 1")
    with pytest.raises(StorageError, match="empty: not a run with scores, scores.csv, run.json is"):
        compare([good, empty], tmp_path / "page.html")
    with pytest.raises(StorageError, match="nowhere: there is no such folder"):
        compare([good, tmp_path / "nowhere"], tmp_path / "page.html")
    with pytest.raises(ConfigError, match="expected the folders of 2 or more"):
        compare([good], tmp_path / "page.html")
    (good / "run.json").write_text("{")
    with pytest.raises(StorageError, match="good: config.yaml or run.json cannot be read"):
        compare([good, run_folder(tmp_path / "fine")], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def row(value, members=1):
    return Row(
        forecast="f",
        variable="v",
        score="s",
        lead=None,
        value=value,
        low=value,
        high=value,
        unit="1",
        members=members,
        count=1,
    )


def test_what_is_the_same_has_no_best():
    assert best_of([row(0.0), row(0.0)], "0") == best_of([row(2.0), None, row(2.0)], "1") == set()
    assert best_of([row(0.0), row(0.0), row(1.0)], "0") == {0, 1}


def test_a_report_says_of_which_values_an_event_is_and_what_raw_is(tmp_path):
    found = results(globe())
    found = replace(found, forecasts={**found.forecasts, "raw": found.model})
    made = evaluate(
        found.forecasts,
        found.truth,
        channels=found.channels,
        grid=found.grid,
        leads=None,
        scores=[
            Crps(),
            Brier(threshold=281.5),
            ThresholdCrps(threshold=279.0, tail="lower"),
        ],
        resamples=20,
        confidence=0.9,
        keys=found.keys,
    )
    path = write_report(
        tmp_path / "report.html",
        title="t",
        summary="s",
        scores=made,
        figures={},
        config="",
        provenance={},
    )
    text = "".join(read(path).text)
    assert "above 281.5 K" in text and "below 279 K" in text and "above 279" not in text
    assert "model is the calibrated ensemble, raw what was sampled before (calibrate)" in text


def test_the_best_value_depends_on_the_goal():
    rows = [row(-0.1), row(0.9), row(3.0), row(float("nan")), None]
    assert best_of(rows, "0") == {0}
    assert best_of(rows, "1") == {1}
    assert best_of(rows, "higher") == {2}
    assert best_of([row(1.0), None], "0") == set()
    # Coverage of an interval is to be what the interval promises.
    assert goal_of("conformal_90") == "0.9" and goal_words("0.9") == "nearer to 0.9 is better"
    assert goal_of("conformal_90_width") == "0" and goal_of("crpss_vs_raw") == "higher"


def test_only_an_earlier_comparison_is_overwritten(tmp_path):
    one, two = run_folder(tmp_path / "one"), run_folder(tmp_path / "two")
    precious = tmp_path / "precious.html"
    precious.write_text("<html>mine</html>")
    with pytest.raises(StorageError, match="exists and is no earlier comparison"):
        compare([one, two], precious)
    assert precious.read_text() == "<html>mine</html>"
    with pytest.raises(StorageError, match="ends in .html"):
        compare([one, two], tmp_path / "page.txt")
    page = compare([one, two], tmp_path / "page.html")
    assert compare([one, two], page) == page
