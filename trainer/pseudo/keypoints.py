"""Where pseudo-labels are asked for: SIFT keypoints of a clip's first quarter, or points spread evenly.

Legend: T frames, N points, H W pixels. Queries are (t, x, y) in raster pixels, frames from 0.
"""

import cv2
import numpy as np

NUM_FRAMES = 8
"""Frames whose keypoints are taken (CoTracker3, real data)."""
EARLY_SHARE = 0.25
"""They lie in this first share of the clip."""


def choose_keypoints(video: np.ndarray, num_points: int, rng: np.random.Generator) -> np.ndarray | None:
    """Queries (N, 3) float32 at SIFT keypoints (Lowe 2004) of a video (T, H, W, 3) uint8; None where there are too few.

    NUM_FRAMES random frames of the first quarter give N / NUM_FRAMES keypoints each, drawn evenly among all that are
    found there. No place comes twice, also where the quarter is short and frames are drawn again.
    """
    num_early = max(1, int(EARLY_SHARE * len(video)))
    frames = rng.choice(num_early, NUM_FRAMES, replace=num_early < NUM_FRAMES)
    shares = np.full(NUM_FRAMES, num_points // NUM_FRAMES)
    shares[: num_points % NUM_FRAMES] += 1
    queries = []
    for frame in np.unique(frames):
        found, wanted = find_keypoints(video[frame]), shares[frames == frame].sum()
        if len(found) < wanted:
            return None
        xy = found[rng.choice(len(found), wanted, replace=False)]  # (n, 2)
        queries.append(np.concatenate([np.full((wanted, 1), frame), xy], 1))
    return np.concatenate(queries).astype(np.float32)


def find_keypoints(image: np.ndarray) -> np.ndarray:
    """The places (K, 2) of a frame's SIFT keypoints as (x, y) raster pixels, each once, in a fixed order."""
    # Without the precise upscaling OpenCV's keypoints are a quarter of a pixel off.
    sift = cv2.SIFT_create(enable_precise_upscale=True)
    keypoints = sift.detect(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    centres = np.array([keypoint.pt for keypoint in keypoints]).reshape(-1, 2)
    return np.unique(centres, axis=0) + 0.5  # OpenCV counts from the centre of the top-left pixel


def spread_points(num_points: int, num_frames: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Queries (N, 3) float32, uniform over the frames and the area of a video of `size` (H, W)."""
    height, width = size
    frame = rng.integers(0, num_frames, num_points)
    xy = rng.random((num_points, 2)) * (width, height)
    return np.concatenate([frame[:, None], xy], 1).astype(np.float32)
