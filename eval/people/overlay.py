"""Predicted meshes drawn over the pictures they were predicted from, with the outline of the true one."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from eval.drawing import BACKGROUND, contact_sheet
from eval.people.predictions import PeoplePredictions, PersonPrediction
from eval.people.score import check_same, score_clip, solve_prediction
from eval.people.table import model_name
from eval.people.truth import PeopleTruth
from eval.protocol import resize_frames
from shards.people.body import Body, pose_body
from shards.people.raster import Drawn, draw, vertex_normals

LONG_SIDE = 320
"""Pixels to which pictures are enlarged, so that a mesh on 64 of them is a mesh."""
COLOR = np.array([0.35, 0.62, 0.95])
OUTLINE = np.array([255, 150, 40], np.uint8)
OPACITY = 0.72
LINE_HEIGHT = 18
SUBJECT = "frameline-overlay"
"""Of the text in the PNG that says what it shows."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One frame to show, and the error that it was chosen by."""

    name: str
    frame: int
    error: float


def draw_overlays(predictions_path: str | Path, index: str | Path, body_path: str | Path, count: int = 3) -> bytes:
    """A PNG of `count` frames, evenly spread from good to bad: the picture, and the predicted mesh drawn over it.

    Orange is the outline of the true mesh. Frames are ranked by the error of the vertices, or of T_z where no pose is
    predicted; neither the best nor the worst is shown. The same files give the same bytes. Raises ValueError as
    scoring does.
    """
    truth, predictions = PeopleTruth(index, body_path), PeoplePredictions(predictions_path)
    check_same(predictions, truth)
    columns = [draw_column(truth, predictions.clip(shown.name), shown) for shown in choose(truth, predictions, count)]
    images = [image for row in zip(*columns, strict=True) for image in row]
    about = PngInfo()
    has_pose = predictions.clip(truth.names[0]).rotations is not None
    model = model_name(predictions.model, predictions.condition, has_pose=has_pose)
    about.add_text(SUBJECT, json.dumps([truth.dataset, model, truth.body.name]))
    content = io.BytesIO()
    contact_sheet(images, num_columns=len(columns)).save(content, "PNG", pnginfo=about)
    return content.getvalue()


def read_subject(content: bytes) -> tuple[str, str, str]:
    """Benchmark, model and body model of a PNG that was drawn here; ValueError for another."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            benchmark, model, body = json.loads(image.text[SUBJECT])
    except (OSError, SyntaxError, KeyError, ValueError) as error:
        raise ValueError(f"no picture of `python -m eval people-overlay` ({error})") from None
    return benchmark, model, body


def choose(truth: PeopleTruth, predictions: PeoplePredictions, count: int) -> list[Shown]:
    """Frames in the middle of `count` equal parts of all frames, which are sorted by their error."""
    found = []
    for name, person, size in truth.people():
        values, _ = score_clip(truth.body, person, predictions.clip(name), size, where=str(predictions.path))
        errors = values.get("vertex_error", values["depth_error"])
        found += [Shown(name=name, frame=t, error=float(error)) for t, error in enumerate(errors)]
    found.sort(key=lambda shown: (shown.error, shown.name, shown.frame))
    count = min(count, len(found))
    return [found[(2 * part + 1) * len(found) // (2 * count)] for part in range(count)]


def draw_column(truth: PeopleTruth, prediction: PersonPrediction, shown: Shown) -> list[Image.Image]:
    """The picture, and below it the same with the mesh over it and what was predicted."""
    clip, t = truth.clip(shown.name), shown.frame
    height, width = clip.video.shape[1:3]
    scale = LONG_SIDE / max(height, width)
    size = round(height * scale), round(width * scale)
    picture = resize_frames(clip.video[t : t + 1], size)[0]
    body, person = truth.body, clip.person.frames([t])
    true = pose_body(body, person.shape, person.rotations, person.pelvis_m).vertices_m[0]
    seen = draw(true, body.faces, float(person.focal_px[0]) * scale, person.centre_px[0] * scale, size)
    one = prediction.frames([t])
    over, lines = picture, [f"T_z {one.depth_m[0]:.2f} m, true {person.pelvis_m[0, 2]:.2f}"]
    if one.rotations is not None:
        posed = pose_body(body, one.shape, one.rotations)
        lines.append(f"vertices {1000 * shown.error:.0f} mm off")
        if one.joints_px is not None:
            solved = solve_prediction(posed.joints_m, one, (height, width))
            if solved.is_solved[0]:
                mesh = posed.vertices_m[0] + solved.pelvis_m[0]
                over = lay_over(picture, body, mesh, float(solved.focal_px[0]) * scale)
            told = f"f {solved.focal_px[0]:.0f} px" if solved.is_solved[0] else f"no camera: {solved.reason[0]}"
            lines.append(f"{told}, true {person.focal_px[0]:.0f}")
    return [write_below(picture, [shown.name, f"frame {t}"]), write_below(add_outline(over, seen), lines)]


def lay_over(picture: np.ndarray, body: Body, vertices_m: np.ndarray, focal_px: float) -> np.ndarray:
    """The picture (H, W, 3) with a shaded mesh over it, lit from the camera; the principal point is its centre."""
    size = picture.shape[:2]
    drawn = draw(vertices_m, body.faces, focal_px, np.array(size[::-1]) / 2, size)
    normals = vertex_normals(vertices_m, body.faces)[body.faces[drawn.face]]  # (H, W, 3 corners, 3)
    facing = -(drawn.weights[..., None] * normals).sum(2)[..., 2]  # (H, W), 1 where the surface looks at the camera
    shaded = 255 * COLOR * (0.25 + 0.75 * facing.clip(0, 1))[..., None]
    opacity = OPACITY * drawn.mask[..., None]
    return np.rint(opacity * shaded + (1 - opacity) * picture).astype(np.uint8)


def add_outline(picture: np.ndarray, seen: Drawn) -> np.ndarray:
    """The picture with the pixels on the inner edge of what is seen in orange."""
    mask = np.pad(seen.mask, 1)
    inside = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    outlined = picture.copy()
    outlined[seen.mask & ~inside] = OUTLINE
    return outlined


def write_below(picture: np.ndarray, lines: list[str]) -> Image.Image:
    """The picture with up to three lines of text below it, in one size whatever the picture's."""
    image = Image.new("RGB", (LONG_SIDE, LONG_SIDE + LINE_HEIGHT * 3 + 4), BACKGROUND)
    image.paste(Image.fromarray(picture))
    draw_text, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for number, line in enumerate(lines):
        at = (6, LONG_SIDE + 2 + LINE_HEIGHT * (number + 0.5))
        draw_text.text(at, line, fill=(235, 238, 242), font=font, anchor="lm")
    return image
