"""What covers frames and points, and the plan of a window: the published draws, made before a frame is read."""

import dataclasses

import numpy as np
import pytest

from benchmarks import published_way
from trainer.augment import Patch, apply_plan, cover_points, draw_changes, draw_patches, draw_plan, erase, replace
from trainer.colour import draw_jitter, jitter_colours
from trainer.config import DataConfig

SIZE = (60, 80)
CONFIG = DataConfig(dataset="x", crop_size=(48, 64), patch_size=(2, 30))
PLAIN = dataclasses.replace(CONFIG, jitter_probability=0.0, blur_probability=0.0)


def window(num_frames=6, num_points=40, seed=0):
    rng = np.random.default_rng(seed)
    video = rng.integers(0, 256, (num_frames, *SIZE, 3), dtype=np.uint8)
    tracks = rng.uniform((0, 0), SIZE[::-1], (num_frames, num_points, 2)).astype(np.float32)
    return video, tracks, np.ones((num_frames, num_points), bool)


@pytest.mark.parametrize("step", ["erase", "replace"])
def test_points_are_hidden_as_often_as_published(step):
    video, tracks, visible = window(num_frames=4, num_points=300)
    dark = np.zeros_like(video)
    probability = CONFIG.eraser_probability if step == "erase" else CONFIG.replace_probability

    def hidden(draw, first_seed):
        seen = [draw(np.random.default_rng(seed)) for seed in range(first_seed, first_seed + 300)]
        return (~np.stack(seen)).mean(-1)  # (draws, T) shares

    published = hidden(
        lambda rng: getattr(published_way, step)(dark.astype(np.float32), tracks, visible, PLAIN, rng)[1], 0
    )

    def ours(rng, config=CONFIG):
        return cover_points(tracks, visible, draw_patches(4, SIZE, probability, config, rng))

    def differences(shares):
        later, expected = shares[:, 1:].ravel(), published[:, 1:].ravel()
        return np.abs(
            [later.mean() - expected.mean(), later.std() - expected.std(), (later > 0).mean() - (expected > 0).mean()]
        )

    shares = hidden(ours, 1000)
    assert not shares[:, 0].any() and not published[:, 0].any(), "the first frame is never covered"
    assert (differences(shares) < (0.02, 0.02, 0.06)).all()
    for wrong in ({"patch_size": (2, 38)}, {"max_patches": 14}, {"patch_size": (9, 30)}):
        altered = dataclasses.replace(CONFIG, **wrong)
        found = differences(hidden(lambda rng, altered=altered: ours(rng, altered), 2000))
        assert (found >= (0.02, 0.02, 0.06)).any(), f"the comparison must notice {wrong}"


def test_rectangles_have_the_stated_number_and_sides():
    patches = [draw_patches(50, (1000, 1000), 0.5, CONFIG, np.random.default_rng(seed)) for seed in range(40)]
    per_frame = [count for drawn in patches for count in np.bincount([p.frame for p in drawn], minlength=50)[1:]]
    assert set(per_frame) == set(range(11))
    assert abs(np.mean(np.array(per_frame) > 0) - 0.5) < 0.04
    inner = [p for drawn in patches for p in drawn if 0 < p.x < 900 and 0 < p.y < 900]
    sides = np.array([[p.width, p.height] for p in inner])
    assert sides.min() == 2 and sides.max() == 29
    np.testing.assert_allclose(sides.mean(0), 15.5, atol=0.4)
    assert min(p.x for drawn in patches for p in drawn) == 0


def test_a_patch_hides_the_points_under_it_in_its_frame_only():
    tracks = np.array([[[10.0, 10.0], [19.9, 14.9], [20.0, 10.0], [9.9, 10.0]]] * 2, np.float32)
    visible = np.ones((2, 4), bool)
    found = cover_points(tracks, visible, (Patch(frame=1, x=10, y=10, width=10, height=5),))
    assert found.tolist() == [[True] * 4, [False, False, True, True]]
    assert visible.all(), "the input must not change"


def test_erased_rectangles_have_the_mean_colour_that_they_then_had():
    video = window()[0]
    expected = video.copy()
    patches = (Patch(frame=2, x=5, y=7, width=20, height=9), Patch(frame=2, x=15, y=3, width=30, height=30))
    for p in patches:
        area = expected[2, p.y : p.y + p.height, p.x : p.x + p.width]
        area[:] = area.reshape(-1, 3).mean(0).astype(np.uint8)
    erase(video, patches)
    np.testing.assert_array_equal(video, expected)


def test_replaced_rectangles_come_from_the_jittered_copy_of_what_was_there_before():
    video = window()[0]
    before = video.copy()
    rng = np.random.default_rng(0)
    jitters = tuple(draw_jitter(len(video), CONFIG, rng) for _ in range(2))
    patches = (
        Patch(frame=1, x=0, y=0, width=30, height=20, source=(4, 50, 40)),
        Patch(frame=4, x=45, y=35, width=30, height=20, source=(1, 3, 4)),  # covers the first one's source
        Patch(frame=1, x=20, y=10, width=8, height=9, source=(1, 0, 0)),  # copies what the first one covers
    )
    copy = []
    for t, image in enumerate(before):
        for jitter in jitters:
            image, _ = jitter_colours(image, image, jitter, t)
        copy.append(image)
    expected = before.copy()
    for p in patches:
        t, x, y = p.source
        expected[p.frame, p.y : p.y + p.height, p.x : p.x + p.width] = copy[t][y : y + p.height, x : x + p.width]
    replace(video, patches, jitters)
    assert np.abs(video.astype(int) - expected).max() <= 2  # the copy's mean is of the whole frame, ours of a grid
    assert np.abs(before.astype(int) - expected)[1, :20, :30].mean() > 20


def test_sources_are_uniform_over_frames_and_places():
    sources = np.array([
        (*p.source, p.width, p.height)
        for seed in range(60)
        for p in draw_changes(8, SIZE, CONFIG, np.random.default_rng(seed)).replaced
    ])  # fmt: skip
    assert set(sources[:, 0]) == set(range(8))
    assert (sources[:, 1] + sources[:, 3]).max() == 80 and (sources[:, 2] + sources[:, 4]).max() == 60
    room = sources[:, 1] / np.maximum(80 - sources[:, 3], 1)
    np.testing.assert_allclose([room.mean(), room.std()], [0.5, 1 / 12**0.5], atol=0.03)


def test_a_quarter_of_the_samples_is_jittered_and_a_quarter_blurred():
    drawn = [draw_changes(5, SIZE, CONFIG, np.random.default_rng(seed)) for seed in range(1200)]
    jitters, blurs = (np.array([getattr(d, n) is not None for d in drawn]) for n in ("jitter", "blur_sigma"))
    np.testing.assert_allclose([jitters.mean(), blurs.mean()], 0.25, atol=0.04)
    np.testing.assert_allclose((jitters & blurs).mean(), 0.0625, atol=0.025)
    sigmas = np.concatenate([d.blur_sigma for d in drawn if d.blur_sigma is not None])
    assert 0.1 <= sigmas.min() < 0.12 and 1.98 < sigmas.max() <= 2
    np.testing.assert_allclose(sigmas.mean(), 1.05, atol=0.05)


def test_samples_look_as_published_ones_do():
    config = dataclasses.replace(CONFIG, num_points=40, max_padding=4, crop_drift=4)
    video, tracks, visible = window(4)
    video = (video // 3 + np.linspace(20, 150, 80).astype(np.uint8)[:, None]).astype(np.uint8)  # bright on the right

    def features(make):
        rows = []
        for seed in range(250):
            crops, seen = make(np.random.default_rng(seed))
            crops = crops.astype(float)
            rows.append([seen.mean(), crops.mean(), crops.std(), np.abs(np.diff(crops, axis=2)).mean()])
        return np.array(rows)

    def ours(rng):
        plan = draw_plan(tracks, visible, SIZE, config, rng)
        return apply_plan(video.copy(), plan), plan.visible[:, plan.visible[0]]

    def published(rng):
        crops, _, seen = published_way.make_published_sample(video, tracks, visible, config, rng)
        return crops.permute(0, 2, 3, 1).numpy(), seen[seen[:, 0]].numpy()

    one, other = features(ours), features(published)
    error = np.sqrt((one.var(0) + other.var(0)) / len(one))  # of the difference of two means
    assert (np.abs(one.mean(0) - other.mean(0)) < 3.5 * error).all()
    assert (np.abs(np.log(one.std(0) / other.std(0))) < 0.25).all()


def test_a_plan_is_a_function_of_its_generator_and_reads_no_frame():
    video, tracks, visible = window()
    plans = [draw_plan(tracks, visible, SIZE, CONFIG, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    crops = [apply_plan(video.copy(), plan) for plan in plans]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert (crops[0] != crops[2]).any()
    assert crops[0].shape == (6, 48, 64, 3) and crops[0].dtype == np.uint8
    np.testing.assert_array_equal(plans[0].tracks, plans[1].tracks)
    assert plans[0].tracks.dtype == np.float32


def test_points_outside_of_the_crop_are_not_visible():
    _, tracks, visible = window(3, num_points=200)
    plan = draw_plan(tracks, visible, SIZE, dataclasses.replace(CONFIG, augment=False), np.random.default_rng(0))
    inside = ((plan.tracks >= 0) & (plan.tracks < (64, 48))).all(-1)
    np.testing.assert_array_equal(plan.visible, inside)
    assert 0.3 < inside.mean() < 0.9


def test_a_window_whose_crop_shows_no_point_is_refused():
    _, tracks, visible = window(2, num_points=1)
    tracks[:] = 1.0
    message = r"no point that is visible in the first frame lies in the crop of 48x64; use a larger data\.crop_size"
    with pytest.raises(ValueError, match=message):
        draw_plan(tracks, visible, SIZE, dataclasses.replace(CONFIG, augment=False), np.random.default_rng(0))
    for seed in range(20):  # drawn crops begin at the visible points
        assert draw_plan(tracks, visible, SIZE, CONFIG, np.random.default_rng(seed)).visible[0].all()
