"""Windows of a benchmark: their frames, their drives, and clips that are too short."""

import numpy as np
import pytest

from eval.driving.truth import DriveTruth
from shards.driving.frames import fit_frames
from shards.driving.motion import steps_of
from tests.conftest import make_dataset


def test_a_window_has_its_frames_and_its_drive(street):
    truth = DriveTruth(street)
    clip = truth.clip("street-2")
    frames, drive = truth.window("street-2", 4, 2, 16, 20, first=3)
    assert np.array_equal(frames, fit_frames(clip.video[[3, 5, 7, 9]], 16, 20))
    assert np.array_equal(drive.camera_to_world, clip.drive.camera_to_world[[3, 5, 7, 9]])
    assert np.array_equal(truth.steps("street-2", 4, 2, 3), steps_of(drive.camera_to_world))
    assert truth.dataset == "street" and truth.keys[:2] == ("street-0", "street-1")


def test_what_is_too_short_or_not_there_or_no_drive_is_refused(street, tmp_path):
    truth = DriveTruth(street)
    with pytest.raises(ValueError, match="has 10 frames; 4 frames from frame 4 on, 2 apart, need 11"):
        truth.window("street-0", 4, 2, 8, 8, first=4)
    with pytest.raises(ValueError, match="no clip 'none'"):
        truth.steps("none", 2, 1)
    with pytest.raises(ValueError, match="no drive"):
        DriveTruth(make_dataset(tmp_path))


def test_windows_begin_evenly_spread_over_a_clip(street):
    truth = DriveTruth(street)
    assert truth.starts("street-0", 4, 2) == [0]
    assert truth.starts("street-0", 4, 2, 4) == [0, 1, 2, 3] and truth.starts("street-0", 2, 1, 3) == [0, 3, 6]
    with pytest.raises(ValueError, match="clip street-0 has 4 windows of 4 frames, 2 apart, and 5 are asked for"):
        truth.starts("street-0", 4, 2, 5)
    with pytest.raises(ValueError, match="0 windows of a clip: make one or more"):
        truth.starts("street-0", 4, 2, 0)
