"""Colour jitter: PIL's pixels for the same factors, the published ranges, and the frame's mean for its parts."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from benchmarks import published_way
from trainer.augment import blur
from trainer.colour import Jitter, draw_jitter, jitter_colours, thumbnail_of, turn_hue
from trainer.config import DataConfig

CONFIG = DataConfig(dataset="x")


def picture(height=70, width=90, seed=0):
    """Smooth colours with a little noise: hues, greys and both ends of the range."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)


def jitter_with(order, brightness=1.0, contrast=1.0, saturation=1.0, hue=0):
    one = (np.array([value]) for value in (brightness, contrast, saturation, hue))
    return Jitter(
        **dict(zip(("brightness", "contrast", "saturation", "hue"), one, strict=True)), order=np.array([order])
    )


def jitter_by_pil(image, order, brightness, contrast, saturation, hue):
    image = Image.fromarray(image)
    steps = [
        lambda i: ImageEnhance.Brightness(i).enhance(brightness),
        lambda i: ImageEnhance.Contrast(i).enhance(contrast),
        lambda i: ImageEnhance.Color(i).enhance(saturation),
        lambda i: published_way.turn_hue(i, hue),
    ]
    for operation in order:
        if operation != 3 or hue:  # even no turn at all costs PIL's hues a level or two
            image = steps[operation](image)
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
def test_pixels_are_those_of_pil(order):
    for values in itertools.product((0.83, 1.2), (0.8, 1.17), (0.81, 1.19), (-20, 0, 13)):
        image = picture()
        found, _ = jitter_colours(image, image, jitter_with(order, *values), 0)
        expected = jitter_by_pil(image, order, *values)
        assert np.abs(found - expected).mean() < 0.9
        assert np.quantile(np.abs(found - expected), 0.99) <= 9  # both keep hues in 8 bits
        if not values[3]:
            assert np.abs(found - expected).max() <= 3
        assert np.abs(image - expected).mean() > 3, "the jitter must be large against the tolerance"


def test_one_step_alone_is_exact_to_one_level():
    image = picture()
    for name, position in (("brightness", 0), ("contrast", 1), ("saturation", 2)):
        for factor in (0.8, 1.0, 1.2):
            found, _ = jitter_colours(image, image, jitter_with((0, 1, 2, 3), **{name: factor}), 0)
            values = [1.0, 1.0, 1.0, 0]
            values[position] = factor
            assert np.abs(found - jitter_by_pil(image, (0, 1, 2, 3), *values)).max() <= 1
            if factor == 1.0:
                np.testing.assert_array_equal(found, image)


def test_hues_turn_without_drift():
    image = picture(seed=3)
    hue = np.asarray(Image.fromarray(image).convert("HSV"))
    turned = np.asarray(Image.fromarray(turn_hue(image, 20)).convert("HSV"))
    clear = (hue[..., 1] > 100) & (hue[..., 2] > 100)
    change = (turned[..., 0].astype(int) - hue[..., 0] + 128) % 256 - 128
    assert clear.sum() > 500
    assert abs(change[clear].mean() - 20) < 0.4


def test_a_part_of_a_frame_looks_as_it_does_in_the_whole():
    image = picture(512, 640)
    for seed in range(6):
        jitter = draw_jitter(1, CONFIG, np.random.default_rng(seed))
        whole, _ = jitter_colours(image, image, jitter, 0)
        part, _ = jitter_colours(image[100:180, 7:50], thumbnail_of(image), jitter, 0)
        assert np.abs(part.astype(int) - whole[100:180, 7:50]).max() <= 2
    assert max(thumbnail_of(image).shape) < 100
    assert thumbnail_of(image[:30, :40]).shape == (30, 40, 3)


def test_factors_hues_and_orders_are_uniform_in_the_published_ranges():
    jitter = draw_jitter(4000, CONFIG, np.random.default_rng(0))
    for factors in (jitter.brightness, jitter.contrast, jitter.saturation):
        assert 0.8 <= factors.min() < 0.801 and 1.199 < factors.max() <= 1.2
        np.testing.assert_allclose([factors.mean(), factors.std()], [1, 0.4 / 12**0.5], atol=0.01)
    assert (jitter.hue.min(), jitter.hue.max()) == (-20, 20)
    turns = [int(turn * 255) for turn in np.random.default_rng(1).uniform(-0.25 / 3.14, 0.25 / 3.14, 4000)]
    np.testing.assert_allclose(jitter.hue.std(), np.std(turns), atol=0.4)
    assert len({tuple(order) for order in jitter.order}) == 24
    first = np.bincount(jitter.order[:, 0], minlength=4) / 4000
    np.testing.assert_allclose(first, 0.25, atol=0.03)
    published = [
        np.asarray(published_way.jitter(Image.new("RGB", (1, 1), (90, 120, 60)), CONFIG, np.random.default_rng(seed)))
        for seed in range(1500)
    ]
    pixel = np.array([[[90, 120, 60]]], np.uint8)
    ours = [jitter_colours(pixel, pixel, jitter, t)[0] for t in range(1500)]
    np.testing.assert_allclose(np.mean(ours, 0), np.mean(published, 0), atol=1.5)
    np.testing.assert_allclose(np.std(ours, 0), np.std(published, 0), atol=1.0)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_the_published_kernel(sigma):
    image = picture()
    expected = published_way.blur(image, 11, sigma).astype(int)
    assert np.abs(blur(image, 11, sigma) - expected).max() <= 1
    assert sigma == 0.1 or np.abs(expected - image).mean() > 1
