"""People rendered by Cycles, from the main environment: jobs for a process of the renderer's, pictures back."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from generation.environment import installed_versions
from generation.people.config import PeopleConfig
from generation.people.scene import Frame, Subject
from generation.worker import RenderWorker


class CyclesStudio:
    """Renders one clip after the other; a context manager.

    `studio(config, subject, frames, seed)` gives pictures (T, H, W, 4) float32 of 1: colours and how much they cover.
    """

    def __init__(self, renderer: Path, threads: int = 1):
        """renderer: the interpreter that has bpy; ValueError with the command that builds one where there is none."""
        installed_versions(renderer)
        self.threads = threads
        self.folder = tempfile.TemporaryDirectory(prefix="people-")
        self.worker = RenderWorker(renderer, Path(self.folder.name) / "blender", threads, "people.cycles")

    def __enter__(self) -> "CyclesStudio":
        return self

    def __exit__(self, *reason: object) -> None:
        self.worker.__exit__(*reason)
        self.folder.cleanup()

    def __call__(self, config: PeopleConfig, subject: Subject, frames: Sequence[Frame], seed: int) -> np.ndarray:
        """Pictures of a subject from the views of frames; ValueError with the renderer's last words where it fails."""
        folder, look = Path(self.folder.name), subject.look
        floor = {"floor": look.floor, "square_m": look.square_m, "turn": look.turn, "floor_m": subject.floor_m}
        np.savez(
            folder / "job.npz",
            vertices_m=subject.posed.vertices_m[0], faces=subject.body.faces,
            colours=look.albedo[subject.body.parts], light=look.light, ambient=look.ambient,
            positions_m=np.stack([frame.view.position_m for frame in frames]),
            rotations=np.stack([frame.view.rotation for frame in frames]),
            focal_px=np.array([frame.view.focal_px for frame in frames]),
            size=config.resolution, samples=config.cycles_samples, seed=seed % 2**31, threads=self.threads,
            **(floor if config.has_floor else {}),
        )  # fmt: skip
        code = self.worker.run(folder / "job.npz")
        if code:
            log = folder / "render.log"
            told = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
            raise ValueError(f"the renderer of people ended with {code}: {(told or ['it said nothing'])[-1]}")
        return np.stack([_read(folder / f"{number:04d}.png") for number in range(len(frames))])


def _read(path: Path) -> np.ndarray:
    """(H, W, 4) float32 of 1, red first, of a PNG of 16 bits."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    path.unlink()
    return cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA).astype(np.float32) / 65535
