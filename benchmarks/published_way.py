"""LBM's augmentations step by step as they are described, with PIL, numpy and torch on whole frames: slow and plain.

benchmarks/loader.py measures it, and tests hold trainer/augment.py against its distributions. Written from the
described recipe; torchvision's operations on images are spelled out. Legend: T frames, N points, H W pixels.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance

from trainer.config import DataConfig


def make_published_sample(video, tracks, visible, config: DataConfig, rng: np.random.Generator):
    """Frames (T, 3, h, w) float32, tracks (N, T, 2), visible (N, T) of config.num_points points, zeros at the end."""
    frames, visible = erase(video.astype(np.float32), tracks, visible, config, rng)
    frames, visible = replace(frames, tracks, visible, config, rng)
    frames = [frame.astype(np.uint8) for frame in frames]
    if rng.random() < config.jitter_probability:
        frames = [np.array(jitter(Image.fromarray(frame), config, rng), dtype=np.uint8) for frame in frames]
    if rng.random() < config.blur_probability:
        frames = [blur(frame, config.blur_kernel, rng.uniform(*config.blur_sigma)) for frame in frames]
    frames, tracks = reframe(frames, tracks, visible, config, rng)
    height, width = frames[0].shape[:2]
    x, y = tracks[..., 0], tracks[..., 1]
    visible = visible & (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    chosen = rng.permutation(np.flatnonzero(visible[0]))[: config.num_points]
    padded_tracks = torch.zeros(config.num_points, len(frames), 2)
    padded_visible = torch.zeros(config.num_points, len(frames), dtype=torch.bool)
    padded_tracks[: len(chosen)] = torch.from_numpy(tracks[:, chosen]).permute(1, 0, 2)
    padded_visible[: len(chosen)] = torch.from_numpy(visible[:, chosen]).T
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float(), padded_tracks, padded_visible


def rectangles(frame_size, config: DataConfig, rng: np.random.Generator):
    """1 to max_patches rectangles (x0, y0, x1, y1) with uniform centres and sides."""
    height, width = frame_size
    for _ in range(rng.integers(1, config.max_patches + 1)):
        x, y = rng.integers(0, width), rng.integers(0, height)
        dx, dy = rng.integers(*config.patch_size), rng.integers(*config.patch_size)
        yield max(x - dx // 2, 0), max(y - dy // 2, 0), min(x - dx // 2 + dx, width), min(y - dy // 2 + dy, height)


def hide(tracks, visible, rectangle):
    """Points of one frame that lie in the rectangle are not visible."""
    x0, y0, x1, y1 = rectangle
    x, y = tracks[:, 0], tracks[:, 1]
    visible[(x >= x0) & (x < x1) & (y >= y0) & (y < y1)] = False


def erase(frames, tracks, visible, config: DataConfig, rng: np.random.Generator):
    """Fill rectangles of float frames (T, H, W, 3) with their mean colour."""
    frames, visible = frames.copy(), visible.copy()
    for t in range(1, len(frames)):
        if rng.random() < config.eraser_probability:
            for x0, y0, x1, y1 in rectangles(frames.shape[1:3], config, rng):
                frames[t, y0:y1, x0:x1] = frames[t, y0:y1, x0:x1].mean((0, 1))
                hide(tracks[t], visible[t], (x0, y0, x1, y1))
    return frames, visible


def replace(frames, tracks, visible, config: DataConfig, rng: np.random.Generator):
    """Fill rectangles of float frames (T, H, W, 3) from a copy of the whole clip that was jittered twice."""
    visible = visible.copy()
    other = [Image.fromarray(frame.astype(np.uint8)) for frame in frames]
    other = [jitter(jitter(image, config, rng), config, rng) for image in other]
    other = np.stack([np.array(image) for image in other]).astype(np.float32)
    frames = frames.copy()
    height, width = frames.shape[1:3]
    for t in range(1, len(frames)):
        if rng.random() < config.replace_probability:
            for x0, y0, x1, y1 in rectangles((height, width), config, rng):
                source = rng.integers(0, len(frames))
                x, y = rng.integers(0, width - (x1 - x0) + 1), rng.integers(0, height - (y1 - y0) + 1)
                frames[t, y0:y1, x0:x1] = other[source, y : y + y1 - y0, x : x + x1 - x0]
                hide(tracks[t], visible[t], (x0, y0, x1, y1))
    return frames, visible


def jitter(image: Image.Image, config: DataConfig, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue of one image in random order."""
    for operation in rng.permutation(4):
        if operation == 0:
            factor = rng.uniform(1 - config.brightness, 1 + config.brightness)
            image = ImageEnhance.Brightness(image).enhance(factor)
        elif operation == 1:
            image = ImageEnhance.Contrast(image).enhance(rng.uniform(1 - config.contrast, 1 + config.contrast))
        elif operation == 2:
            image = ImageEnhance.Color(image).enhance(rng.uniform(1 - config.saturation, 1 + config.saturation))
        else:
            image = turn_hue(image, int(rng.uniform(-config.hue, config.hue) * 255))
    return image


def turn_hue(image: Image.Image, shift: int) -> Image.Image:
    """Add 256ths of a turn to the hue."""
    hue, saturation, value = image.convert("HSV").split()
    turned = ((np.array(hue).astype(int) + shift) % 256).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned, "L"), saturation, value)).convert("RGB")


def blur(frame, kernel: int, sigma: float):
    """A Gaussian of kernel x kernel pixels over a uint8 frame (H, W, 3), reflected at the border."""
    x = torch.linspace(-(kernel - 1) / 2, (kernel - 1) / 2, kernel)
    weight = torch.exp(-0.5 * (x / sigma) ** 2)
    weight = weight / weight.sum()
    planes = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    planes = F.pad(planes, [kernel // 2] * 4, mode="reflect")
    planes = F.conv2d(planes, torch.outer(weight, weight).expand(3, 1, kernel, kernel), groups=3)
    return planes[0].round().to(torch.uint8).permute(1, 2, 0).numpy()


def reframe(frames, tracks, visible, config: DataConfig, rng: np.random.Generator):
    """Pad, resize and crop frames (H, W, 3), then mirror; raster coordinates (T, N, 2) follow exactly."""
    left, right, top, bottom = rng.integers(0, config.max_padding + 1, 4)
    frames = [np.pad(frame, ((top, bottom), (left, right), (0, 0))).astype(np.float32) for frame in frames]
    tracks = tracks.astype(np.float64) + np.array([left, top])
    old_height, old_width = frames[0].shape[:2]
    height, width = config.crop_size or (old_height - top - bottom, old_width - left - right)
    scale_x = scale_y = rng.uniform(*config.scale_range)
    drift_x = drift_y = 0.0
    for t in range(len(frames)):
        if t == 1:
            drift_x, drift_y = rng.uniform(-config.scale_drift, config.scale_drift, 2)
        elif t > 1:
            drift_x = 0.8 * drift_x + 0.2 * rng.uniform(-config.scale_drift, config.scale_drift)
            drift_y = 0.8 * drift_y + 0.2 * rng.uniform(-config.scale_drift, config.scale_drift)
        scale_x, scale_y = scale_x + drift_x, scale_y + drift_y
        mean = (scale_x + scale_y) / 2
        scale_x, scale_y = np.clip(((scale_x + mean) / 2, (scale_y + mean) / 2), 0.2, 2.0)
        new_width = max(int(old_width * scale_x), width + config.crop_margin)
        new_height = max(int(old_height * scale_y), height + config.crop_margin)
        scale_x, scale_y = new_width / old_width, new_height / old_height
        frames[t] = cv2.resize(frames[t], (new_width, new_height), interpolation=cv2.INTER_LINEAR)
        tracks[t] *= (scale_x, scale_y)
    middle = tracks[0, visible[0]].mean(0) if visible[0].any() else np.array(frames[0].shape[1::-1]) / 2
    x, y = int(middle[0] - width // 2), int(middle[1] - height // 2)
    step_x = step_y = 0
    bound = config.crop_drift
    for t in range(len(frames)):
        if t == 1:
            step_x, step_y = rng.integers(-bound, bound + 1, 2)
        elif t > 1:
            step_x = int(0.8 * step_x + 0.2 * rng.integers(-bound, bound + 1))
            step_y = int(0.8 * step_y + 0.2 * rng.integers(-bound, bound + 1))
        x = min(max(x + step_x, 0), frames[t].shape[1] - width)
        y = min(max(y + step_y, 0), frames[t].shape[0] - height)
        frames[t] = frames[t][y : y + height, x : x + width]
        tracks[t] -= (x, y)
    if config.flip and rng.random() < 0.5:
        frames = [frame[:, ::-1] for frame in frames]
        tracks[..., 0] = width - tracks[..., 0]
    if config.flip and rng.random() < 0.5:
        frames = [frame[::-1] for frame in frames]
        tracks[..., 1] = height - tracks[..., 1]
    return frames, tracks.astype(np.float32)
