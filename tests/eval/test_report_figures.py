"""Every figure of the report leads to the files that it was made from, and every number to the clips."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eval.__main__ import main
from eval.predictions import VideoPrediction, read_predictions, write_predictions
from eval.provenance import FORMAT, Provenance, tell_ranges, tell_seconds
from eval.published import PUBLISHED, published_scores
from eval.standings import main_tracker, make_table_view, tracker_colors, trackers_of_interest
from eval.table import read_tables
from shards.files import sha256_of
from tests.chromium import chromium, find_chromium
from tests.eval.pages import Page

STAGES = ("lbm", "cotracker3_offline", "cotracker3_online")
SPENT = {
    "seconds": 720.0, "cpu_seconds": 1350.0, "finished": "2026-01-02T03:04:05+00:00", "cpu": "Abacus 9", "cores": 2,
    "gpus": ["H9"],
}  # fmt: skip


def record(path, rule, inputs, facts=None, spent=SPENT, root="."):
    """The sidecar that workflow.provenance would have written."""
    digests = {name: digest(Path(root) / name) for name in inputs}
    sidecar = {
        "format": FORMAT,
        "rule": rule,
        "facts": {"source": f"code of {rule}"} | (facts or {}),
        "inputs": digests,
    }
    sidecar |= {"command": f"make {path}", "output_sha256": digest(Path(root) / path), "python": "3"}
    (Path(root) / f"{path}.prov.json").write_text(json.dumps(sidecar | ({"spent": spent} if spent else {})))


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def finished(truth_path, tmp_path_factory):
    """A folder as Snakemake leaves it: three stages and their untrained weights on one benchmark, with sidecars."""
    root = tmp_path_factory.mktemp("finished")
    index = "data/shards/toy/index.json"
    shutil.copytree(truth_path.parent, root / "data/shards/toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        trackers = ["static", *(f"{stage}{suffix}" for stage in STAGES for suffix in ("-untrained", ""))]
        for number, tracker in enumerate(trackers):
            make_scores(tracker, index, shift=0.0 if tracker == "static" else 3.0 * number)
        for stage in STAGES:
            lines = [json.dumps({"step": step, "loss": 3.0 / step}) for step in range(1, 20)]
            Path(f"results/{stage}/metrics.jsonl").write_text("\n".join(lines))
            Path(f"results/{stage}/recipe.yaml").write_text(f"stage: {stage}\n")
            write_benchmark(f"train/{stage}", "720.00", "300.0")
        write_benchmark("predict/toy/lbm.first", "0.4", "NA")
        Path("results/graph.dot").write_text('digraph {\n0[label = "all"]\n1[label = "train"]\n1 -> 0\n}\n')
    return root


def make_scores(tracker, index, shift):
    """Predictions `shift` pixels beside static points, their score, weights and sidecars."""
    stem = f"results/toy/{tracker}.first.256"
    words = ["--truth", index, "--out", f"{stem}.predictions.npz"]
    assert main(["track", "--tracker", "static", *words]) == 0
    if tracker != "static":
        static = read_predictions(f"{stem}.predictions.npz")
        videos = [static.video(name) for name in static.names]
        moved = [
            VideoPrediction(
                name=video.name,
                query_points=video.query_points,
                tracks=video.tracks + np.float32(shift),
                occluded=video.occluded,
            )
            for video in videos
        ]
        write_predictions(
            f"{stem}.predictions.npz", tracker=tracker, query_mode="first", truth_sha256=digest(index), videos=moved
        )
        stage = tracker.removesuffix("-untrained")
        weights = f"results/{stage}/{'weights' if stage == tracker else 'untrained'}.safetensors"
        Path(weights).parent.mkdir(parents=True, exist_ok=True)
        Path(weights).write_text(tracker)
        record(weights, "train_stage", [index], {"recipe": f"recipe of {stage}", "processes": "2"})
        record(f"{stem}.predictions.npz", "predict", [index, weights])
    else:
        record(f"{stem}.predictions.npz", "baseline", [index])
    predictions = f"{stem}.predictions.npz"
    assert main(["score", "--predictions", predictions, "--truth", index, "--out", f"{stem}.json"]) == 0
    record(f"{stem}.json", "score", [index, predictions])


def write_benchmark(name, seconds, cpu_seconds):
    path = Path(f"logs/benchmarks/{name}.tsv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\tmax_rss\tcpu_time\n{seconds}\t1500.0\t{cpu_seconds}\n")


@pytest.fixture(scope="module")
def page_path(finished):
    """The report of all of it, made by the command that the rule runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished)
        files = {kind: sorted(map(str, Path("results/toy").glob(f"*.{kind}"))) for kind in ("256.json", "npz")}
        words = ["report", "--scores", *files["256.json"], "--predictions", *files["npz"]]
        words += ["--truth", "data/shards/toy/index.json", "--curves", *(f"results/{s}/metrics.jsonl" for s in STAGES)]
        words += ["--recipe", *(f"results/{s}/recipe.yaml" for s in STAGES), "--graph", "results/graph.dot"]
        assert main([*words, "--root", ".", "--out", "results/report.html"]) == 0
    return finished / "results/report.html"


class Figures(Page):
    """For each section of a report the files that it links to with the digits shown beside; the table of inputs."""

    def __init__(self, text):
        self.section, self.origins, self.inputs, self.row, self.link = "", {}, {}, "", ""
        super().__init__(text)

    def handle_starttag(self, tag, attributes):
        super().handle_starttag(tag, attributes)
        values = dict(attributes)
        if tag == "section":
            self.section = values["id"]
        elif tag == "tr":
            self.row = values.get("id", "")
        elif tag == "a" and values["href"].startswith("#file-"):
            self.link = values["href"][1:]

    def handle_data(self, data):
        super().handle_data(data)
        tag = self.open[-1] if self.open else ""
        if self.row.startswith("file-") and tag in ("th", "code"):
            self.inputs.setdefault(self.row, []).append(data)
        elif tag == "code" and self.link:
            self.origins.setdefault(self.section, set()).add((self.link, data))
            self.link = ""


def test_each_figure_names_its_files_and_their_digests(page_path, finished):
    page = Figures(page_path.read_text())
    files = {}
    for anchor, (name, sha256) in page.inputs.items():
        assert digest(finished / name) == sha256, name
        files[anchor] = (name, sha256)
    for origins in page.origins.values():
        assert all(files[anchor][1].startswith(digits) and len(digits) == 12 for anchor, digits in origins)
    named = {section: {files[anchor][0] for anchor, _ in origins} for section, origins in page.origins.items()}
    trackers = ["static", *STAGES, *(f"{stage}-untrained" for stage in STAGES)]
    scores = {f"results/toy/{tracker}.first.256.json" for tracker in trackers}
    trained = {f"results/toy/{stage}.first.256.predictions.npz" for stage in STAGES}
    assert named == {
        "scores": scores,
        "tracks": trained | {"data/shards/toy/index.json"},
        "failures": trained | {"data/shards/toy/index.json"},
        "videos": scores,
        "training": {f"results/{stage}/metrics.jsonl" for stage in STAGES},
        "cost": {f"logs/benchmarks/{name}.tsv" for name in (*(f"train/{s}" for s in STAGES), "predict/toy/lbm.first")},
        "graph": {"results/graph.dot"},
    }


def test_the_page_is_small_and_names_no_place_of_this_machine(page_path, finished):
    content = page_path.read_text()
    assert len(content) < 5_000_000
    assert str(finished) not in content


def test_a_number_leads_to_the_clips_that_its_weights_were_trained_on(finished, monkeypatch):
    monkeypatch.chdir(finished)
    steps = Provenance().trace("results/toy/lbm.first.256.json")
    assert [(step.role, step.name) for step in steps] == [
        ("score", "results/toy/lbm.first.256.json"),
        ("predictions", "results/toy/lbm.first.256.predictions.npz"),
        ("weights", "results/lbm/weights.safetensors"),
        ("training clips", "data/shards/toy/index.json"),
    ]
    weights = dict(steps[2].facts)
    assert weights["recipe"] == "recipe of lbm" and weights["code"] == "code of train_stage"
    assert weights["device"] == "1 x H9 (Abacus 9)"
    assert weights["time"] == "12 min 0 s, finished 2026-01-02T03:04:05 UTC"
    assert not any(step.warning for step in steps[:3])
    assert all(step.sha256 == digest(step.name) for step in steps)


def test_what_changed_or_went_since_is_told(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    weights = Path("results/lbm/weights.safetensors")
    before = digest(weights)
    weights.write_text("another training")
    assert Provenance().trace("results/toy/lbm.first.256.json")[2].warning == (
        f"changed since it was used (then {before[:12]})"
    )
    weights.unlink()
    assert Provenance().trace("results/toy/lbm.first.256.json")[2].warning == "not here any more"
    Path("results/toy/lbm.first.256.json.prov.json").unlink()
    (only,) = Provenance().trace("results/toy/lbm.first.256.json")
    assert only.warning == "nothing beside it says how it was made"


def test_seeds_of_scenes_come_from_the_index(tmp_path):
    clips = [{"key": str(seed), "seed": seed} for seed in (3, 4, 5, 9)]
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"dataset": "d", "shards": [{"sha256": "ab" * 32, "clips": clips}]}))
    facts = dict(Provenance().trace(index)[0].facts)
    assert facts["scene seeds"] == "3-5, 9" and facts["data set"] == "d, 4 clips"
    assert facts["shards (sha256)"].startswith("abababababab")


def test_numbers_are_told_as_ranges_and_seconds_as_people_say_them():
    assert tell_ranges([5, 0, 1, 2]) == "0-2, 5"
    assert tell_ranges(range(0, 20, 2), most=2) == "0, 2 and 8 more ranges"
    assert [tell_seconds(each) for each in (0.44, 12, 59.7, 536, 11100)] == [
        "0.4 s", "12 s", "1 min 0 s", "8 min 56 s", "3 h 5 min",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    command = find_chromium()
    if command is None:
        pytest.skip("there is no Chromium (apt-get install chromium, or CHROMIUM=path)")
    with chromium(command, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.slow
@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("width", [390, 820, 1440])
def test_the_page_fits_a_screen_and_asks_for_nothing_in_chromium(browser, page_path, width, is_dark):
    browser.resize(width, 900, is_dark=is_dark)
    browser.open(page_path.as_uri())
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert (
        browser.run("performance.getEntriesByType('resource').filter((e) => !e.name.startsWith('data:')).length") == 0
    )
    assert browser.run("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    # Text below 4.5 to 1 is hard to read: ink, soft text and links on the card.
    ratio = """(name) => {
        const light = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const value = (each) => light(getComputedStyle(document.documentElement).getPropertyValue(each).trim());
        const pair = [value(name), value('--card')].sort((a, b) => b - a);
        return (pair[0] + 0.05) / (pair[1] + 0.05);
    }"""
    for name in ("--ink", "--soft", "--accent", "--good", "--bad"):
        assert browser.run(f"({ratio})('{name}')") > 4.5, name
    assert not browser.log


@pytest.mark.slow
def test_the_page_prints_with_its_provenance_open(browser, page_path):
    browser.resize(820, 900)
    browser.open(page_path.as_uri())
    browser.call("Emulation.setEmulatedMedia", media="print")
    shown = "document.querySelector('#provenance .card details:not([open]) .trace').checkVisibility()"
    clipped = (
        "[...document.querySelectorAll('.scroll')].filter((e) => getComputedStyle(e).overflowX !== 'visible').length"
    )
    assert browser.run(shown) and browser.run(clipped) == 0
    browser.call("Emulation.setEmulatedMedia", media="")


def test_the_report_starts_without_torch():
    code = "import sys, eval.report, eval.costs, eval.failures; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_report_is_about_the_stages_trained_here():
    trackers = ["static", "lucas_kanade", "lbm-untrained", "lbm", "other"]
    assert trackers_of_interest(trackers) == ["lbm"]
    assert trackers_of_interest(["static", "lucas_kanade", "other"]) == ["lucas_kanade", "other"]
    assert trackers_of_interest(["static"]) == ["static"]
    assert main_tracker({"a": 0.2, "b": None, "c": 0.3}) == "c"
    colors = tracker_colors(trackers)
    assert colors["static"] == "static" and colors["lbm-untrained"] == f"{colors['lbm']} faint"
    assert len(set(colors.values())) == len(trackers)


def test_published_rows_stand_below_ours_with_their_sources(finished, tmp_path):
    score = json.loads((finished / "results/toy/lbm.first.256.json").read_text())
    (tmp_path / "lbm.json").write_text(json.dumps(score | {"benchmark": "tapvid_davis"}))
    assert main(["report", "--scores", str(tmp_path / "lbm.json"), "--out", str(tmp_path / "r.html")]) == 0
    page = Page((tmp_path / "r.html").read_text())
    text = " ".join(" ".join(page.text).split())
    published = published_scores("tapvid_davis", "first")
    assert text.count("Published, not run here") == 1
    assert sha256_of(PUBLISHED) in text and "eval/published.csv" in text
    assert "Published rows are means over 30 videos, the others over 2: do not compare them." in text
    assert all(score.citation in text and score.tracker in text for score in published)
    heading = '<tbody class="published">'
    rows = (tmp_path / "r.html").read_text().split(heading)[1].split("</tbody>")[0].count("<tr>")
    assert rows == 1 + len(published) > 6


def test_the_best_error_is_the_smallest_and_other_columns_are_explained(finished, tmp_path):
    paths, means = [], {"a": (0.8, 3.0), "b": (0.9, 2.0), "c": (0.7, None)}
    score = json.loads((finished / "results/toy/lbm.first.256.json").read_text())
    for tracker, (survival, error) in means.items():
        mean = score["mean"] | {"survival": survival, "median_trajectory_error": error}
        paths.append(tmp_path / f"{tracker}.json")
        paths[-1].write_text(json.dumps(score | {"tracker": tracker, "mean": mean}))
    (table,) = read_tables(paths)
    view = make_table_view(table, paths, Provenance())
    column = list(table.columns).index("median_trajectory_error")
    assert [column in row.best for row in view.rows] == [False, True, False]
    assert [column - 1 in row.best for row in view.rows] == [False, True, False]
    assert main(["report", "--scores", *map(str, paths), "--out", str(tmp_path / "r.html")]) == 0
    text = " ".join(" ".join(Page((tmp_path / "r.html").read_text()).text).split())
    assert "MTE: median distance" in text and "Survival: share" in text and "AJ_RD" not in text
