"""Score jsons -> tables: order, numbers, differences, and what may not be put side by side."""

import json

import pytest

from eval.provenance import Provenance
from eval.score import FORMAT, mean_over_videos, read_score
from eval.standings import make_table_view
from eval.table import read_tables, render_csv, render_markdown, write_tables


def make_score(tracker, delta_avg, mode="first", benchmark="kubric", truth="aa", **changes):
    mean = {
        "occlusion_accuracy": 0.9,
        "pts_within_1": delta_avg / 2,
        "jaccard_1": 0.1,
        "pts_within_16": delta_avg * 1.5,
        "jaccard_16": 0.3,
        "average_jaccard": 0.2,
        "average_pts_within_thresh": delta_avg,
    }
    score = {"format": FORMAT, "benchmark": benchmark, "tracker": tracker, "query_mode": mode, "resolution": 256}
    score |= {"truth_sha256": truth, "num_videos": 2, "mean": mean, "undefined": {}}
    return score | {"videos": {"a": mean, "b": mean}} | changes


@pytest.fixture
def write_scores(tmp_path):
    def write(*scores):
        paths = [tmp_path / f"{index}.json" for index in range(len(scores))]
        for path, score in zip(paths, scores, strict=True):
            path.write_text(json.dumps(score))
        return paths

    return write


def test_rows_are_static_untrained_trained_by_query_mode(write_scores):
    paths = write_scores(
        make_score("lbm", 0.452),
        make_score("lbm", 0.5, mode="strided"),
        make_score("lbm-untrained", 0.0912),
        make_score("static", 0.138),
        make_score("aardvark", 0.3),
    )
    first, strided = read_tables(paths)
    assert (first.query_mode, strided.query_mode) == ("first", "strided")
    assert [score["tracker"] for score in first.scores] == ["static", "lbm-untrained", "lbm", "aardvark"]
    assert [score["tracker"] for score in strided.scores] == ["lbm"]


def test_markdown_and_csv_say_the_same(write_scores, tmp_path):
    tables = read_tables(write_scores(make_score("lbm", 0.45249), make_score("static", 0.138)))
    markdown_path, csv_path = write_tables(tables, tmp_path / "table.md")
    lines = markdown_path.read_text().splitlines()
    assert "## kubric, queries: first" in lines
    assert "| tracker | delta_avg | AJ | OA | <1 px | <16 px | delta_avg vs static | AJ vs static |" in lines
    assert "| static | 13.8 | 20.0 | 90.0 | 6.9 | 20.7 | n/a | n/a |" in lines
    assert "| lbm | 45.2 | 20.0 | 90.0 | 22.6 | 67.9 | +31.4 | +0.0 |" in lines
    assert csv_path.read_text().splitlines() == [
        "benchmark,query_mode,resolution,num_videos,tracker,delta_avg,AJ,OA,pts_1,pts_16,delta_avg_vs_static,AJ_vs_static,"
        "published_in",
        "kubric,first,256,2,static,13.8,20.0,90.0,6.9,20.7,,,",
        "kubric,first,256,2,lbm,45.2,20.0,90.0,22.6,67.9,+31.4,+0.0,",
    ]


def test_another_resolution_is_a_table_of_its_own_and_joint_rows_are_marked(write_scores):
    scores = [make_score("static", 0.1, queries="independent"), make_score("cotracker3", 0.4, queries="joint")]
    tables = read_tables(write_scores(*scores, make_score("static", 0.2, resolution=512)))
    assert [(table.resolution, len(table.scores)) for table in tables] == [(256, 2), (512, 1)]
    official, larger = render_markdown(tables).split("\n## kubric, queries: first\n")
    assert "| cotracker3 (joint) | 40.0 |" in official and "| static | 10.0 |" in official
    assert "tracked together, against TAP-Vid's official rule" in official and "of its own" not in official
    assert "frames of 512x512: a protocol of its own" in larger and "together" not in larger


def test_undefined_numbers_are_blank_and_told(write_scores):
    score = make_score("lbm", 0.3, undefined={"average_jaccard": 1})
    score["mean"]["average_jaccard"] = None
    tables = read_tables(write_scores(score, make_score("static", 0.1)))
    markdown = render_markdown(tables)
    assert "| lbm | 30.0 | n/a | 90.0 |" in markdown
    assert "undefined (0/0) there: average_jaccard: 1." in markdown
    assert "lbm,30.0,,90.0" in render_csv(tables)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([make_score("a", 0.1), make_score("b", 0.1, truth="bb")], "another truth of 'kubric'"),
        ([make_score("a", 0.1), make_score("a", 0.2)], "tracker 'a' is also in"),
        ([{"format": "other"}], "not a frameline-score/1 file"),
        ([{"format": FORMAT, "benchmark": "kubric"}], "`tracker` is missing"),
        ([["a", "list"]], "not a frameline-score/1 file"),
    ],
)
def test_scores_that_do_not_compare(write_scores, scores, message):
    with pytest.raises(ValueError, match=message):
        read_tables(write_scores(*scores))


def test_one_benchmark_with_two_truths_is_refused_across_query_modes(write_scores):
    paths = write_scores(make_score("a", 0.1), make_score("a", 0.1, mode="strided", truth="bb"))
    with pytest.raises(ValueError, match="another truth"):
        read_tables(paths)


def test_a_score_that_is_not_json(tmp_path):
    path = tmp_path / "s.json"
    path.write_text('{"format":')
    with pytest.raises(ValueError, match=r"s\.json: not valid json"):
        read_score(path)


def test_the_mean_leaves_undefined_videos_out_and_counts_them():
    videos = {
        "a": {"num_queries": 3, "pts_within_1": 0.2, "jaccard_1": None},
        "b": {"num_queries": 0, "pts_within_1": None, "jaccard_1": None},
        "c": {"num_queries": 9, "pts_within_1": 0.6, "jaccard_1": None},
    }
    mean, undefined = mean_over_videos(videos)
    assert mean == {"pts_within_1": pytest.approx(0.4), "jaccard_1": None}
    assert undefined == {"pts_within_1": 1, "jaccard_1": 3}


def test_the_report_s_tables_mark_joint_rows_and_keep_resolutions_apart(write_scores):
    joint = {"queries": "joint"}
    scores = [make_score("static", 0.3), make_score("ours", 0.4, **joint)]
    paths = write_scores(*scores, make_score("static", 0.5, resolution=512), make_score("ours", 0.6, resolution=512))
    official, other = (make_table_view(table, paths, Provenance()) for table in read_tables(paths))
    assert [row.tracker for row in official.rows] == ["static", "ours (joint)"]
    assert "(joint)" in official.note and "512x512" not in official.note
    assert "512x512" in other.note and "(joint)" not in other.note
    assert [file.name.split("/")[-1] for view in (official, other) for file in view.files] == [p.name for p in paths]
