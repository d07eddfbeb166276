"""predictions.npz: what is written comes back, the bytes are reproducible, and every broken file is refused by name."""

import io

import numpy as np
import pytest

from eval.predictions import Making, VideoPrediction, read_predictions, write_predictions

DIGEST = "ab" * 32


def make_video(name="camel", num_points=3, num_frames=4, **changes):
    generator = np.random.default_rng(1)
    fields = {
        "query_points": generator.uniform(0, 3, (num_points, 3)),
        "tracks": generator.uniform(0, 256, (num_points, num_frames, 2)).astype(np.float32),
        "occluded": generator.random((num_points, num_frames)) < 0.5,
    }
    return VideoPrediction(name=name, **{**fields, **changes})


def write(path, videos=None, **changes):
    header = {"tracker": "lbm", "query_mode": "first", "truth_sha256": DIGEST} | changes
    return write_predictions(path, videos=[make_video(), make_video("bear")] if videos is None else videos, **header)


def rewrite(path, **changes):
    """Write the arrays of `path` again, as numpy does, with some replaced (or dropped, for None)."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays = {name: value for name, value in (arrays | changes).items() if value is not None}
    np.savez(path, **arrays)


def test_what_is_written_comes_back(tmp_path):
    predictions = read_predictions(write(tmp_path / "new/folder/p.npz"))
    assert (predictions.tracker, predictions.query_mode, predictions.truth_sha256) == ("lbm", "first", DIGEST)
    assert predictions.names == ("camel", "bear")
    video, expected = predictions.video("bear"), make_video("bear")
    for field in ("query_points", "tracks", "occluded"):
        np.testing.assert_array_equal(getattr(video, field), getattr(expected, field))
        assert getattr(video, field).dtype == getattr(expected, field).dtype


def test_how_they_were_made_comes_back_and_may_be_left_out(tmp_path):
    making = Making(resolution=512, queries="independent", before_query="backward", num_checked_for_leaks=3)
    assert read_predictions(write(tmp_path / "p.npz", making=making)).making == making
    path = write(tmp_path / "q.npz", making=making)
    rewrite(path, queries=None, before_query=None, num_checked_for_leaks=None)
    assert read_predictions(path).making == Making(resolution=512)
    assert Making().queries == Making().before_query == "unstated"


def test_same_predictions_same_bytes_and_nothing_left_behind(tmp_path):
    first, second = write(tmp_path / "a.npz"), write(tmp_path / "b.npz")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_a_failure_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "p.npz")
    before = path.read_bytes()

    def fail_later():
        yield make_video()
        raise RuntimeError("the tracker broke")

    with pytest.raises(RuntimeError):
        write(path, videos=fail_later())
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["p.npz"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_mode": "last"}, "unknown query mode 'last'"),
        ({"videos": []}, "no video"),
        ({"videos": [make_video(), make_video()]}, "'camel' was predicted twice"),
    ],
)
def test_what_cannot_be_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "p.npz", **changes)
    assert not list(tmp_path.iterdir())


BAD_TRACKS = np.zeros((3, 4, 2), np.float32)
BAD_TRACKS[1, 2, 0] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tracks": BAD_TRACKS}, r"camel/tracks: 1 of 24 values are nan or infinite, the first at \(1, 2, 0\)"),
        ({"tracks": np.zeros((4, 3, 2), np.float32)}, r"camel/tracks: must be \(3, 4, 2\)"),
        ({"tracks": np.zeros((3, 4, 2), np.int32)}, "camel/tracks: must be floating point"),
        ({"query_points": np.zeros((3, 2))}, r"camel/query_points: must be \(3, 3\)"),
        ({"occluded": np.zeros((3, 4), np.float32)}, r"camel/occluded: must be \(N, T\) bool"),
    ],
)
def test_a_malformed_video_is_refused_when_made_and_when_read(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make_video(**changes)
    path = write(tmp_path / "p.npz")
    rewrite(path, **{f"camel/{field}": value for field, value in changes.items()})
    with pytest.raises(ValueError, match=f"p.npz: {message}"):
        read_predictions(path).video("camel")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": np.array("frameline-predictions/9")}, "format 'frameline-predictions/9'"),
        ({"resolution": np.int64(0)}, "resolution: 0 is below 1"),
        ({"queries": np.array("alone")}, "queries: 'alone' is unknown; choose one of independent, joint, unstated"),
        ({"before_query": np.array("")}, "before_query: '' is unknown; choose one of tracked, backward, nothing"),
        ({"truth_sha256": None}, "`truth_sha256` is missing"),
        ({"query_mode": np.array("both")}, "unknown query mode 'both'"),
        ({"names": np.array(["camel", "camel"])}, "a video comes twice"),
        ({"names": np.array(["camel", None], dtype=object)}, "`names` cannot be read"),
    ],
)
def test_a_malformed_header_is_refused(tmp_path, changes, message):
    path = write(tmp_path / "p.npz")
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=message):
        read_predictions(path)


def test_files_that_are_no_predictions(tmp_path):
    path = tmp_path / "p.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"p\.npz: not a readable"):
        read_predictions(path)
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    path.write_bytes(content.getvalue())
    with pytest.raises(ValueError, match="a single array"):
        read_predictions(path)
    whole = write(tmp_path / "whole.npz").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"p\.npz"):
        read_predictions(path)


def test_flipped_bytes_are_noticed(tmp_path):
    path = write(tmp_path / "p.npz", videos=[make_video(num_points=50, num_frames=20)])
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="cannot be read"):
        read_predictions(path).video("camel")
