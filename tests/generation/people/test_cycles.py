"""People by Cycles: the same labels as by the z-buffer, and pictures in which the body is where they say."""

from dataclasses import replace

import numpy as np
import pytest

from generation.people.config import PeopleConfig
from generation.people.scene import make_clip
from generation.people.studio import CyclesStudio
from generation.people.toy import make_toy
from tests.workflow.test_kill import RENDERER

CONFIG = PeopleConfig(resolution=48, num_frames=2, renderer="cycles", sensor_noise=0.0, background="plain")
needs_renderer = pytest.mark.skipif(not RENDERER.exists(), reason=f"no renderer at {RENDERER}: snakemake renderer")


def half_red(config, subject, frames, seed) -> np.ndarray:
    """A studio whose pictures are red, and half transparent in their left half."""
    pictures = np.zeros((len(frames), config.resolution, config.resolution, 4), np.float32)
    pictures[..., 0], pictures[..., 3] = 1, 1
    pictures[:, :, : config.resolution // 2, 3] = 0.5
    return pictures


def test_what_a_studio_renders_stands_before_what_is_behind():
    clip = make_clip(CONFIG, make_toy(), 3, "toy-3", studio=half_red)
    drawn = make_clip(replace(CONFIG, renderer="z_buffer", has_floor=False), make_toy(), 3, "toy-3")
    right, left = clip.video[:, :, 24:], clip.video[:, :, :24]
    assert (right == [255, 0, 0]).all()
    behind = drawn.video[0, 0, 0].astype(float)  # of one colour, and the corner is no body
    assert np.abs(left[0] - (behind + np.array([255, 0, 0])) / 2).max() <= 1
    for name in ("tracks", "visible"):
        np.testing.assert_array_equal(getattr(clip, name), getattr(drawn, name))
    np.testing.assert_array_equal(clip.person.parts, drawn.person.parts)
    assert clip.metadata["recipe"]["people"]["renderer"] == "cycles"


def test_without_a_studio_it_is_refused():
    with pytest.raises(ValueError, match=r"renderer=cycles needs a studio: .* --renderer PYTHON"):
        make_clip(CONFIG, make_toy(), 0, "toy-0")
    with pytest.raises(ValueError, match="renderer='eevee': use one of z_buffer, cycles"):
        PeopleConfig(renderer="eevee")


@pytest.mark.parametrize("has_floor", [False, True])
@pytest.mark.slow
@needs_renderer
def test_blender_shows_the_body_where_the_labels_are(has_floor):
    config, seen = replace(CONFIG, has_floor=has_floor, resolution=96), []

    with CyclesStudio(RENDERER) as studio:

        def remember(*words) -> np.ndarray:
            seen.append(studio(*words))
            return seen[-1]

        clip, again = (make_clip(config, make_toy(), 5, "toy-5", studio=remember) for _ in range(2))
    np.testing.assert_array_equal(clip.video, again.video)
    is_body = clip.person.parts > 0
    if not has_floor:
        covered = seen[0][..., 3] > 0.5
        assert (covered & is_body).sum() / (covered | is_body).sum() > 0.95
    drawn = make_clip(replace(config, renderer="z_buffer"), make_toy(), 5, "toy-5")
    ours, theirs = (video[is_body].astype(float) for video in (clip.video, drawn.video))
    alike = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    assert 0.97 < np.median(alike) < 1  # the same colours in another light


@pytest.mark.slow
@needs_renderer
def test_a_renderer_that_fails_says_why():
    with CyclesStudio(RENDERER) as studio:

        def render_nowhere(config, subject, frames, seed) -> np.ndarray:
            nowhere = replace(frames[0].view, rotation=np.zeros((2, 2)))
            return studio(config, subject, [replace(frames[0], view=nowhere)], seed)

        with pytest.raises(ValueError, match="the renderer of people ended with 1: ValueError"):
            make_clip(CONFIG, make_toy(), 0, "toy-0", studio=render_nowhere)
        assert make_clip(CONFIG, make_toy(), 0, "toy-0", studio=studio).video.any()  # the next one starts it again
