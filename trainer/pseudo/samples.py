"""Training samples of videos without tracks: a window of frames, and where its points are asked for.

Legend: T frames, N points, H W pixels.
"""

import numpy as np

from shards import ClipStore
from trainer.augment import Changes, Plan, apply_plan, draw_changes
from trainer.batch import Sample, choose_frames
from trainer.config import DataConfig
from trainer.framing import Framing, centre_framing, draw_framing, move_points
from trainer.pseudo.keypoints import choose_keypoints, spread_points


def make_video_sample(store: ClipStore, number: int, config: DataConfig, rng: np.random.Generator) -> Sample:
    """One sample: video (T, H, W, 3) uint8, queries (N, 3) float32 as (t, x, y), and what a labeller needs to know.

    That is has_keypoints () bool, false where SIFT found too few and the queries are spread evenly: nothing counts
    then; clip () its number; frames (2,) the window's first frame and stride; placing (T, 2, 2) float32, which makes
    pixels of the clip into those of the sample: placing[:, 0] times (x, y), plus placing[:, 1]. Raises ValueError
    when the clip is damaged or shorter than data.num_frames.
    """
    row = store.row(number)
    num_frames, size = row["num_frames"], (row["height"], row["width"])
    if num_frames < config.num_frames:
        raise ValueError(
            f"clip {row['key']} has {num_frames} frames, data.num_frames asks for {config.num_frames}; pack the videos "
            f"in longer clips (python -m shards convert --from videos --window {config.num_frames} ...)"
        )
    frames = choose_frames(num_frames, config, rng)
    plan = draw_video_plan(config.num_frames, size, config, rng)
    video = apply_plan(store.read(number, frames=frames).video, plan)
    queries = choose_keypoints(video, config.num_points, rng)
    has_keypoints = queries is not None
    return {
        "video": video,
        "queries": queries if has_keypoints else spread_points(config.num_points, len(video), video.shape[1:3], rng),
        "has_keypoints": np.array(has_keypoints),
        "clip": np.array(number),
        "frames": np.array([frames.start, frames.step]),
        "placing": place(plan.framing),
    }


def draw_video_plan(num_frames: int, size: tuple[int, int], config: DataConfig, rng: np.random.Generator) -> Plan:
    """What is done to a window's frames of `size` (H, W), as to a clip's with tracks, of which there are none here.

    A drawn crop starts in the middle of the frame.
    """
    tracks, visible = np.zeros((num_frames, 0, 2), np.float32), np.zeros((num_frames, 0), bool)
    if config.augment:
        changes = draw_changes(num_frames, size, config, rng)
        framing = draw_framing(tracks, visible, size, config, rng)
    else:
        changes, framing = Changes(), centre_framing(num_frames, size, config)
    return Plan(changes=changes, framing=framing, tracks=tracks, visible=visible)


def place(framing: Framing) -> np.ndarray:
    """Factors and offsets (T, 2, 2) float32 of a framing: each frame's axes are scaled and moved, never mixed."""
    num_frames = len(framing.resized)
    corners = np.tile(np.array([[0.0, 0.0], [1.0, 1.0]]), (num_frames, 1, 1))  # (T, 2, 2)
    origin, unit = np.moveaxis(move_points(corners, framing), 1, 0)  # (T, 2) each
    return np.stack([unit - origin, origin], 1)
