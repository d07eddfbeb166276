"""Who labels videos: models that were trained here, and files of predictions.

Legend: B batch, T frames, N points, E extra points, H W pixels. Points are (x, y) raster pixels of the sample.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from eval.predictions import Predictions, VideoPrediction
from eval.tapvid import RESOLUTION
from shards import ClipStore
from trainer.batch import Batch
from trainer.framing import is_inside
from trainer.pseudo.keypoints import spread_points

GRID_SIZE = 5
"""Extra points of an online CoTracker3 lie on a grid of so many a side in frame 0."""
NUM_SPREAD = 100
"""Extra points of an offline CoTracker3, spread evenly over the frames and the area."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a teacher says: queries (B, N, 3) (t, x, y), tracks (B, T, N, 2), visible and valid (B, T, N) bool.

    Where `valid` is false the teacher knows nothing that counts. Tracks are finite everywhere.
    """

    queries: torch.Tensor
    tracks: torch.Tensor
    visible: torch.Tensor
    valid: torch.Tensor


class Teacher(Protocol):
    """Something that labels batches of `make_video_sample`, on the device of their video."""

    name: str

    def label(self, batch: Batch, rng: np.random.Generator) -> Labels:
        """The labels of a batch; all random draws come from `rng`."""


class ModelTeacher:
    """A trained model; the points of a batch's own queries."""

    def __init__(self, name: str, model: nn.Module, visible_above: float):
        self.name, self.model, self.visible_above = name, model.eval().requires_grad_(False), visible_above
        self.num_spread = 0
        if hasattr(model.config, "evaluation_grid"):  # points that are tracked along help CoTracker3, and not LBM
            grid = GRID_SIZE if model.config.online else 0
            model.config = replace(model.config, evaluation_grid=grid, single_point=False)
            self.num_spread = 0 if model.config.online else NUM_SPREAD

    @torch.no_grad()
    def label(self, batch: Batch, rng: np.random.Generator) -> Labels:
        """Track the queries, and extra points beside them that only help the model: they are left out afterwards."""
        video, queries = batch["video"].permute(0, 1, 4, 2, 3).float(), batch["queries"]
        extra = spread_points(self.num_spread, video.shape[1], tuple(video.shape[-2:]), rng)
        extra = torch.from_numpy(extra).to(queries)
        asked = torch.cat([queries, extra.expand(len(queries), -1, -1)], 1)  # (B, N + E, 3)
        result, num_points = self.model.track(video, asked), queries.shape[1]
        tracks = result.points[:, :, :num_points].float()
        visible = result.visibility_logit[:, :, :num_points].float().sigmoid() > self.visible_above
        valid = tracks.isfinite().all(-1) & batch["has_keypoints"][:, None, None]
        if self.model.is_causal:  # nothing is known of the frames before a query
            frame = torch.arange(video.shape[1], device=video.device)[:, None]  # (T, 1)
            valid = valid & (frame >= queries[:, None, :, 0].round())
        if not self.model.knows_hidden:
            valid = valid & visible
        return Labels(queries=queries, tracks=tracks.nan_to_num(0.0, 0.0, 0.0), visible=visible, valid=valid)


class FileTeacher:
    """A file of predictions for the same clips (eval/predictions.py); its own queries are asked, not the batch's.

    Only visible points count, as with TAPIR in CoTracker3's recipe; with query mode `first` from the query on.
    """

    def __init__(self, name: str, path: Path, store: ClipStore):
        """Raises ValueError for a file that lacks one of the clips."""
        self.name, self.store, self.predictions = name, store, Predictions(path)
        missing = sorted(set(store.keys) - set(self.predictions.names))
        if missing:
            raise ValueError(
                f"{path}: no predictions for clip {missing[0]} of {store.path} ({len(missing)} are missing); predict "
                "all of its clips, under their keys"
            )

    def label(self, batch: Batch, rng: np.random.Generator) -> Labels:
        """The file's tracks in the window and the crop of each sample; nothing counts where none begins there."""
        rows = [self._label_one({name: value[b].cpu().numpy() for name, value in batch.items()}, rng)
                for b in range(len(batch["video"]))]  # fmt: skip
        device = batch["video"].device
        columns = (torch.from_numpy(np.stack(column)).to(device) for column in zip(*rows, strict=True))
        return Labels(**dict(zip(("queries", "tracks", "visible", "valid"), columns, strict=True)))

    def _label_one(self, sample: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        num_frames, height, width = sample["video"].shape[:3]
        num_points, own = len(sample["queries"]), self._read(int(sample["clip"]))
        first, stride = sample["frames"].tolist()
        window = first + stride * np.arange(num_frames)
        factor, offset = np.moveaxis(sample["placing"], 1, 0)  # (T, 2) each
        row = self.store.row(int(sample["clip"]))
        pixels = np.array([row["width"], row["height"]]) / RESOLUTION
        tracks = own.tracks[:, window].transpose(1, 0, 2) * pixels * factor[:, None] + offset[:, None]  # (T, N', 2)
        visible = ~own.occluded[:, window].T & is_inside(tracks, width, height)
        asked = np.round(own.query_points[:, 0]).astype(int)  # (N',) frames of the clip
        place = np.clip((asked - first) // stride, 0, num_frames - 1)  # (N',) frames of the window
        xy = own.query_points[:, [2, 1]] * pixels * factor[place] + offset[place]
        usable = np.flatnonzero((window[place] == asked) & is_inside(xy, width, height))
        if not len(usable):
            nothing = np.zeros((num_frames, num_points), bool)
            return sample["queries"], np.zeros((*nothing.shape, 2), np.float32), nothing, nothing
        chosen = rng.choice(usable, num_points, replace=len(usable) < num_points)
        queries = np.concatenate([place[chosen, None], xy[chosen]], 1).astype(np.float32)
        visible = visible[:, chosen]
        begun = np.arange(num_frames)[:, None] >= place[chosen]
        valid = visible & begun if self.predictions.query_mode == "first" else visible
        return queries, tracks[:, chosen].astype(np.float32), visible, valid

    def _read(self, number: int) -> VideoPrediction:
        key, num_frames = self.store.keys[number], self.store.row(number)["num_frames"]
        video = self.predictions.video(key)
        if video.tracks.shape[1] != num_frames:
            raise ValueError(
                f"{self.predictions.path}: {key} has {video.tracks.shape[1]} frames, the clip has {num_frames}; "
                f"predict the clips of {self.store.path}"
            )
        return video
