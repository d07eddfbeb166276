"""The commands from rollouts to a table and a sheet, on files."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from eval.__main__ import main
from eval.driving.drawing import choose, read_subject
from eval.driving.score import FORMAT
from eval.driving.table import read_driving_tables, render_csv
from shards.video import open_container
from tests.eval.driving.conftest import SIZES, write_rollouts

SIZE_WORDS = [word for name, value in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def results(street, tmp_path_factory):
    """Copies and two models, rolled out and scored."""
    folder = tmp_path_factory.mktemp("results")
    assert main(["drives-copy", "--truth", str(street), *SIZE_WORDS, "--out", str(folder / "copy.npz")]) == 0
    write_rollouts(folder / "good.npz", street, model="good", reward=True)
    write_rollouts(folder / "deaf.npz", street, model="deaf", follows=False)
    for name in ("copy", "good", "deaf"):
        words = ["--rollouts", str(folder / f"{name}.npz"), "--truth", str(street)]
        assert main(["drives-score", *words, "--out", str(folder / f"{name}.json")]) == 0
    return folder


def test_a_score_says_its_leading_figures(results, street, tmp_path, capsys):
    words = ["drives-score", "--rollouts", str(results / "good.npz"), "--truth", str(street)]
    assert main([*words, "--out", str(tmp_path / "s.json")]) == 0
    told = capsys.readouterr().out
    assert "street good: PSNR true" in told and "over copy" in told and "(8 clips)" in told
    assert (tmp_path / "s.json").read_bytes() == (results / "good.json").read_bytes()


def test_a_table_has_a_row_a_model_and_says_what_its_columns_mean(results, tmp_path):
    scores = [str(results / f"{name}.json") for name in ("copy", "good", "deaf")]
    assert main(["drives-table", *scores, "--out", str(tmp_path / "table.md")]) == 0
    text = (tmp_path / "table.md").read_text()
    assert "## street: 8 frames of 24x36, 1 given" in text
    leading = text.split("###")[0]
    assert [line.split(" | ")[0] for line in leading.splitlines() if line.startswith("| ")] == [
        "| model", "| ---", "| copy", "| good", "| deaf",
    ]  # fmt: skip
    assert "| copy | n/a | n/a |" in leading
    assert text.count("the truth | true frames") == 1
    assert "### Reward" in text and "- turn r:" in text and "| copy |  | " in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    found = {(row["model"], row["metric"]): row["mean"] for row in rows}
    good = json.loads((results / "good.json").read_text())
    assert float(found["good", "over_shuffled"]) == good["mean"]["over_shuffled"]
    assert float(found["good", "psnr_true_frame_7"]) == good["by_frame"]["true"][-1]


def test_other_sizes_are_tables_of_their_own(results, tmp_path):
    score = json.loads((results / "good.json").read_text())
    score["settings"]["frame_step"] = 2
    (tmp_path / "far.json").write_text(json.dumps(score))
    tables = read_driving_tables([results / "good.json", tmp_path / "far.json"])
    assert [table.title for table in tables] == [
        "street: 8 frames of 24x36, 1 given", "street: 8 frames of 24x36, 2 frames of the clip apart, 1 given",
    ]  # fmt: skip
    assert len({line.count(",") for line in render_csv(tables).splitlines()}) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"truth_sha256": "other"}, "another truth"),
        ({"windows": {}}, "other clips"),
        ({"windows": {f"street-{n}": [1] for n in range(8)}}, "other windows"),
        ({}, "is also in"),
    ],
)
def test_what_does_not_compare_is_not_in_one_table(results, tmp_path, change, told):
    score = json.loads((results / "good.json").read_text()) | change
    (tmp_path / "other.json").write_text(json.dumps(score))
    with pytest.raises(ValueError, match=told):
        read_driving_tables([results / "good.json", tmp_path / "other.json"])


def test_no_score_is_no_table():
    with pytest.raises(ValueError, match="drives-score"):
        read_driving_tables([])


def test_a_sheet_has_a_row_of_truth_and_of_each_telling(results, street, tmp_path):
    out, film = tmp_path / "sheet.png", tmp_path / "film.mp4"
    words = ["--rollouts", str(results / "good.npz"), "--truth", str(street), "--clips", "2", "--film", str(film)]
    assert main(["drives-sheet", *words, "--out", str(out)]) == 0
    with Image.open(out) as image:
        assert image.size == (8 * (36 * 4 + 4) - 4, 2 * 4 * (24 * 4 + 20 + 4) - 4)
        picture = np.asarray(image)
    truth, true = picture[20:116, -144:], picture[140:236, -144:]  # the last frame of the first two rows
    assert np.abs(truth.astype(int) - true).mean() < 10 < np.abs(truth.astype(int) - truth[:, ::-1]).mean()
    assert read_subject(out.read_bytes()) == ("street", "good")
    with open_container(str(film), "film") as video:
        assert video.rate == 10 and len(list(video.frames)) == 8


def test_drawn_clips_are_spread_evenly():
    assert choose(tuple("abcdefgh"), 4) == ["b", "d", "f", "h"] and choose(("a",), 4) == ["a"]
    with pytest.raises(ValueError, match="one or more"):
        choose(("a",), 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["drives-score", "--rollouts", "none.npz"], "none.npz: not there"),
        (["drives-sheet", "--rollouts", "none.npz"], "none.npz: not there"),
        (["drives-copy", *SIZE_WORDS, "--num-frames", "30"], "has 10 frames; 30 frames"),
        (["drives-copy", *SIZE_WORDS, "--num-given", "8"], "none is made"),
    ],
)
def test_mistakes_are_one_line(street, tmp_path, capsys, words, told):
    assert main([*words, "--truth", str(street), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_the_format_is_named():
    assert FORMAT == "frameline-driving-score/1"
