"""Metadata as the renderer writes it, made by hand."""

from typing import Any


def make_metadata(
    *, num_frames: int, visible_pixels: list[list[int]] | None = None, hdri: str = "yard", seed: int = 0
) -> dict[str, Any]:
    """A cup that rests and a chair that falls, seen by a camera that moves 0.1 m a frame and does not turn."""
    pixels = visible_pixels or [[20 + seed] * num_frames, [30] * num_frames]
    names = (("cup", False), ("chair", True))
    still = [[1.0, 0.0, 0.0, 0.0]] * num_frames
    return {
        "seed": seed,
        "attempt": 0,
        "recipe": {"resolution": 32, "frame_rate": 6, "split": "train", "max_static": 10},
        "scene": {"hdri": hdri, "camera": "linear", "motion_blur": 0.5 + seed / 10, "num_dropped_objects": 1},
        "camera": {
            "focal_px": 35.0,
            "principal_point": [16.0, 16.0],
            "positions": [[0.1 * t, 0.0, 10.0] for t in range(num_frames)],
            "quaternions_wxyz": still,
        },
        "instances": [
            {
                "asset_id": name,
                "is_dynamic": is_dynamic,
                "bounds": [[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]],
                "positions": [[0.0, 0.0, 1.0 + number] for _ in range(num_frames)],
                "quaternions_wxyz": still,
                "visible_pixels": counts,
            }
            for number, ((name, is_dynamic), counts) in enumerate(zip(names, pixels, strict=True))
        ],
        "versions": {"numpy": "1.0"},
    }
