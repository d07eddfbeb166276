"""Videos without tracks: found, cut, resized, extended by reversal, packed."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from shards.__main__ import main
from shards.film import write_mp4
from shards.layouts.choice import Choice
from shards.layouts.videos import cut_windows, forth_and_back, read_videos, resize
from shards.store import ClipStore


def grey(number, height=24, width=32):
    """A frame that says its number by its grey."""
    return np.full((height, width, 3), 20 * number + 20, np.uint8)


def numbers_of(video):
    """The numbers of the frames that `grey` made, through a lossy codec too."""
    return [round((float(frame.mean()) - 20) / 20) for frame in video]


def write_frames(folder, numbers, **size):
    folder.mkdir(parents=True)
    for place, number in enumerate(numbers):
        cv2.imwrite(str(folder / f"{place}.png"), grey(number, **size))


def test_files_and_folders_of_pictures_at_any_depth(tmp_path):
    write_mp4((grey(n) for n in range(3)), Fraction(25, 2), tmp_path / "in" / "dogs" / "one two.mp4")
    write_frames(tmp_path / "in" / "frames of it", range(11))
    (tmp_path / "in" / ".hidden.mp4").write_bytes(b"no video")
    (tmp_path / "in" / "README.txt").write_text("not a video either")
    first, second = read_videos(tmp_path / "in")
    assert (first.key, second.key) == ("dogs-one-two", "frames-of-it")
    assert numbers_of(first.video) == [0, 1, 2]
    assert numbers_of(second.video) == list(range(11))  # 9.png before 10.png
    assert first.tracks.shape == (3, 0, 2) and first.visible.shape == (3, 0)
    assert first.metadata == {"source": "videos", "frame_rate": 12.5}
    assert [clip.key for clip in read_videos(tmp_path / "in" / "dogs" / "one two.mp4")] == ["one-two"]
    assert [len(clip.video) for clip in read_videos(tmp_path / "in" / "frames of it")] == [11]


@pytest.mark.parametrize(
    ("num_frames", "length", "expected"),
    [
        (6, 3, {0: [0, 1, 2], 3: [3, 4, 5]}),
        (7, 3, {0: [0, 1, 2], 3: [3, 4, 5], 4: [4, 5, 6]}),  # the last one ends with the video
        (3, 3, {0: [0, 1, 2]}),
        (3, 8, {0: [0, 1, 2, 1, 0, 1, 2, 1]}),  # too short: forth and back
        (2, 5, {0: [0, 1, 0, 1, 0]}),
        (4, None, {0: [0, 1, 2, 3]}),
    ],
)
def test_clips_of_one_length(num_frames, length, expected):
    found = {first: numbers_of(clip) for first, clip in cut_windows((grey(n) for n in range(num_frames)), length)}
    assert found == expected


def test_going_back_repeats_no_frame_where_it_turns():
    assert forth_and_back(4, 11).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]


def test_resizing_keeps_the_shape_of_the_picture():
    assert resize(grey(1, 60, 80), 30).shape == (30, 40, 3)
    assert resize(grey(1, 30, 47), 60).shape == (60, 94, 3)
    frame = grey(3)
    assert resize(frame, None) is frame and resize(frame, 24) is frame


def test_convert_packs_videos_without_tracks(tmp_path, capsys):
    write_frames(tmp_path / "in" / "a", range(5), height=40, width=60)
    write_frames(tmp_path / "in" / "b", range(2), height=40, width=30)
    out = tmp_path / "set"
    words = ["--from", "videos", str(tmp_path / "in"), "--height", "20", "--window", "4", "--codec", "jpeg95"]
    assert main(["convert", *words, "--to", "index", "--out", str(out)]) == 0
    store = ClipStore(out / "index.json")
    assert store.keys == ["a-00000", "a-00001", "b-00000"]
    assert [numbers_of(store[number].video) for number in range(3)] == [[0, 1, 2, 3], [1, 2, 3, 4], [0, 1, 0, 1]]
    assert [store[number].video.shape[1:3] for number in range(3)] == [(20, 30), (20, 30), (20, 15)]
    assert store.row(0)["codec"] == "jpeg95" and store.row(0)["num_tracks"] == 0
    assert main(["verify", "--deep", str(out / "index.json")]) == 0
    shard = tmp_path / "packed" / "shard-000000"
    options = ["--height", "20", "--window", "4", "--codec", "jpeg95"]
    assert main(["pack", "--source", "videos", *options, str(tmp_path / "in"), "--out", str(shard)]) == 0
    assert shard.with_suffix(".tar").read_bytes() == (out / "shard-000000.tar").read_bytes()


def test_frames_are_chosen_before_they_are_cut(tmp_path):
    write_frames(tmp_path / "a", range(9))
    clips = list(read_videos(tmp_path / "a", Choice(start=1, stop=8, window=3)))
    assert [clip.key for clip in clips] == ["a-00001", "a-00004", "a-00005"]
    assert [numbers_of(clip.video) for clip in clips] == [[1, 2, 3], [4, 5, 6], [5, 6, 7]]


def test_mistakes_in_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.mp4").write_bytes(b"no video")
    write_frames(tmp_path / "still" / "one", [0])
    command = ["convert", "--to", "index", "--out", str(tmp_path / "out"), "--from"]
    for name, reason in {
        "empty": "no video in it",
        "damaged": "a.mp4: not a video that can be read",
        "still": "1 frames are no video",
        "missing": "not there",
    }.items():
        assert main([*command, "videos", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and reason in error and error.count("\n") == 1, error
    assert main([*command, "index", "x", "--height", "20"]) == 2
    assert "only videos are resized" in capsys.readouterr().err
    assert main([*command, "videos", str(tmp_path), "--height", "0"]) == 2
    assert "give at least 1, such as --height 384" in capsys.readouterr().err


def test_layouts_that_are_nothing_but_tracks_refuse_videos(tmp_path, capsys):
    write_frames(tmp_path / "in" / "a", range(3))
    words = ["--from", "videos", str(tmp_path / "in"), "--to", "tapvid", "--out", str(tmp_path / "a.pkl")]
    assert main(["convert", *words]) == 2
    assert "has 0 tracks, and tapvid is nothing but tracks" in capsys.readouterr().err
