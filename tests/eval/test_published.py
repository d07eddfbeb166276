"""Published numbers: each line has a source, mistakes are named by line, and no table takes them for its own rows."""

import csv
import io
import json

import pytest

from eval.published import COLUMNS, MARK, published_scores, read_published
from eval.table import published_rows, published_sources, read_tables, render_csv, render_markdown, table_rows
from tests.eval.test_score_table import make_score

HEADER = ",".join(COLUMNS)
GOOD = "tapvid_davis,first,TAP-Net,,33.0,,2022,a paper"


def test_every_line_of_the_table_is_sound_and_has_a_source():
    scores = read_published()
    assert {score.benchmark for score in scores} == {
        "tapvid_davis",
        "tapvid_kinetics",
        "tapvid_rgb_stacking",
        "robotap",
    }
    for score in scores:
        assert len(score.source) > 8 and score.numbers, score
    lbm = next(s for s in published_scores("tapvid_davis", "first") if s.tracker == "LBM")
    assert lbm.numbers == {"delta_avg": 77.5, "AJ": 65.1, "OA": 89.5}
    assert published_scores("kubric_heldout", "first") == ()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("benchmark,tracker\n", "the columns must be benchmark,query_mode,tracker"),
        (f"{HEADER}\n{GOOD}\n{GOOD}\n", r"p\.csv:3: 'TAP-Net' has another line"),
        (f"{HEADER}\ntapvid_davis,first,TAP-Net,,33.0,,2022,\n", r"p\.csv:2: `source` is empty"),
        (f"{HEADER}\ntapvid_davis,last,TAP-Net,,33.0,,2022,a paper\n", "query_mode 'last' is none of first, strided"),
        (f"{HEADER}\ntapvid_davis,first,TAP-Net,,0.33,,2022,a paper\n", "x100: above 1 and at most 100"),
        (f"{HEADER}\ntapvid_davis,first,TAP-Net,,,,2022,a paper\n", "needs at least one of delta_avg, AJ, OA"),
        (f"{HEADER}\ntapvid_davis,first,TAP-Net,,about 33,,2022,a paper\n", "could not convert string to float"),
        (f"{HEADER}\ntapvid_davis,first,TAP-Net,,33.0,,22,a paper\n", "year '22' is none"),
        (f"{HEADER}\n{GOOD}, of 2022\n", "more cells than columns"),
    ],
)
def test_a_mistake_in_the_table_is_named_by_its_line(tmp_path, lines, message):
    (tmp_path / "p.csv").write_text(lines)
    with pytest.raises(ValueError, match=message):
        read_published(tmp_path / "p.csv")


@pytest.fixture
def davis(tmp_path):
    paths = [tmp_path / "static.json", tmp_path / "lbm.json"]
    for path, value in zip(paths, (0.1, 0.4), strict=True):
        path.write_text(json.dumps(make_score(path.stem, value, benchmark="tapvid_davis")))
    return read_tables(paths)


def test_tables_show_them_below_their_own_rows_and_marked(davis):
    (table,) = davis
    header, rows = table_rows(table)
    assert [row[0] for row in rows] == ["static", "lbm"]
    published, sources = published_rows(table), published_sources(table)
    assert len(published) == len(table.published) and len(sources) == len(set(sources))
    assert all(MARK in row[0] and len(row) == len(header) for row in published)
    lines = render_markdown(davis).splitlines()
    lbm = next(line for line in lines if line.startswith("| LBM ["))
    number = (
        sources.index("LBM (NeurIPS 2025, arXiv 2509.16527), its table of TAP-Vid as a secondary note quotes it") + 1
    )
    assert lbm == f"| LBM [{number}] (published, not run here) | 77.5 | 65.1 | 89.5 |  |  |  |  |"
    assert lines.index(lbm) > lines.index(next(line for line in lines if line.startswith("| lbm |")))
    assert f"{number}. {sources[number - 1]}" in lines


def test_the_csv_says_of_each_row_whether_it_was_run_here(davis):
    rows = list(csv.DictReader(io.StringIO(render_csv(davis))))
    assert [row["tracker"] for row in rows if not row["published_in"]] == ["static", "lbm"]
    lbm = next(row for row in rows if row["tracker"] == "LBM")
    assert (lbm["delta_avg"], lbm["AJ"], lbm["OA"], lbm["num_videos"]) == ("77.5", "65.1", "89.5", "")
    assert lbm["published_in"].startswith(f"{MARK}: LBM (NeurIPS 2025")


def test_a_benchmark_that_nobody_published_has_none(tmp_path):
    path = tmp_path / "static.json"
    path.write_text(json.dumps(make_score("static", 0.1)))
    assert MARK not in render_markdown(read_tables([path]))
