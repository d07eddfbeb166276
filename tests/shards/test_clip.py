"""The contract refuses everything else, and says what is wrong."""

import dataclasses

import numpy as np
import pytest

from tests.conftest import make_clip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "a.b"}, "clip key 'a.b'"),
        ({"key": ""}, "clip key ''"),
        ({"key": "a\n"}, "use 1 to 80 letters"),
        ({"key": "a" * 81}, "use 1 to 80 letters"),
        ({"key": 7}, "clip key 7"),
        ({"video": [[0]]}, "clip clip-0: video is list, expected a 4-d array of uint8"),
        ({"video": np.zeros((6, 0, 32, 3), np.uint8)}, "video has shape .* nothing empty"),
        ({"video": np.zeros((6, 32, 32, 3), np.float32)}, "video is 4-d float32, expected a 4-d array of uint8"),
        ({"video": np.zeros((5, 32, 32, 3), np.uint8)}, r"tracks has shape \(6, 12, 2\), expected \(5, N, 2\)"),
        ({"video": np.zeros((6, 32, 32, 4), np.uint8)}, "video has shape"),
        ({"tracks": np.full((6, 12, 2), np.nan, np.float32)}, r"tracks is NaN or infinite at .* \[0, 0, 0\]"),
        ({"tracks": np.full((6, 12, 2), np.inf, np.float32)}, "tracks is NaN or infinite"),
        ({"tracks": np.zeros((6, 12, 3), np.float32)}, r"tracks has shape \(6, 12, 3\)"),
        ({"tracks": np.zeros((6, 12, 2))}, "tracks is 3-d float64"),
        ({"visible": np.zeros((6, 11), bool)}, r"visible has shape \(6, 11\)"),
        ({"visible": np.zeros((6, 12), int)}, "visible is 2-d int64"),
        ({"depth_m": np.full((6, 32, 32), -1, np.float32)}, "depth_m holds values that are negative"),
        ({"depth_m": np.zeros((6, 32, 32), np.float32)}, "depth_m holds values that are negative, zero"),
        ({"depth_m": np.full((6, 32, 32), np.nan, np.float32)}, "depth_m holds .* NaN"),
        ({"depth_m": np.full((6, 32, 32), np.inf, np.float32)}, "depth_m holds .* infinite"),
        ({"depth_m": np.ones((6, 32, 31), np.float32)}, "depth_m has shape"),
        ({"depth_m": np.ones((6, 32, 32))}, "depth_m is 3-d float64"),
        ({"object_id": np.zeros(12)}, "object_id is 1-d float64, expected a 1-d array of int32"),
        ({"object_id": np.zeros(11, np.int32)}, r"object_id has shape \(11,\), expected \(12,\) to fit the tracks"),
        ({"object_id": np.full(12, -1, np.int32)}, "object_id is -1 at point 0, expected 0"),
        ({"query_frame": np.full(12, 6, np.int32)}, r"query_frame is 6 at point 0, expected -1\.\.5"),
        ({"query_frame": np.full(12, -2, np.int32)}, "query_frame is -2 at point 0"),
        ({"query_frame": np.zeros((12, 1), np.int32)}, "query_frame is 2-d int32"),
        ({"world_m": np.zeros((6, 12, 3))}, "world_m is 3-d float64"),
        ({"world_m": np.zeros((6, 12, 2), np.float32)}, r"world_m has shape \(6, 12, 2\), expected \(6, 12, 3\)"),
        ({"world_m": np.full((6, 12, 3), np.nan, np.float32)}, r"world_m is NaN or infinite at .* \[0, 0, 0\]"),
        ({"metadata": [1]}, "metadata is list, expected a dictionary"),
        ({"metadata": {"x": float("nan")}}, "metadata cannot be written as JSON"),
        ({"metadata": {"x": object()}}, "metadata cannot be written as JSON"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make_clip(), **change)


def test_a_clip_may_have_no_points():
    clip = make_clip()
    empty = dataclasses.replace(clip, tracks=clip.tracks[:, :0], visible=clip.visible[:, :0])
    assert empty.tracks.shape == (6, 0, 2)
    none = np.zeros(0, np.int32)
    dataclasses.replace(empty, object_id=none, query_frame=none, world_m=np.zeros((6, 0, 3), np.float32))
