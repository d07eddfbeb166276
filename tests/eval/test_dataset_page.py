"""The page of a data set: as a browser reads it, its numbers against the arrays, and what it warns of."""

import dataclasses
import math

import numpy as np
import pytest

from eval.__main__ import main
from eval.dataset import find_tails, find_warnings
from eval.histograms import bin_shares, choose_edges, describe, draw_heat_map, draw_histogram, show
from eval.sections import make_sections, name_missing
from eval.survey import spread, take_survey
from shards import ClipStore, pack_clips, write_index
from tests.conftest import make_clip, with_points
from tests.eval.pages import Page
from tests.eval.scenery import make_metadata

NUM_FRAMES = 4


def rendered_clip(number):
    """A clip with a scene; a quarter of its points lies on the background."""
    clip = make_clip(f"clip-{number}", num_frames=NUM_FRAMES)
    hdri = "yard" if number % 2 else "hall & garden"
    metadata = make_metadata(num_frames=NUM_FRAMES, hdri=hdri, seed=number)
    depth_m = np.full(clip.depth_m.shape, 8, np.float32)
    depth_m[:, :, :10] = 11
    return dataclasses.replace(with_points(clip), metadata=metadata, depth_m=depth_m)


def pack(folder, clips, dataset="made"):
    """Pack clips into one shard and return the index."""
    prefix = folder / dataset / "shard-000000"
    pack_clips(clips, prefix)
    index = prefix.with_name("index.json")
    write_index([prefix.with_name("shard-000000.json")], dataset, index)
    return index


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("rendered"), [rendered_clip(number) for number in range(7)])


@pytest.fixture(scope="module")
def page_text(rendered, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "made.html"
    assert main(["dataset", str(rendered), "--clips", "3", "--out", str(out)]) == 0
    return out.read_text()


def words_of(page):
    return " ".join(" ".join(page.text).split())


def test_the_page_is_one_file_that_asks_for_nothing(page_text):
    assert "http://" not in page_text and "https://" not in page_text and "url(http" not in page_text
    page = Page(page_text)
    assert page.find("script") == page.find("link") == []
    assert all(image["src"].startswith("data:image/webp") and image["alt"] for image in page.find("img"))
    identities = [attributes["id"] for tag, attributes in page.tags if tag in ("section", "figure")]
    assert len(identities) == len(set(identities))
    assert {link["href"][1:] for link in page.find("a")} <= set(identities)
    assert all(link["href"].startswith("#") for link in page.find("a"))


def test_the_same_index_gives_the_same_bytes(rendered, page_text, tmp_path):
    assert main(["dataset", str(rendered), "--clips", "3", "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == page_text


def test_the_page_says_what_the_arrays_hold(rendered, page_text):
    store, text = ClipStore(rendered), words_of(Page(page_text))
    assert "Data set made" in text
    clips = [rendered_clip(number) for number in range(7)]
    assert store.sha256 in text and "All 7 clips were examined." in text
    assert "7 clips" in text and "28 frames" in text and "84 tracks" in text
    motion = [
        math.dist(clip.tracks[t, n], clip.tracks[t + 1, n])
        for clip in clips
        for t in range(NUM_FRAMES - 1)
        for n in range(12)
        if clip.visible[t, n] and clip.visible[t + 1, n]
    ]
    assert f"Median {show(np.median(motion))} px a frame" in text and f"{len(motion):,} steps" in text
    hidden = np.mean([1 - clip.visible.mean() for clip in clips])
    assert f"{show(100 * hidden)} % of all samples are hidden" in text
    assert "Median 8 m; 5 to 95 %: 8 to 11" in text
    assert "hall & garden" in text and "cup" in text and "linear" in text
    assert "frame_rate 6" in text and "numpy (version) 1.0" in text


def test_tracks_on_objects_are_counted_over_all_clips(rendered, page_text):
    ids = np.concatenate([rendered_clip(number).object_id for number in range(7)])
    assert 0 < (ids > 0).mean() < 1
    assert f"{show(100 * (ids > 0).mean())} % of the tracks lie on objects" in words_of(Page(page_text))


def test_clips_of_the_table_have_their_picture(rendered, page_text):
    page = Page(page_text)
    shown = {figure["id"] for figure in page.find("figure")}
    assert {f"clip-clip-{number}" for number in (0, 3, 6)} <= shown
    survey = take_survey(ClipStore(rendered), 512)
    assert {f"clip-{key}" for tail in find_tails(survey.clips) for key, _ in tail.clips} <= shown


def test_a_sample_is_spread_and_said(rendered, tmp_path):
    survey = take_survey(ClipStore(rendered), 3)
    assert [clip.number for clip in survey.clips] == [0, 3, 6]
    assert (survey.num_clips, survey.num_frames, survey.num_tracks) == (7, 28, 84)
    assert main(["dataset", str(rendered), "--sample", "3", "--out", str(tmp_path / "few.html")]) == 0
    assert "3 of 7 clips were examined" in words_of(Page((tmp_path / "few.html").read_text()))


@pytest.mark.parametrize(("count", "at_most"), [(1, 5), (5, 5), (11000, 512), (48, 12)])
def test_spread_numbers_are_even_and_hold_both_ends(count, at_most):
    numbers = spread(count, at_most)
    assert len(numbers) == min(count, at_most)
    assert (numbers[0], numbers[-1]) == (0, count - 1)
    assert np.ptp(np.diff(numbers)) <= 1 if len(numbers) > 1 else True


def test_what_others_packed_has_no_scenes_and_says_so(tmp_path):
    small, large = (make_clip(name, size=size, depth=False) for name, size in (("small", 32), ("large", 48)))
    longer = {name: np.concatenate([getattr(small, name)] * 10) for name in ("video", "tracks", "visible")}
    clips = [small, large, dataclasses.replace(small, key="long", **longer)]
    index, out = pack(tmp_path, clips), tmp_path / "page.html"
    survey = take_survey(ClipStore(index), 10)
    assert [section.name for section in make_sections(survey)] == ["motion", "occlusion"]
    assert len(survey.clips[2].examined_frames) == 30  # of 60, at most 48
    assert [text.split(":")[0] for text in name_missing(survey)] == ["Depth", "Objects, camera, light, recipe"]
    assert main(["dataset", str(index), "--out", str(out)]) == 0
    text = words_of(Page(out.read_text()))
    assert "packed without it" in text and "32 x 32, 48 x 48" in text and "every n-th frame" in text
    relative = [
        100 * math.dist(clip.tracks[t, n], clip.tracks[t + 1, n]) / max(clip.video.shape[1:3])
        for clip in clips
        for t in range(len(clip.video) - 1)
        for n in range(12)
        if clip.visible[t, n] and clip.visible[t + 1, n]
    ]
    assert f"Median {show(np.median(relative))} % of the longer side a frame" in text


def test_a_data_set_without_tracks_has_a_page(tmp_path):
    clip = make_clip("bare", depth=False)
    bare = dataclasses.replace(clip, tracks=clip.tracks[:, :0], visible=clip.visible[:, :0])
    index, out = pack(tmp_path, [bare]), tmp_path / "page.html"
    assert main(["dataset", str(index), "--out", str(out)]) == 0
    text = words_of(Page(out.read_text()))
    assert "1 of 1 clips: no tracks at all" in text and "have no tracks" in text


def troubled_clips():
    """One clip for each trouble, named after it."""
    clips = {
        name: make_clip(name)
        for name in ("fine", "dark", "frozen", "twin", "blind", "lonely", "ghost", "outside", "empty")
    }
    for clip in clips.values():
        clip.video[:, 0, 0, 0] = np.arange(6)  # a slow slide would repeat pictures
    clips["dark"].video[1] = 0
    clips["frozen"].video[3] = clips["frozen"].video[2]
    clips["twin"] = dataclasses.replace(clips["fine"], key="twin")
    clips["blind"].visible[0] = False
    clips["lonely"].visible[0] = np.arange(12) == 5
    clips["ghost"].visible[:, 4] = False
    clips["outside"].tracks[2, 3] = (-3, 5)
    clips["outside"].visible[2, 3] = True
    metadata = make_metadata(num_frames=6) | {"instances": []}
    clips["empty"] = dataclasses.replace(clips["empty"], metadata=metadata)
    return clips


def test_each_trouble_is_found_where_it_is_and_nowhere_else(tmp_path):
    index = pack(tmp_path, troubled_clips().values())
    survey = take_survey(ClipStore(index), 100)
    found = {warning.text.split(": ")[1]: warning.keys for warning in find_warnings(survey.clips)}
    assert found == {
        "0 visible points in frame 0": ["blind"],
        "1 visible point in frame 0": ["lonely"],
        "points that are never visible": ["ghost"],
        "points called visible outside the frame": ["outside"],
        "frames of a single colour": ["dark"],
        "frames equal to the one before them": ["frozen"],
        "no object that is seen": ["empty"],
        "the same pictures under different names": ["fine", "twin"],
    }
    by_key = {clip.key: clip for clip in survey.clips}
    assert (by_key["dark"].constant_frames, by_key["frozen"].repeated_frames) == ((1,), (3,))
    assert find_warnings([by_key["fine"]]) == []


def test_the_extremes_are_the_ends_of_a_sorted_list(tmp_path):
    index = pack(tmp_path, troubled_clips().values())
    survey = take_survey(ClipStore(index), 100)
    tails = {tail.title.split(" (")[0]: [key for key, _ in tail.clips] for tail in find_tails(survey.clips)}
    clips = troubled_clips()
    darkest = sorted(clips, key=lambda key: clips[key].video.mean(axis=(0, 1, 2)) @ [0.2126, 0.7152, 0.0722])
    assert tails["darkest"] == darkest[:3]
    assert tails["most occluded"][0] == min(clips, key=lambda key: clips[key].visible.mean())
    assert tails["fewest objects"] == ["empty"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{index}", "--clips", "0"], "--clips 0 shows no clip"),
        (["{index}", "--sample", "0"], "--sample 0 examines no clip"),
        (["absent.json"], "absent.json: not there"),
        (["{broken}"], "clip half: its metadata is not that of a rendered scene (lacks 'recipe')"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(rendered, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    metadata = make_metadata(num_frames=6)
    del metadata["recipe"]
    broken = pack(tmp_path / "shards", [dataclasses.replace(make_clip("half"), metadata=metadata)], "broken")
    places = {"index": rendered, "broken": broken}
    assert main(["dataset", *(word.format(**places) for word in words), "--out", "page.html"]) == 2
    told = capsys.readouterr().err
    assert message in told and told.startswith("error: ") and told.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("num_values", [1, 5, 1000, 30000])
def test_bins_hold_every_value_up_to_a_thin_tail(num_values):
    values = np.random.default_rng(num_values).exponential(1, num_values)
    edges = choose_edges(values, is_whole=False)
    shares, beyond = bin_shares(values, edges)
    assert edges[0] == 0 and shares.sum() + beyond == pytest.approx(100)
    assert beyond <= 1.01
    slow = [100 * sum(low <= value < high for value in values) / num_values for low, high in zip(edges, edges[1:])]  # noqa: B905, RUF007
    np.testing.assert_allclose(shares[:-1], slow[:-1])


def test_whole_numbers_are_in_the_middle_of_their_bin():
    values = np.array([0, 0, 1, 3, 3, 3])
    edges = choose_edges(values, is_whole=True)
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    np.testing.assert_allclose(bin_shares(values, edges)[0], np.array([2, 1, 0, 3]) / 6 * 100)
    many = choose_edges(np.arange(1000), is_whole=True)
    assert len(many) <= 62 and many[-1] >= 999


def test_numbers_are_said_shortly():
    texts = {0: "0", 0.71294: "0.713", 33.66: "33.7", 143.2: "143", 12345.6: "12,346", 2.5: "2.5", 0.0001234: "0.0001"}
    assert {value: show(value) for value in texts} == texts
    assert describe(np.arange(101.0), "px") == "Median 50 px; 5 to 95 %: 5 to 95; largest 100."


def test_nothing_to_draw_is_no_chart_and_a_chart_follows_the_page():
    assert draw_histogram(np.zeros(0), "none", "px", "tracks") is None
    assert draw_heat_map(np.zeros((4, 4)), "none", 1.0) is None
    chart = draw_histogram(np.full(9, 2.0), "all equal", "px", "tracks", relative_to=32)
    assert "currentColor" in chart.svg and "://" not in chart.svg and "9 tracks" in chart.text
    heat = draw_heat_map(np.eye(4), "places", 0.5)
    assert "data:image/png" in heat.svg and "4 times the mean" in heat.text
