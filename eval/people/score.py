"""Predictions of people + truth -> score json: metrics of every clip, by distance, with intervals, and what failed.

A frame whose camera cannot be solved has no errors of f and T_xy, and its masks agree in nothing: mIoU and P-mIoU are
0 there. It is counted and listed. Intervals are over clips, each of which is one body in one pose: frames of a clip are
no independent draws.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np

from eval.people.metrics import LIMBS, METRICS, align, depth_errors, mask_iou, mean_distance, part_iou
from eval.people.predictions import PeoplePredictions, PersonPrediction
from eval.people.solver import Solved, solve_cameras
from eval.people.summary import summarize
from eval.people.truth import PeopleTruth
from shards.files import write_text
from shards.people.body import Body, pose_body
from shards.people.person import Person
from shards.people.raster import draw, parts_seen

FORMAT = "frameline-people-score/1"
FIELDS = (
    "benchmark", "model", "condition", "body", "truth_sha256", "mean", "interval", "by_distance", "clips", "num_failed",
)  # fmt: skip
"""What every score has."""
MOST_LISTED = 1000
"""Failures that are listed one by one; all are counted."""


def score_people(
    predictions_path: str | Path, index: str | Path, body_path: str | Path, *, most_failed: float = 0.5, seed: int = 0
) -> dict:
    """Score predictions against the truth that they were made for; returns the content of the score json.

    most_failed: the share of frames whose camera may fail. Raises ValueError when there are more, and for predictions
    of another truth or body, of other clips, or of another number of frames.
    """
    truth, predictions = PeopleTruth(index, body_path), PeoplePredictions(predictions_path)
    check_same(predictions, truth)
    names, depths, found, failed = [], [], [], []
    for name, person, size in truth.people():
        values, reasons = score_clip(truth.body, person, predictions.clip(name), size, where=str(predictions.path))
        names += [name] * len(reasons)
        depths.append(person.pelvis_m[:, 2])
        found.append(values)
        failed += [{"clip": name, "frame": t, "reason": str(why)} for t, why in enumerate(reasons) if why]
    _check_failures(failed, len(names), most_failed, predictions)
    metrics = _shared_metrics(found, predictions)
    values = {metric: np.concatenate([each[metric] for each in found]) for metric in metrics}
    return {
        "format": FORMAT,
        "benchmark": truth.dataset,
        "model": predictions.model,
        "condition": predictions.condition,
        "body": {"name": truth.body.name, "digest": truth.body.digest, "num_vertices": len(truth.body.template_m)},
        "truth_sha256": truth.sha256,
        "predictions_sha256": hashlib.sha256(predictions.path.read_bytes()).hexdigest(),
        "num_clips": len(truth.names),
        "num_frames": len(names),
        **summarize(values, np.array(names), np.concatenate(depths), seed),
        "num_failed": len(failed),
        "failures": dict(Counter(failure["reason"] for failure in failed)),
        "failed": failed[:MOST_LISTED],
    }


def check_same(predictions: PeoplePredictions, truth: PeopleTruth) -> None:
    """Raise ValueError for predictions of another truth, another body or other clips."""
    for what, said, known in (
        ("truth", predictions.truth_sha256, truth.sha256),
        ("body", predictions.body, truth.body.digest),
    ):
        if said != known:
            raise ValueError(
                f"{predictions.path}: made for another {what} ({said[:12]}..., this one is {known[:12]}...); predict "
                f"again with --truth {truth.path} --body {truth.body_path}"
            )
    if other := sorted(set(truth.names) ^ set(predictions.names)):
        raise ValueError(
            f"{predictions.path}: {len(other)} clips are in it or in {truth.path} alone, such as {other[0]!r}; "
            "predict every clip again"
        )


def score_clip(
    body: Body, person: Person, prediction: PersonPrediction, size: tuple[int, int], *, where: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Metrics (T,) of the frames of one clip of pictures (H, W), and why cameras failed (T,), empty where they did not.

    Metrics that need what is not predicted are missing. Raises ValueError that begins with `where`.
    """
    num_frames = len(person.focal_px)
    if len(prediction.depth_m) != num_frames:
        raise ValueError(f"{where}: {prediction.name} has {len(prediction.depth_m)} frames, the truth {num_frames}")
    values = depth_errors(prediction.depth_m.astype(np.float64), person.pelvis_m[:, 2].astype(np.float64))
    no_failure = np.full(num_frames, "")
    if prediction.rotations is None:
        return values, no_failure
    try:
        posed = pose_body(body, prediction.shape, prediction.rotations)
    except ValueError as error:
        raise ValueError(f"{where}: {prediction.name}: {error}; predict again") from None
    true = pose_body(body, person.shape, person.rotations)
    limbs = [body.joint(name) for name in LIMBS]
    values["aligned_joint_error"] = mean_distance(
        align(posed.joints_m[:, limbs], true.joints_m[:, limbs]), true.joints_m[:, limbs]
    )
    values["joint_error"] = mean_distance(posed.joints_m[:, limbs], true.joints_m[:, limbs])
    values["vertex_error"] = mean_distance(posed.vertices_m, true.vertices_m)
    if prediction.joints_px is None:
        return values, no_failure
    solved = solve_prediction(posed.joints_m, prediction, size)
    focal, pelvis = person.focal_px.astype(np.float64), person.pelvis_m.astype(np.float64)
    values["focal_error"] = np.abs(solved.focal_px - focal) / focal
    values["place_error"] = np.linalg.norm(solved.pelvis_m[:, :2] - pelvis[:, :2], axis=1)
    pairs = zip(see(body, posed.vertices_m, solved, size), see_true(body, true.vertices_m, person, size), strict=True)
    ious = [(mask_iou(ours > 0, theirs > 0), part_iou(ours, theirs)) for ours, theirs in pairs]
    values["mask_iou"], values["part_iou"] = np.array(ious).T
    return values, solved.reason


def solve_prediction(joints_m: np.ndarray, prediction: PersonPrediction, size: tuple[int, int]) -> Solved:
    """The cameras (T,) of a prediction from its posed joints (T, J, 3), pelvis at the origin."""
    width_height = np.tile(size[::-1], (len(joints_m), 1))
    return solve_cameras(joints_m, prediction.depth_m, prediction.joints_px, prediction.joints_score, width_height)


def see(body: Body, vertices_m: np.ndarray, solved: Solved, size: tuple[int, int]) -> list[np.ndarray]:
    """Part ids (H, W) of meshes (T, V, 3), pelvis at the origin, by solved cameras; none of a camera that failed."""
    centre = np.array(size[::-1]) / 2
    return [
        _parts(body, vertices + pelvis, focal, centre, size) if is_solved else np.zeros(size, np.uint8)
        for vertices, pelvis, focal, is_solved in zip(
            vertices_m, solved.pelvis_m, solved.focal_px, solved.is_solved, strict=True
        )
    ]


def see_true(body: Body, vertices_m: np.ndarray, person: Person, size: tuple[int, int]) -> list[np.ndarray]:
    """Part ids (H, W) of the true meshes (T, V, 3), pelvis at the origin, by the true cameras."""
    cameras = zip(vertices_m, person.pelvis_m, person.focal_px, person.centre_px, strict=True)
    return [_parts(body, vertices + pelvis, focal, centre, size) for vertices, pelvis, focal, centre in cameras]


def _parts(body: Body, vertices_m: np.ndarray, focal_px: float, centre_px: np.ndarray, size: tuple[int, int]):
    return parts_seen(draw(vertices_m, body.faces, float(focal_px), centre_px, size), body.parts)


def _check_failures(failed: list[dict], num_frames: int, most_failed: float, predictions: PeoplePredictions) -> None:
    share = len(failed) / num_frames
    if share > most_failed:
        first = failed[0]
        raise ValueError(
            f"{predictions.path}: the camera of {share:.0%} of the frames cannot be solved, more than "
            f"{most_failed:.0%} (--most-failed), such as {first['clip']} frame {first['frame']}: {first['reason']}"
        )


def _shared_metrics(found: list[dict[str, np.ndarray]], predictions: PeoplePredictions) -> list[str]:
    """The metrics of all clips, in the order of the tables; ValueError where some clips have others."""
    if any(each.keys() != found[0].keys() for each in found):
        raise ValueError(f"{predictions.path}: some clips have a pose or 2D joints and others not; predict again")
    return [metric for metric in METRICS if metric in found[0]]


def write_people_score(score: dict, path: str | Path) -> Path:
    """Write a score as json, atomically."""
    return write_text(Path(path), json.dumps(score, indent=1, allow_nan=False) + "\n")


def read_people_score(path: str | Path) -> dict:
    """Read a score json of people; raises ValueError when the file is not one."""
    try:
        score = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not valid json ({error}); score again (python -m eval people-score)") from None
    if not isinstance(score, dict) or score.get("format") != FORMAT:
        raise ValueError(f"{path}: not a {FORMAT} file; make one by `python -m eval people-score`")
    missing = [name for name in FIELDS if name not in score]
    if missing:
        raise ValueError(f"{path}: `{missing[0]}` is missing; score again (python -m eval people-score)")
    return score
