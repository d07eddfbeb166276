"""Two indexes are compared clip by clip, without reading a tar."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from shards import pack_clips, write_index
from shards.__main__ import main
from tests.conftest import make_clip, with_points


def make_index(folder, clips, codec="png"):
    pack_clips(clips, folder / "s", codec)
    write_index([folder / "s.json"], folder.name, folder / "index.json")
    return folder / "index.json"


@pytest.fixture
def difference(tmp_path, capsys):
    """A function: old and new clips -> exit code and lines of diff; the tars are gone by then."""

    def run(old, new, *options, codec="png"):
        indexes = [make_index(tmp_path / "old", old), make_index(tmp_path / "new", new, codec)]
        for index in indexes:
            index.with_name("s.tar").unlink()
            shutil.rmtree(index.with_name("s.zarr"), ignore_errors=True)
        capsys.readouterr()
        return main(["diff", *map(str, indexes), *options]), capsys.readouterr().out.splitlines()

    return run


def test_equal_clips_are_the_same_in_any_order(difference):
    a, b = make_clip("a"), make_clip("b")
    assert difference([a, b], [b, a]) == (0, ["0 removed, 0 changed, 0 added, 2 the same"])


def test_clips_that_come_and_go_are_listed(difference):
    clips = {key: make_clip(key) for key in "abcd"}
    code, lines = difference([clips["a"], clips["b"], clips["c"]], [clips["b"], clips["d"]])
    assert (code, lines) == (1, ["- a", "- c", "+ d", "2 removed, 0 changed, 1 added, 1 the same"])


def other_frame(clip):
    video = clip.video.copy()
    video[3] ^= 1
    return dataclasses.replace(clip, video=video)


CHANGES = {
    "frames (1 of 6)": other_frame,
    "frames (6 of 32x32 -> 5 of 32x32), tracks, visible, depth": lambda clip: dataclasses.replace(
        clip, video=clip.video[:5], tracks=clip.tracks[:5], visible=clip.visible[:5], depth_m=clip.depth_m[:5]
    ),
    "tracks": lambda clip: dataclasses.replace(clip, tracks=clip.tracks + np.float32(0.5)),
    "tracks (12 -> 7), visible": lambda clip: dataclasses.replace(
        clip, tracks=clip.tracks[:, :7], visible=clip.visible[:, :7]
    ),
    "visible": lambda clip: dataclasses.replace(clip, visible=~clip.visible),
    "metadata": lambda clip: dataclasses.replace(clip, metadata={"seed": 3}),
    "depth": lambda clip: dataclasses.replace(clip, depth_m=clip.depth_m[::-1]),
    "depth (removed)": lambda clip: dataclasses.replace(clip, depth_m=None),
    "object_id (added), query_frame (added), world (added)": with_points,
}


@pytest.mark.parametrize("expected", CHANGES)
def test_what_changed_is_named(difference, expected):
    clip = make_clip("a")
    code, lines = difference([clip], [CHANGES[expected](clip)])
    assert (code, lines) == (1, [f"! a: {expected}", "0 removed, 1 changed, 0 added, 0 the same"])


def test_a_change_of_depth_by_its_range_alone_is_seen(difference):
    """Twice the depth has the same codes: only the range tells."""
    clip = make_clip("a")
    _, lines = difference([clip], [dataclasses.replace(clip, depth_m=clip.depth_m * 2)])
    assert lines[0] == "! a: depth"


def test_another_codec_is_named(difference):
    assert difference([make_clip("a")], [make_clip("a")], codec="webp")[1][0] == "! a: frames (png -> webp)"


def test_json(difference):
    clip = make_clip("a")
    code, lines = difference([clip], [other_frame(clip), make_clip("b")], "--json")
    expected = {"added": ["b"], "removed": [], "changed": {"a": ["frames (1 of 6)"]}, "num_same": 0, "same": False}
    assert (code, json.loads("".join(lines))) == (1, expected)


def test_a_mistake_is_2(tmp_path, capsys):
    index = make_index(tmp_path / "old", [make_clip("a")])
    assert main(["diff", str(index), str(tmp_path / "nothing.json")]) == 2
    assert "nothing.json: not there" in capsys.readouterr().err
