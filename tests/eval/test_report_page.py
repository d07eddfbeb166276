"""The whole way by the commands: track, score, table, curves, draw, report; and the report as a browser reads it."""

import base64
import io
import json
import subprocess
import sys

import pytest
from PIL import Image

from eval.__main__ import main
from eval.report import median_video
from tests.eval.pages import Page


@pytest.fixture(scope="module")
def results(truth_path, tmp_path_factory):
    """Scores, predictions, a training log, a recipe, a graph and a provenance sidecar, made by the commands."""
    folder = tmp_path_factory.mktemp("results")
    for mode in ("first", "strided"):
        predictions, score = folder / f"static.{mode}.npz", folder / f"static.{mode}.json"
        arguments = ["--truth", str(truth_path), "--query-mode", mode, "--out", str(predictions)]
        assert main(["track", "--tracker", "static", *arguments]) == 0
        arguments = ["--predictions", str(predictions), "--truth", str(truth_path), "--out", str(score)]
        assert main(["score", *arguments]) == 0
    lines = [json.dumps({"step": step, "loss": 3.0 / step, "learning_rate": 1e-4}) for step in range(1, 20)]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    (folder / "recipe.yaml").write_text("stage: lbm # <b>&\n")
    (folder / "graph.dot").write_text('digraph {\n0[label = "all"]\n1[label = "train"]\n1 -> 0\n}\n')
    sidecar = {"versions": {"numpy": "9.9.9"}, "inputs": [{"path": "p", "sha256": "feed"}], "seconds": 12.5}
    (folder / "static.first.json.prov.json").write_text(json.dumps(sidecar))
    return folder


def report_arguments(results, truth_path, out):
    return [
        "report",
        *("--title", "Toy <report>", "--out", str(out), "--truth", str(truth_path)),
        *("--scores", str(results / "static.first.json"), str(results / "static.strided.json")),
        *("--predictions", str(results / "static.first.npz"), str(results / "static.strided.npz")),
        *("--curves", str(results / "metrics.jsonl"), "--recipe", str(results / "recipe.yaml")),
        *("--graph", str(results / "graph.dot"), "--note", "DAVIS: no network & no file"),
    ]


def test_the_report_is_one_file_that_asks_for_nothing(results, truth_path, tmp_path):
    out = tmp_path / "report.html"
    assert main(report_arguments(results, truth_path, out)) == 0
    content = out.read_text()
    assert "http://" not in content and "https://" not in content
    page = Page(content)
    assert page.find("script") == page.find("link") == []
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in page.find("img"))
    assert all(link["href"].startswith("#") for link in page.find("a"))
    identities = {attributes.get("id") for _, attributes in page.tags}
    assert {link["href"][1:] for link in page.find("a")} <= identities


def test_the_report_shows_what_it_was_given(results, truth_path, tmp_path):
    out = tmp_path / "report.html"
    main(report_arguments(results, truth_path, out))
    page = Page(out.read_text())
    text = " ".join(" ".join(page.text).split())
    score = json.loads((results / "static.first.json").read_text())
    assert "Toy <report>" in text and "DAVIS: no network & no file" in text and "stage: lbm # <b>&" in text
    assert f"{100 * score['mean']['average_pts_within_thresh']:.1f}" in text
    assert score["truth_sha256"] in text
    assert "9.9.9" in text and "feed" in text and "12.5" in text
    assert len(page.find("svg")) == 3  # loss, learning rate, graph
    animations = [_open_image(image["src"]) for image in page.find("img")]
    assert sorted(image.n_frames for image in animations) == [1, 1, 10, 10]


def _open_image(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def test_the_same_inputs_give_the_same_bytes(results, truth_path, tmp_path):
    for name in ("a.html", "b.html"):
        assert main(report_arguments(results, truth_path, tmp_path / name)) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_scores_alone_make_a_report_and_an_svg_graph_is_embedded(results, tmp_path):
    graph, out = tmp_path / "graph.svg", tmp_path / "report.html"
    graph.write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    scores = ["--scores", str(results / "static.first.json")]
    assert main(["report", *scores, "--graph", str(graph), "--out", str(out)]) == 0
    page = Page(out.read_text())
    assert page.find("script") == []
    assert [image["src"][:26] for image in page.find("img")] == ["data:image/svg+xml;base64,"]
    assert "http://" not in out.read_text()


def test_the_shown_video_is_the_median_one():
    values = {"a": 0.9, "b": None, "c": 0.1, "d": 0.5, "e": 0.6}
    videos = {name: {"average_pts_within_thresh": value} for name, value in values.items()}
    assert median_video({"videos": videos}) == "d"


def test_table_curves_and_draw_write_their_files(results, truth_path, tmp_path):
    scores = [str(results / f"static.{mode}.json") for mode in ("first", "strided")]
    assert main(["table", *scores, "--out", str(tmp_path / "table.md")]) == 0
    assert (tmp_path / "table.csv").read_text().count("toy,") == 2
    assert main(["curves", str(results / "metrics.jsonl"), "--out", str(tmp_path / "curves.png")]) == 0
    assert Image.open(tmp_path / "curves.png").format == "PNG"
    arguments = ["--truth", str(truth_path), "--predictions", str(results / "static.first.npz"), "--video", "drift"]
    assert main(["draw", *arguments, "--out", str(tmp_path / "drift.webp")]) == 0
    assert Image.open(tmp_path / "drift.webp").n_frames == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "absent.json", "--out", "t.md"], "error: absent.json: No such file or directory"),
        (["report", "--scores", "{first}", "--predictions", "{npz}", "--out", "r.html"], "was not given"),
        (["report", "--scores", "{first}", "--graph", "{first}", "--out", "r.html"], "no node found"),
        (["score", "--predictions", "{first}", "--truth", "{truth}", "--out", "s.json"], "not a readable predictions"),
        (["track", "--tracker", "flow", "--truth", "{truth}", "--out", "p.npz"], "unknown tracker 'flow'"),
        (["track", "--tracker", "static", "--truth", "{first}", "--out", "p.npz"], "error: "),
        (["table", "{first}", "--out", "t.csv"], "name the markdown file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(results, truth_path, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    places = {"first": results / "static.first.json", "npz": results / "static.first.npz", "truth": truth_path}
    assert main([argument.format(**places) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and told.startswith("error: ") and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_command_and_torch_stays_out():
    told = subprocess.run([sys.executable, "-m", "eval", "--help"], capture_output=True, text=True, check=True).stdout
    for command in ("track", "score", "table", "curves", "draw", "report"):
        assert command in told
    code = "import sys, eval.__main__, eval.report, eval.baselines; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
