"""Windows of long clips: which there are, and how often each comes."""

import dataclasses

import numpy as np
import pytest

from shards import ClipStore, pack_clips, permutation, write_index
from shards.driving.actions import Actions, values_of
from shards.driving.sampling import list_windows, repetitions_of
from shards.driving.window import actions_of_window
from tests.shards.driving.drives import drive_clip, make_drive


@pytest.fixture
def store(tmp_path):
    clips = [drive_clip("line", 31), drive_clip("short", 9), drive_clip("bend", 29, yaw_rate=0.3)]
    pack_clips(clips, tmp_path / "shard-000000")
    write_index([tmp_path / "shard-000000.json"], "roads", tmp_path / "index.json")
    return ClipStore(tmp_path / "index.json")


def test_every_window_that_fits_comes_once(store):
    windows = list_windows(store, 25)
    assert windows.tolist() == [[0, first] for first in range(7)] + [[2, first] for first in range(5)]
    assert list_windows(store, 25, stride=3).tolist() == [[0, 0], [0, 3], [0, 6], [2, 0], [2, 3]]
    assert list_windows(store, 9)[-1].tolist() == [2, 20] and [1, 0] in list_windows(store, 9).tolist()
    number, first = windows[permutation(len(windows), 0, 0)[0]]
    assert len(store.read(int(number), frames=slice(first, first + 25)).video) == 25


def test_turns_and_full_sets_of_actions_come_more_often(store):
    windows, times = np.unique(list_windows(store, 5, stride=10, is_balanced=True), axis=0, return_counts=True)
    found = {tuple(window): count for window, count in zip(windows.tolist(), times.tolist(), strict=True)}
    assert found == {(0, 0): 2, (0, 10): 2, (0, 20): 1, (1, 0): 1, (2, 0): 10, (2, 10): 1, (2, 20): 1}
    assert repetitions_of(Actions(command="turn_right")) == 5
    assert repetitions_of(Actions(command="stop", speed_mps=np.zeros(4), angle_deg=np.zeros(4))) == 1


def test_mistakes(store):
    with pytest.raises(ValueError, match="no clip has 32 frames, the longest 31"):
        list_windows(store, 32)
    with pytest.raises(ValueError, match="windows of 0 frames, one every 1"):
        list_windows(store, 0)


def test_actions_as_numbers_by_name():
    numbers = {"turn_right": 0, "turn_left": 1, "stop": 2, "straight": 3}
    values = values_of(actions_of_window(make_drive()), numbers)
    assert list(values) == ["command", "trajectory", "speed", "angle", "goal"]
    assert values["command"] == [3] and values["speed"] == [8, 8, 8, 8] and values["goal"] == pytest.approx([0.5, 0.5])
    assert values["trajectory"] == pytest.approx([0, 4, 0, 8, 0, 12, 0, 16])
    drive = dataclasses.replace(make_drive(), steering_deg=None)
    assert values_of(actions_of_window(drive, 20), numbers) == dict.fromkeys(values)
    with pytest.raises(ValueError, match="command straight has no number; known: stop"):
        values_of(Actions(command="straight"), {"stop": 2})
