"""Clips with a camera, as ours have it, for the tests of layouts."""

from dataclasses import replace

import numpy as np

from tests.conftest import make_clip

FOCAL, WIDTH, HEIGHT = 40.0, 30, 22


def camera_clip(key="clip-0", *, num_frames=5, num_points=7, depth=True):
    """30 x 22 pixels, smooth (it survives JPEG), a camera that moves and turns, one point outside the picture."""
    rng = np.random.default_rng(len(key))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    shade = np.stack([8 * x, 11 * y, 4 * (x + y)], -1)
    video = np.stack([shade + 2 * t for t in range(num_frames)]).clip(0, 255).astype(np.uint8)
    tracks = rng.uniform(2, 20, (num_frames, num_points, 2)).astype(np.float32)
    visible = rng.random((num_frames, num_points)) < 0.7
    tracks[0, 0], visible[0, 0] = (-3.5, 4), False
    depth_m = rng.uniform(3, 30, (num_frames, HEIGHT, WIDTH)).astype(np.float32) if depth else None
    quaternions = rng.normal(size=(num_frames, 4))
    camera = {
        "focal_length_mm": 35.0,
        "sensor_width_mm": 35.0 * WIDTH / FOCAL,
        "focal_px": FOCAL,
        "principal_point": [WIDTH / 2, HEIGHT / 2],
        "positions": rng.normal(size=(num_frames, 3)).tolist(),
        "quaternions_wxyz": (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).tolist(),
    }
    base = make_clip(key, num_frames=num_frames, num_points=num_points)
    return replace(base, video=video, tracks=tracks, visible=visible, depth_m=depth_m, metadata={"camera": camera})
