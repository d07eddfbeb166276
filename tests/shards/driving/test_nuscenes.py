"""nuScenes' own files, in miniature: times, poses, CAN bus, windows, and one clear error for what is wrong."""

import json

import numpy as np
import pytest

from shards.driving.reading import DriveReading
from shards.driving.window import actions_of_window
from shards.layouts.choice import Choice
from shards.layouts.driving_frames import resample
from shards.layouts.nuscenes import read_nuscenes
from tests.shards.driving.nuscenes_tree import MATRIX, START_US, Ride, times_of, write_can, write_nuscenes

READING = DriveReading()
AFTER = np.array([0.5, 1.0, 1.5, 2.0])


@pytest.fixture
def tree(tmp_path):
    rides = [Ride(name="scene-0061"), Ride(name="scene-0103", speed=6.0, yaw_rate=0.4, has_can=False)]
    return write_nuscenes(tmp_path / "nuscenes", rides)


def frames_of(clip):
    """Numbers of the frames that a clip shows, by their grey."""
    return [round(float(frame.mean()) / 5) for frame in clip.video]


def change_table(tree, name, change):
    """Rewrite a table with its rows changed in place."""
    path = tree / "v1.0-mini" / f"{name}.json"
    rows = json.loads(path.read_text())
    changed = change(rows)
    path.write_text(json.dumps(rows if changed is None else changed))


def test_a_scene_is_a_clip_of_the_frames_nearest_to_ten_a_second(tree):
    line, bend = read_nuscenes(tree, READING)
    assert (line.key, bend.key) == ("scene-0061", "scene-0103")
    times = times_of(Ride(name="x"))
    expected = [0, 1, 2, 3, 5]  # 0, 0.1, 0.15, 0.25, 0.4 s
    assert frames_of(line)[:10] == expected + [6 + number for number in expected]
    assert len(line.video) == 35 and line.video.shape[1:] == (18, 32, 3)
    np.testing.assert_allclose(line.drive.times_s, times[frames_of(line)], atol=2e-6)
    assert line.metadata["camera"] == {"channel": "CAM_FRONT", "matrix": MATRIX}
    assert line.metadata["location"] == "boston-seaport" and line.metadata["first_timestamp_us"] == START_US
    assert line.metadata["recipe"]["frame_rate"] == 10


def test_poses_lead_where_the_vehicle_drives(tree):
    line, bend = read_nuscenes(tree, READING)
    np.testing.assert_allclose(line.drive.camera_to_world[:, 2, 3], 1.5)
    actions = actions_of_window(line.drive, 5)
    np.testing.assert_allclose(actions.trajectory_m, np.stack([0 * AFTER, 8 * AFTER], -1), atol=1e-4)
    np.testing.assert_allclose(actions.goal, [0.5, 0.5], atol=1e-6)
    assert actions.command == "straight"
    turn = actions_of_window(bend.drive)
    angle, radius = 0.4 * AFTER, 6 / 0.4
    # The rear axle is on a circle; the camera is 1.7 m ahead of it.
    forward = radius * np.sin(angle) + 1.7 * np.cos(angle) - 1.7
    left = radius * (1 - np.cos(angle)) + 1.7 * np.sin(angle)
    np.testing.assert_allclose(turn.trajectory_m, np.stack([-left, forward], -1), atol=2e-2)
    assert turn.command == "turn_left"
    np.testing.assert_allclose(bend.drive.yaw_rate_radps, 0.4, atol=1e-3)


def test_speed_is_the_can_bus_or_said_to_be_of_the_poses(tree):
    line, bend = read_nuscenes(tree, READING)
    assert line.metadata["speed_from"] == line.metadata["steering_from"] == "can_bus"
    np.testing.assert_allclose(line.drive.speed_mps, 8 + line.drive.times_s / 3.6, atol=1e-5)
    np.testing.assert_allclose(line.drive.steering_deg, np.degrees(0.01 * line.drive.times_s), atol=1e-4)
    assert bend.metadata["speed_from"] == "poses: there is no vehicle_monitor"
    assert bend.metadata["steering_from"] == "not known" and bend.drive.steering_deg is None
    camera = np.hypot(6, 1.7 * 0.4)  # its circle is a little wider than the axle's
    np.testing.assert_allclose(bend.drive.speed_mps[1:-1], camera, rtol=2e-3)


@pytest.mark.parametrize(
    ("start", "end", "speed_from"),
    [
        (-0.2, 2.0, "poses: vehicle_monitor pauses"),
        (1.2, None, "poses: vehicle_monitor pauses"),
        (-0.2, 3.0, "can_bus"),
    ],
)
def test_can_messages_that_do_not_cover_the_scene(tree, start, end, speed_from):
    write_can(tree, Ride(name="scene-0061"), start, end)
    line, _ = read_nuscenes(tree, READING)
    assert line.metadata["speed_from"] == speed_from
    if end == 2.0:
        assert np.isnan(line.drive.steering_deg).tolist() == (line.drive.times_s > 2.99 - 1e-3).tolist()


def test_a_can_bus_that_contradicts_the_poses_is_not_believed(tree):
    write_can(tree, Ride(name="scene-0061", speed=80))
    line, _ = read_nuscenes(tree, READING)
    assert line.metadata["speed_from"].startswith("poses: vehicle_monitor is 80.5 on average, by the poses it is 8")
    np.testing.assert_allclose(line.drive.speed_mps, 8, rtol=1e-3)


def test_other_rates_parts_and_sizes(tree):
    native, _ = read_nuscenes(tree / "v1.0-mini", DriveReading(rate_hz=12))
    assert frames_of(native) == list(range(41)), "the 42nd is a little earlier than that of the rate"
    slow, _ = read_nuscenes(tree, DriveReading(rate_hz=2))
    assert frames_of(slow) == list(range(0, 42, 6))
    clips = list(read_nuscenes(tree, READING, Choice(start=5, window=20, height=9)))
    assert [clip.key for clip in clips] == [f"scene-0{n}-000{first:02d}" for n in ("061", "103") for first in (5, 25)]
    assert clips[0].video.shape == (20, 9, 16, 3) and len(clips[1].drive.times_s) == 10
    np.testing.assert_allclose(clips[0].metadata["camera"]["matrix"], [[12.5, 0, 8], [0, 12.5, 4.5], [0, 0, 1]])
    assert clips[1].drive.commands[0] is None and clips[0].drive.commands[-1] is None, "2 s before the scene's end"
    assert clips[0].drive.commands[9] == "straight", "what comes after a window is known, too"


def test_scenes_may_be_chosen_by_name(tree, tmp_path):
    (tmp_path / "val.txt").write_text("scene-0103\n")
    assert [clip.key for clip in read_nuscenes(tree, DriveReading(scenes=tmp_path / "val.txt"))] == ["scene-0103"]
    (tmp_path / "val.txt").write_text("scene-0103 scene-0104")
    with pytest.raises(ValueError, match=r"val\.txt: the tables have no scene 'scene-0104'"):
        next(read_nuscenes(tree, DriveReading(scenes=tmp_path / "val.txt")))
    (tmp_path / "val.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"val\.txt: names no scene"):
        next(read_nuscenes(tree, DriveReading(scenes=tmp_path / "val.txt")))


def test_a_gap_ends_a_clip(tmp_path, capsys):
    tree = write_nuscenes(tmp_path, [Ride(name="scene-0001", lost=(14, 15, 16))])
    first, second = read_nuscenes(tree, READING)
    assert (first.key, second.key) == ("scene-0001-part0", "scene-0001-part1")
    assert np.diff(first.drive.times_s).max() < 0.2 and second.drive.times_s[0] == 0
    assert first.metadata["first_timestamp_us"] < second.metadata["first_timestamp_us"]
    assert "scene-0001: 1 gaps between its frames, 2 clips" in capsys.readouterr().err


def test_resampling_takes_no_frame_twice():
    rng = np.random.default_rng(0)
    for seed in range(20):
        jitter = np.random.default_rng(seed).integers(-3000, 3000, 240)
        times = np.array([1e6 * (n // 6) / 2 + [0, 1e5, 15e4, 25e4, 35e4, 4e5][n % 6] for n in range(240)]).astype(int)
        (run,) = resample(times + jitter, 10, 0.06)
        assert (np.diff(run) > 0).all() and len(run) in (199, 200)
        assert abs((times + jitter)[run] - (times + jitter)[0] - 1e5 * np.arange(len(run))).max() <= 6e4
    assert [run.tolist() for run in resample(np.array([0, 100, 200, 900, 1000]) * 1000, 10, 0.01)] == [
        [0, 1, 2],
        [3, 4],
    ]
    assert resample(np.array([0]), 10, 0.06) == []
    with pytest.raises(ValueError, match="the camera has 10 frames a second, fewer than --rate 20"):
        resample(np.arange(5) * 100_000 + rng.integers(0, 2, 5), 20, 0.06)


def first_error(tree, reading=READING):
    """The complaint of reading a tree: one line."""
    with pytest.raises(ValueError) as caught:
        list(read_nuscenes(tree, reading))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_missing_is_one_error(tree, tmp_path):
    assert "nowhere: not there; give the folder of nuScenes" in first_error(tmp_path / "nowhere")
    assert "no v1.0-*/scene.json in it" in first_error(tmp_path)
    write_nuscenes(tree, [Ride(name="scene-0001")], version="v1.0-test")
    assert "v1.0-mini, v1.0-test are in it, give one of them" in first_error(tree)
    (tree / "v1.0-test" / "ego_pose.json").unlink()
    assert "ego_pose.json: this table is missing; unpack all archives" in first_error(tree / "v1.0-test")
    image = sorted((tree / "sweeps" / "CAM_FRONT").glob("scene-0061*"))[0]
    image.unlink()
    assert f"{image}: this image is missing" in first_error(tree / "v1.0-mini")


def drop(field):
    return lambda rows: [{name: value for name, value in row.items() if name != field} for row in rows]


def put(field, value, at=0):
    return lambda rows: rows[at].update({field: value})


MISTAKES = {
    "no field": ("sample_data", drop("timestamp"), "sample_data.json: a row lacks timestamp"),
    "a dictionary": ("scene", lambda rows: {"a": 1}, "scene.json: a row lacks token"),
    "a number": ("log", lambda rows: 3, "log.json: holds int, expected a list of rows"),
    "no such camera": ("sensor", lambda rows: rows[1:], "no sensor is called CAM_FRONT"),
    "a pose is missing": ("ego_pose", lambda rows: rows[1:], "ego_pose.json has no row 'scene-token-scene-0061-pose0'"),
    "a sample is missing": ("sample", lambda rows: rows[1:], "sample.json has no row 'scene-token-scene-0061-sample0'"),
    "a log is missing": ("log", lambda rows: [{**rows[0], "token": "b"}], "log.json has no row 'log0'"),
    "no rotation": ("ego_pose", put("rotation", [1, 1, 0, 0]), r"rotation [1.0, 1.0, 0.0, 0.0]"),
    "a short rotation": ("calibrated_sensor", put("rotation", [1, 0, 0]), "row scene-token-scene-0061-CAM_FRONT"),
    "no number": ("ego_pose", put("translation", ["a", 0, 0]), "could not convert string to float"),
    "no matrix": ("calibrated_sensor", put("camera_intrinsic", []), "camera_intrinsic has shape (0,)"),
    "two at once": ("sample_data", put("timestamp", START_US, at=-3), "two frames were taken at"),
    "another size": ("sample_data", put("width", 64, at=-1), "CAM_FRONT has frames of 2 sizes"),
    "one name": ("scene", put("name", "scene-0061", at=1), "two scenes have one name"),
    "no frames": ("sample_data", lambda rows: [], "scene-0061: has no frame of CAM_FRONT"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_wrong_is_one_error(tree, mistake):
    table, change, message = MISTAKES[mistake]
    change_table(tree, table, change)
    assert message in first_error(tree)


def test_damaged_files_are_named(tree):
    for name, content, message in (
        ("can_bus/scene-0061_vehicle_monitor.json", '[{"utime": 3}]', "not as expected (lacks 'vehicle_speed')"),
        ("can_bus/scene-0061_vehicle_monitor.json", '[{"utime": 3, "vehicle_speed": NaN}]', "not a finite number"),
        ("can_bus/scene-0061_vehicle_monitor.json", "[", "not JSON"),
        ("v1.0-mini/sample.json", "[" * 100_000, "cannot be read"),
        ("v1.0-mini/sample.json", "\xff", "not JSON"),
    ):
        (tree / name).write_bytes(content.encode("latin-1"))
        found = first_error(tree)
        assert message in found and str(tree / name) in found, found


def test_a_damaged_image_is_named(tree):
    image = sorted((tree / "samples" / "CAM_FRONT").glob("scene-0061*"))[2]
    image.write_bytes(b"no image")
    assert f"{image}: cannot be decoded" in first_error(tree)


def test_a_rate_above_the_cameras_is_refused(tree):
    assert "the camera has 12.1 frames a second, fewer than --rate 20" in first_error(tree, DriveReading(rate_hz=20))
    for settings, message in (({"rate_hz": 0}, "--rate 0"), ({"tolerance_s": -1}, "--tolerance -1")):
        with pytest.raises(ValueError, match=message):
            DriveReading(**settings)
