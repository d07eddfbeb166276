"""Windows of drives: where they begin, what they hold, mirrors, balance, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from shards import ClipStore
from shards.driving.actions import Actions
from shards.driving.sampling import list_windows
from shards.driving.window import actions_of_window
from tests.shards.driving.drives import drive_clip
from tests.trainer.driving.conftest import pack_drives
from trainer.config import DataConfig
from trainer.driving.config import DrivingData
from trainer.driving.samples import keep_one_kind, make_drive_sample, mirror_actions, motion_of, window_of_clip

SMALL = DrivingData(height=36, width=64, num_frames=4, one_kind=False)


def config(**values) -> DataConfig:
    return DataConfig(dataset="drives", driving=replace(SMALL, **values))


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """Clips whose frames say their number."""
    clips = [drive_clip("left", yaw_rate=0.3), drive_clip("straight"), drive_clip("again")]
    return ClipStore(pack_drives(tmp_path_factory.mktemp("grey"), "grey", clips))


def test_a_sample_is_the_window_that_its_frames_say(grey):
    firsts = set()
    for seed in range(40):
        sample = make_drive_sample(grey, 0, config(stride=3, frame_step=2), np.random.default_rng(seed))
        numbers = sample["frames"][:, 0, 0, 0].astype(int)
        assert (np.diff(numbers) == 2).all() and numbers[0] % 3 == 0
        whole = window_of_clip(grey.read(0), int(numbers[0]), replace(SMALL, frame_step=2))
        for name, value in sample.items():
            np.testing.assert_array_equal(value, whole[name])
        firsts.add(int(numbers[0]))
    assert firsts == set(range(0, 25, 3))  # 31 frames, of which a window spans 7


def test_shapes_and_units(grey):
    sample = window_of_clip(grey.read(0), 2, replace(SMALL, frame_step=2, height=8, width=16))
    assert sample["frames"].shape == (4, 3, 8, 16) and sample["frames"].dtype == np.uint8
    assert sample["fps"] == pytest.approx(5) and sample["moves"]
    assert sample["values"].shape == (19,) and sample["present"].tolist() == [True] * 4 + [sample["present"][4]]
    chord = 2 * 8 / 0.3 * np.sin(0.03) * np.cos(0.03)  # 8 m/s and 0.3 rad/s for 0.2 s
    np.testing.assert_allclose(sample["motion"], [[0, 0]] + [[chord, 0.06]] * 3, rtol=1e-4)


def test_motion_goes_over_the_edge_of_a_turn():
    angle = np.pi - 0.1 + 0.1 * np.arange(4)
    poses = np.zeros((4, 3, 4))
    poses[:, 0, 2], poses[:, 1, 2] = np.cos(angle), np.sin(angle)
    np.testing.assert_allclose(motion_of(poses)[1:, 1], 0.1, rtol=1e-5)


def test_a_mirror_turns_what_turns(grey):
    flipped = [
        make_drive_sample(grey, 0, config(flip=True), np.random.default_rng(seed))["motion"][1, 1] for seed in range(20)
    ]
    assert {round(float(turn), 3) for turn in flipped} == {0.03, -0.03}
    actions = actions_of_window(grey.read_drive(0), 0)
    actions = replace(actions, command="turn_left", goal=np.array([0.25, 0.5]))
    found = mirror_actions(actions)
    assert found.command == "turn_right" and found.goal.tolist() == [0.75, 0.5]
    np.testing.assert_array_equal(found.trajectory_m, actions.trajectory_m * [-1, 1])
    np.testing.assert_array_equal(found.angle_deg, -actions.angle_deg)
    np.testing.assert_array_equal(mirror_actions(found).trajectory_m, actions.trajectory_m)
    assert not mirror_actions(Actions()).present.any()


def test_a_sample_tells_one_kind_of_action(grey):
    kinds = set()
    for seed in range(30):
        sample = make_drive_sample(grey, 1, config(one_kind=True), np.random.default_rng(seed))
        assert sample["present"].sum() <= 1
        kinds.add(tuple(np.flatnonzero(sample["present"])))
    assert len(kinds - {()}) >= 4
    assert not keep_one_kind(Actions(), np.random.default_rng(0)).present.any()


def test_balanced_samples_are_windows_as_often_as_the_lists_have_them(grey):
    rng, num_turning = np.random.default_rng(0), 0
    for _ in range(400):  # the trainer goes through the clips evenly
        sample = make_drive_sample(grey, int(rng.integers(3)), config(is_balanced=True, num_frames=2), rng)
        num_turning += abs(sample["motion"][1, 1]) > 0.01
    windows = list_windows(grey, 2, is_balanced=True)
    assert num_turning / 400 == pytest.approx((windows[:, 0] == 0).mean(), abs=0.07)  # of an even draw a third


def test_what_cannot_be_a_window_is_one_line(grey, tmp_path):
    with pytest.raises(ValueError, match=r"clip left has 31 frames, .*num_frames=40 .* spans 40; lower"):
        make_drive_sample(grey, 0, config(num_frames=40), np.random.default_rng(0))
    with pytest.raises(ValueError, match="left has 2 frames"):
        window_of_clip(grey.read(0), 29, SMALL)
    clip = replace(drive_clip("none"), drive=None)
    store = ClipStore(pack_drives(tmp_path, "plain", [clip]))
    with pytest.raises(ValueError, match="has no drive; it is no data set of driving"):
        make_drive_sample(store, 0, config(), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"needs the section data\.driving"):
        make_drive_sample(grey, 0, DataConfig(dataset="drives"), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"command_numbers=.* give a whole number to each"):
        DrivingData(command_numbers={"stop": 1})
