"""What a model is told: words, files, paths and tables, and what is refused."""

import json

import numpy as np
import pytest

from shards.driving.actions import Actions
from shards.driving.window import actions_of_window, trajectory_of
from tests.shards.driving.drives import drive_clip, make_drive
from trainer.driving.config import DrivingData
from trainer.driving.paths import motion_along, motion_of_round, read_motion
from trainer.driving.samples import motion_of, window_of_clip
from trainer.driving.telling import deal_actions, read_actions, tell
from trainer.models.vista.recipe import read_config

DATA = DrivingData(height=8, width=16, num_frames=4)
PIXELS = {"preset": "pixels", "space": "pixels"}
TOLD = read_config({**PIXELS, "unet": {"frame_values": 2}})
UNTOLD = read_config({**PIXELS, "unet": {"with_actions": False}})


def test_words_are_actions():
    (found,) = read_actions(
        ["command=turn_left trajectory=0,4;0,8;-1,12;-2,16 speed=8,7,6,5 angle=0,1,2,-3 goal=.5,.4"]
    )
    assert found.command == "turn_left" and found.goal.tolist() == [0.5, 0.4]
    assert found.trajectory_m.tolist() == [[0, 4], [0, 8], [-1, 12], [-2, 16]]
    assert found.speed_mps.tolist() == [8, 7, 6, 5] and found.angle_deg.tolist() == [0, 1, 2, -3]
    assert not read_actions(["none"])[0].present.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("command=turn_lft", "unknown command 'turn_lft', did you mean 'turn_left'?"),
        ("trajectory=0,4;0,8", "4 numbers, expected 8: right,forward metres"),
        ("speed=8,8,8,fast", "not numbers; expected m/s"),
        ("speed=8,8,8,-1", "speed_mps is negative"),
        ("goal=0.5,1.5", "expected shares from 0 to 1"),
        ("steering=1", "expected KIND=VALUES or a file.json; kinds: command, trajectory"),
        ("turn_left", "expected KIND=VALUES"),
        ("none.json", "not a readable JSON file"),
    ],
)
def test_what_no_action_is_says_what_is_expected(text, message):
    with pytest.raises(ValueError, match=message):
        read_actions([text])


def test_a_file_has_one_rounds_actions_or_those_of_several(tmp_path):
    path = tmp_path / "rounds.json"
    path.write_text(json.dumps([{"command": "straight"}, None, {"speed_mps": [1, 2, 3, 4], "goal": None}]))
    first, second, third = read_actions([str(path)])
    assert first.command == "straight" and not second.present.any() and third.speed_mps.tolist() == [1, 2, 3, 4]
    for content, message in (
        ({"comand": "straight"}, "round 0: unknown key 'comand', did you mean 'command'"),
        ([{}, {"command": "left"}], "round 1: unknown command 'left'"),
        ({"trajectory_m": [[0, 4]]}, "trajectory_m must be an array of float64 of shape"),
        ({"trajectory_m": [[0, 4], [1]]}, "round 0: "),
        ([], "an empty list"),
        (["straight"], "expected a mapping"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            read_actions([str(path)])


def test_actions_are_dealt_to_rounds():
    left, right = read_actions(["command=turn_left", "command=turn_right"])
    assert deal_actions([left, right], None) == [left, right] == deal_actions([left, right], 2)
    assert deal_actions([left], 3) == [left] * 3 and len(deal_actions([], 2)) == 2
    with pytest.raises(ValueError, match="--rounds 3 with 2 actions: give one"):
        deal_actions([left, right], 3)


@pytest.mark.parametrize("yaw_rate", [0.0, 0.3, -0.5])
def test_the_motion_along_a_drives_trajectory_is_the_drives_own(yaw_rate):
    drive = make_drive(speed=8.0, yaw_rate=yaw_rate)
    path = trajectory_of(drive, 0, np.array([0.5, 1.0, 1.5, 2.0]))
    found, true = motion_along(path, np.arange(25) / 10), motion_of(drive.camera_to_world)[:25]
    assert found.shape == (25, 2) and not found[0].any()
    np.testing.assert_allclose(found, true, atol=0.015)
    assert np.abs(found - true)[:, 1].max() < 0.003
    np.testing.assert_array_equal(found[21:], found[20:21].repeat(4, 0))  # after 2 s all goes on


def test_who_stands_does_not_turn():
    assert not motion_along(np.zeros((4, 2)), np.arange(25) / 10).any()
    starts = motion_along(np.array([[0, 0], [0, 0], [-0.5, 2], [-2, 5.0]]), np.arange(21) / 10)
    assert abs(starts[:6, 1]).max() < 1e-6 and starts[:, 1].sum() > 0.2


def test_motion_is_told_by_the_trajectory_or_by_itself():
    path = Actions(trajectory_m=np.array([[0, 4], [0, 8], [0, 12], [0, 16.0]]))
    told = tell(path, TOLD, DATA, 10)
    assert told["moves"] and told["motion"][1:, 0] == pytest.approx(0.8) and told["present"].tolist()[1]
    assert told["values"].shape == (19,) and told["fps"] == 10
    assert tell(path, TOLD, DATA, 5)["motion"][1:, 0] == pytest.approx(1.6)
    assert not tell(Actions(command="stop"), TOLD, DATA, 10)["moves"]
    own = np.arange(8.0).reshape(4, 2)
    assert tell(path, TOLD, DATA, 10, own)["motion"].tolist() == own.tolist()


def test_the_actions_of_a_drive_are_told_as_in_training():
    clip = drive_clip(yaw_rate=0.3)
    sample = window_of_clip(clip, 0, DATA)
    true = motion_of(clip.drive.camera_to_world[:4])
    told = tell(actions_of_window(clip.drive), TOLD, DATA, 10, true)
    for name, value in told.items():
        np.testing.assert_allclose(value, sample[name], rtol=1e-6, err_msg=name)
        assert np.asarray(value).dtype == sample[name].dtype, name
    by_path = tell(actions_of_window(clip.drive), TOLD, DATA, 10)
    np.testing.assert_allclose(by_path["motion"], sample["motion"], atol=0.01)


def test_what_a_model_was_not_trained_with_is_refused():
    with pytest.raises(ValueError, match=r"trained without actions: tell nothing \(told now: command\)"):
        tell(Actions(command="stop"), UNTOLD, DATA, 10)
    with pytest.raises(ValueError, match="know no motion of frames"):
        tell(Actions(), UNTOLD, DATA, 10, np.zeros((4, 2)))
    assert not tell(Actions(), UNTOLD, DATA, 10)["present"].any()


def test_a_table_of_motion_is_dealt_to_rounds(tmp_path):
    path = tmp_path / "motion.csv"
    path.write_text("forward_m,turn_left_rad\n" + "".join(f"{n},{n / 10}\n" for n in range(7)))
    motion = read_motion(path, 7)
    first, second = (motion_of_round(motion, number, 4, 1) for number in range(2))
    assert first[:, 0].tolist() == [0, 1, 2, 3] and second[:, 0].tolist() == [0, 4, 5, 6]
    with pytest.raises(ValueError, match="7 rows, expected 8"):
        read_motion(path, 8)
    path.write_text("forward,turn\n1,2\n")
    with pytest.raises(ValueError, match="expected forward_m,turn_left_rad"):
        read_motion(path, 1)
    path.write_text("forward_m,turn_left_rad\n1,x\n")
    with pytest.raises(ValueError, match="not numbers"):
        read_motion(path, 1)
