"""The file between prediction and scoring: what is written is read again, and what does not fit is refused."""

import numpy as np
import pytest

from eval.driving.rollouts import NONE, SHUFFLED, TOLD, TRUE, RolloutsWriter, other_key, read_rollouts

SETTINGS = {"num_frames": 3, "frame_step": 2, "height": 4, "width": 6, "num_given": 1, "guidance": 2.5}
HEADER = {"model": "vista", "weights_sha256": "ab", "dataset_digest": "cd", "settings": SETTINGS}
KEYS = ("clip-0", "clip-1", "clip-2")


def frames_of(key, told):
    return np.random.default_rng([*key.encode(), *told.encode()]).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)


def write(path, keys=KEYS, told=TOLD):
    with RolloutsWriter(path, **HEADER) as writer:
        for number, key in enumerate(keys):
            for what in told:
                whose = other_key(keys, key) if what == SHUFFLED else None
                writer.add(key, 5, what, frames_of(key, what), 0.5 + number if what == TRUE else None, whose)
    return path


def test_what_is_written_is_read_again(tmp_path):
    rollouts = read_rollouts(write(tmp_path / "r.npz"))
    assert (rollouts.model, rollouts.weights_sha256, rollouts.dataset_digest) == ("vista", "ab", "cd")
    assert rollouts.settings == SETTINGS and rollouts.keys == KEYS and rollouts.told == TOLD
    for key in KEYS:
        assert rollouts.first(key) == 5
        for told in TOLD:
            assert np.array_equal(rollouts.frames(key, told), frames_of(key, told))
    assert rollouts.reward("clip-1", TRUE) == 1.5 and rollouts.reward("clip-1", NONE) is None


def test_whose_actions_were_told_is_kept(tmp_path):
    rollouts = read_rollouts(write(tmp_path / "r.npz"))
    assert [rollouts.told_key(key, SHUFFLED) for key in KEYS] == ["clip-1", "clip-2", "clip-0"]
    assert rollouts.told_key("clip-0", TRUE) == "clip-0" and rollouts.told_key("clip-0", NONE) is None


def test_the_same_rollouts_give_the_same_bytes(tmp_path):
    assert write(tmp_path / "a.npz").read_bytes() == write(tmp_path / "b.npz").read_bytes()


def test_a_file_may_hold_less_than_all_that_can_be_told(tmp_path):
    assert read_rollouts(write(tmp_path / "r.npz", told=(TRUE, NONE))).told == (TRUE, NONE)


def test_nothing_appears_where_the_block_fails(tmp_path):
    with pytest.raises(RuntimeError), RolloutsWriter(tmp_path / "r.npz", **HEADER) as writer:
        writer.add("clip-0", 0, TRUE, frames_of("clip-0", TRUE))
        raise RuntimeError
    with pytest.raises(ValueError, match="no rollout"), RolloutsWriter(tmp_path / "r.npz", **HEADER):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("clip-0", 0, "guessed", frames_of("a", "b")), "guessed"),
        (("clip-0", 0, SHUFFLED, frames_of("a", "b")), "whose"),
        (("clip-0", 0, SHUFFLED, frames_of("a", "b"), None, "clip-0"), "whose"),
        (("clip-0", 0, TRUE, frames_of("a", "b")[:2]), "shape"),
        (("clip-0", 0, TRUE, frames_of("a", "b").astype(np.float32)), "float32"),
        (("clip-0", 0, TRUE, frames_of("a", "b"), float("nan")), "reward"),
        (("clip-9", 0, TRUE, frames_of("a", "b")), "twice"),
    ],
)
def test_a_rollout_that_does_not_fit_is_refused(tmp_path, arguments, told):
    with pytest.raises(ValueError, match=told), RolloutsWriter(tmp_path / "r.npz", **HEADER) as writer:
        writer.add("clip-9", 0, TRUE, frames_of("a", "b"))
        writer.add(*arguments)


def test_clips_that_were_told_different_things_are_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="1 from frame 0 was told true and not"),
        RolloutsWriter(tmp_path / "r", **HEADER) as w,
    ):
        w.add("clip-0", 0, TRUE, frames_of("a", "b"))
        w.add("clip-0", 0, NONE, frames_of("a", "b"))
        w.add("clip-1", 0, TRUE, frames_of("a", "b"))
    with pytest.raises(ValueError, match="0 was told true and not none"), RolloutsWriter(tmp_path / "r", **HEADER) as w:
        w.add("clip-0", 0, TRUE, frames_of("a", "b"))
        w.add("clip-0", 1, NONE, frames_of("a", "b"))


def test_a_clip_may_have_several_windows(tmp_path):
    with RolloutsWriter(tmp_path / "r.npz", **HEADER) as writer:
        for key, other, firsts in (("clip-0", "clip-1", (0, 4)), ("clip-1", "clip-0", (0, 6))):
            for first, whose in zip(firsts, (0, 6) if key == "clip-0" else (0, 4), strict=True):
                writer.add(key, first, TRUE, frames_of(key, str(first)), reward=first)
                writer.add(key, first, SHUFFLED, frames_of(key, f"{first} else"), None, other, whose)
    rollouts = read_rollouts(tmp_path / "r.npz")
    assert rollouts.keys == ("clip-0", "clip-1") and rollouts.num_windows == 2
    assert rollouts.windows == (("clip-0", 0), ("clip-0", 1), ("clip-1", 0), ("clip-1", 1))
    assert [rollouts.first(*window) for window in rollouts.windows] == [0, 4, 0, 6]
    assert [rollouts.told_first(key, SHUFFLED, number) for key, number in rollouts.windows] == [0, 6, 0, 4]
    assert [rollouts.reward(key, TRUE, number) for key, number in rollouts.windows] == [0, 4, 0, 6]
    for key, number in rollouts.windows:
        first = rollouts.first(key, number)
        assert np.array_equal(rollouts.frames(key, TRUE, number), frames_of(key, str(first)))
        assert np.array_equal(rollouts.frames(key, SHUFFLED, number), frames_of(key, f"{first} else"))
    with pytest.raises(ValueError, match="no rollout of 'clip-1', window 2"):
        rollouts.frames("clip-1", TRUE, 2)


def test_clips_have_equally_many_windows(tmp_path):
    with (
        pytest.raises(ValueError, match="clip-1 from frame 0: this clip has fewer than 2"),
        RolloutsWriter(tmp_path / "r.npz", **HEADER) as writer,
    ):
        for key, first in (("clip-0", 0), ("clip-0", 4), ("clip-1", 0)):
            writer.add(key, first, TRUE, frames_of(key, TRUE))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"num_frames": 0}, {"height": None}, {"num_given": 3}, {"width": True}])
def test_settings_say_how_large_a_window_is(tmp_path, change):
    with pytest.raises(ValueError, match=str(next(iter(change)).split("_")[-1])):
        RolloutsWriter(tmp_path / "r.npz", **HEADER | {"settings": SETTINGS | change})


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not there"):
        read_rollouts(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ValueError, match="not a readable"):
        read_rollouts(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", format=np.array("frameline-predictions/1"))
    with pytest.raises(ValueError, match="not a readable"):
        read_rollouts(tmp_path / "other.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match="not a readable"):
        read_rollouts(tmp_path / "array.npy")
    with pytest.raises(ValueError, match="no rollout of 'clip-7'"):
        read_rollouts(write(tmp_path / "r.npz")).frames("clip-7", TRUE)


def rewrite(path, change):
    """The file with `change` of its arrays, a function of name and array."""
    with np.load(path) as archive:
        np.savez(path, **{name: change(name, archive[name]) for name in archive.files})
    return path


def test_frames_that_are_not_as_the_settings_say_are_refused(tmp_path):
    large = rewrite(write(tmp_path / "a.npz"), lambda name, a: np.zeros(99999, np.uint8) if "/" in name else a)
    with pytest.raises(ValueError, match="larger than its settings"):
        read_rollouts(large).frames("clip-0", TRUE)
    other = rewrite(write(tmp_path / "b.npz"), lambda name, a: a[:2] if "/" in name else a)
    with pytest.raises(ValueError, match="have shape"):
        read_rollouts(other).frames("clip-0", TRUE)
    old = rewrite(
        write(tmp_path / "c.npz"), lambda name, a: np.array("frameline-rollouts/0") if name == "format" else a
    )
    with pytest.raises(ValueError, match="expected 'frameline-rollouts/1'"):
        read_rollouts(old)


def test_one_clip_has_no_other():
    with pytest.raises(ValueError, match="no other clip"):
        other_key(["clip-0"], "clip-0")
