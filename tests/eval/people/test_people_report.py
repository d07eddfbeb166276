"""The report's section of people: tables with intervals, overlays, and the way to each number."""

import json

import pytest

from eval.__main__ import main
from tests.eval.pages import Page
from tests.eval.people.persons import write_exact


@pytest.fixture(scope="module")
def results(people_index, body_path, tmp_path_factory):
    """A score and an overlay, made by the commands."""
    folder = tmp_path_factory.mktemp("results")
    predictions = write_exact(folder / "exact.npz", people_index)
    words = ["--predictions", str(predictions), "--truth", str(people_index), "--body", str(body_path)]
    assert main(["people-score", *words, "--out", str(folder / "exact.json")]) == 0
    assert main(["people-overlay", *words, "--out", str(folder / "exact.png")]) == 0
    return folder


def test_a_report_of_people_alone_shows_tables_and_overlays(results, tmp_path):
    out = tmp_path / "report.html"
    words = ["--people-scores", str(results / "exact.json"), "--people-overlays", str(results / "exact.png")]
    assert main(["report", *words, "--out", str(out)]) == 0
    page = Page(out.read_text())
    text = " ".join(" ".join(page.text).split())
    score = json.loads((results / "exact.json").read_text())
    assert "Body model: toy" in text and "PA-MPJPE mm" in text and "exact on people" in text
    assert f"{100 * score['mean']['mask_iou']:.1f} [" in text
    assert any(image["src"].startswith("data:image/webp") and image["alt"] for image in page.find("img"))
    identities = {attributes.get("id") for _, attributes in page.tags}
    assert {link["href"][1:] for link in page.find("a")} <= identities
    assert "exact.json" in text and "exact.png" in text


def test_an_overlay_without_its_scores_and_a_strange_picture_are_refused(results, tmp_path, capsys):
    strange = tmp_path / "strange.png"
    strange.write_bytes(b"no picture")
    for words, message in (
        (
            ["--people-scores", str(results / "exact.json"), "--people-overlays", str(strange)],
            "strange.png: no picture",
        ),
        (["--people-overlays", str(results / "exact.png")], "a report needs scores"),
    ):
        assert main(["report", *words, "--out", str(tmp_path / "x.html")]) == 2
        assert message in capsys.readouterr().err
    changed = json.loads((results / "exact.json").read_text()) | {"benchmark": "elsewhere"}
    (tmp_path / "elsewhere.json").write_text(json.dumps(changed))
    words = ["--people-scores", str(tmp_path / "elsewhere.json"), "--people-overlays", str(results / "exact.png")]
    assert main(["report", *words, "--out", str(tmp_path / "x.html")]) == 2
    assert "shows people, of which no score was given" in capsys.readouterr().err
