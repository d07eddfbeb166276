"""The report's section of driving: tables, sheets, and the way to each number."""

import json

import pytest

from eval.__main__ import main
from eval.driving.rewards import chart_rewards
from tests.eval.driving.conftest import write_rollouts
from tests.eval.pages import Page


@pytest.fixture(scope="module")
def results(street, tmp_path_factory):
    """A score and a sheet, made by the commands."""
    folder = tmp_path_factory.mktemp("results")
    rollouts = write_rollouts(folder / "good.npz", street, model="good")
    words = ["--rollouts", str(rollouts), "--truth", str(street)]
    assert main(["drives-score", *words, "--out", str(folder / "good.json")]) == 0
    assert main(["drives-sheet", *words, "--clips", "1", "--out", str(folder / "good.png")]) == 0
    return folder


def test_a_report_of_driving_alone_shows_tables_and_sheets(results, tmp_path):
    out = tmp_path / "report.html"
    words = ["--driving-scores", str(results / "good.json"), "--driving-sheets", str(results / "good.png")]
    assert main(["report", *words, "--out", str(out)]) == 0
    page = Page(out.read_text())
    text = " ".join(" ".join(page.text).split())
    score = json.loads((results / "good.json").read_text())
    assert "street: 8 frames of 24x36" in text and "PSNR by frame" in text and "good on street" in text
    assert f"{score['mean']['over_shuffled']:.2f} [" in text
    assert any(image["src"].startswith("data:image/webp") and image["alt"] for image in page.find("img"))
    identities = {attributes.get("id") for _, attributes in page.tags}
    assert {link["href"][1:] for link in page.find("a")} <= identities
    assert "good.json" in text and "good.png" in text


def test_rewards_are_drawn_where_a_model_has_them(results, street, tmp_path):
    sure = write_rollouts(tmp_path / "sure.npz", street, model="sure", reward=True)
    words = ["drives-score", "--rollouts", str(sure), "--truth", str(street), "--out", str(tmp_path / "sure.json")]
    assert main(words) == 0
    scores = [str(results / "good.json"), str(tmp_path / "sure.json")]
    assert main(["report", "--driving-scores", *scores, "--out", str(tmp_path / "report.html")]) == 0
    labels = [image.get("aria-label", "") for image in Page((tmp_path / "report.html").read_text()).find("svg")]
    assert [label for label in labels if "reward" in label] == ["sure: reward and PSNR, dB, street"]
    svg = chart_rewards(json.loads((tmp_path / "sure.json").read_text()))
    assert svg.count("<use ") >= 24 and "another clip's" in svg and ">nothing<" in svg


def test_sheets_without_their_scores_and_strange_pictures_are_refused(results, tmp_path, capsys):
    strange = tmp_path / "strange.png"
    strange.write_bytes(b"no picture")
    renamed = json.loads((results / "good.json").read_text()) | {"model": "other"}
    (tmp_path / "other.json").write_text(json.dumps(renamed))
    for score, sheet, message in (
        (results / "good.json", strange, "strange.png: no sheet"),
        (tmp_path / "other.json", results / "good.png", "shows good on street, of which no score was given"),
    ):
        words = ["--driving-scores", str(score), "--driving-sheets", str(sheet), "--out", str(tmp_path / "x.html")]
        assert main(["report", *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["report", "--driving-sheets", str(results / "good.png"), "--out", str(tmp_path / "x.html")]) == 2
    assert "a report needs scores" in capsys.readouterr().err
