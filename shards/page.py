"""A page of clips that needs nothing but itself: moving pictures with tracks, depth, and what is known of each clip."""

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from shards.clip import Clip
from shards.driving.drive import Drive
from shards.film import draw_frames, encode_webp, frame_rate, spread
from shards.people.person import Person
from shards.store import ClipStore

SIDE = 320
DEPTH_FRAMES, DEPTH_SIDE, GAP = 4, 160, 4

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60666e; --page: #f6f6f4; --card: #fff; --line: #dcdcd8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --soft: #9aa1a9; --page: #131517; --card: #1c1f22; --line: #33383d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem; max-width: 76rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
p { margin: .25rem 0 1rem; color: var(--soft); overflow-wrap: anywhere; }
main { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
article { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem; min-width: 0; }
img { display: block; width: 100%; height: auto; border-radius: 4px; }
figure { margin: .6rem 0 0; }
figcaption { color: var(--soft); font-size: .82rem; margin-top: .2rem; }
table { width: 100%; border-collapse: collapse; margin-top: .7rem; font-size: .88rem; }
th { text-align: left; font-weight: 500; color: var(--soft); padding: .15rem .8rem .15rem 0; white-space: nowrap;
  vertical-align: top; }
td { padding: .15rem 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
pre { overflow: auto; font-size: .8rem; background: var(--card); border: 1px solid var(--line); padding: .6rem; }
summary { cursor: pointer; color: var(--soft); }
"""


def make_page(store: ClipStore, numbers: Sequence[int], *, num_points: int = 40) -> str:
    """HTML of the clips of those numbers; pictures and style are inside. ValueError for clips that cannot be read."""
    total = store.summary
    facts = (
        f"{_count(total['num_clips'], 'clip')}, {_count(total['num_frames'], 'frame')}, {total['bytes'] / 1e6:.1f} MB"
    )
    depth = f" and {total['depth_bytes'] / 1e6:.1f} MB of depth" if total["depth_bytes"] else ""
    shown = f"{len(numbers)} of them below" if len(numbers) < len(store) else "all of them below"
    recipe = html.escape(json.dumps(total["recipe"], indent=1))
    clips = "\n".join(_make_article(store, number, num_points) for number in numbers)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(store.dataset)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(store.dataset)}</h1>
<p>{facts}{depth}; {shown}. A filled dot is a visible point, a ring a hidden one; each point keeps its hue.</p>
<main>
{clips}
</main>
<details><summary>Recipe</summary><pre>{recipe}</pre></details>
<p>index sha256 {store.sha256}</p>
</body>
</html>
"""


def _make_article(store: ClipStore, number: int, num_points: int) -> str:
    row = store.row(number)
    clip = store.read(number, with_depth="depth_range_m" in row)
    drawn = list(draw_frames(clip, side=SIDE, num_points=num_points))
    film = _picture(encode_webp(drawn, frame_rate(clip)), drawn[0], f"{clip.key} with its tracks")
    still = encode_webp(drawn[:1], frame_rate(clip))
    facts = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in _facts_of(row, clip)
    )
    return f"""<article>
<h2>{html.escape(clip.key)}</h2>
<picture><source media="(prefers-reduced-motion: reduce)" srcset="{_data_url(still)}">{film}</picture>
{_make_depth_strip(clip)}<table>{facts}</table>
</article>"""


def _facts_of(row: dict[str, Any], clip: Clip) -> Iterable[tuple[str, Any]]:
    """What the table says of a clip: of what the index and the metadata hold, what is there."""
    yield "frames", f"{row['num_frames']} of {row['width']} x {row['height']}, {float(frame_rate(clip)):g} a second"
    yield "tracks", f"{row['num_tracks']}, {100 * row['visible_share']:.0f} % visible"
    if clip.object_id is not None:
        yield "points on", f"{len(set(clip.object_id.tolist()) - {0})} objects"
    if clip.person is not None:
        yield from _facts_of_person(clip.person)
    if clip.drive is not None:
        yield from _facts_of_drive(clip.drive)
    yield "stored as", f"{row['codec']} in {row['shard']}"
    for name in ("seed", "attempt"):
        if name in row:
            yield name, row[name]
    scene = clip.metadata.get("scene")
    if isinstance(scene, dict):
        for name in ("hdri", "camera", "motion_blur"):
            if isinstance(scene.get(name), str | int | float):
                value = scene[name]
                yield name.replace("_", " "), f"{value:.3g}" if isinstance(value, float) else value
    if row.get("assets"):
        yield "assets", ", ".join(row["assets"])


def _facts_of_person(person: Person) -> Iterable[tuple[str, str]]:
    distance_m, focal_px = person.pelvis_m[:, 2], person.focal_px
    yield "pelvis", f"{distance_m.min():.2f} to {distance_m.max():.2f} m from the camera, along its axis"
    yield "focal length", f"{focal_px.min():.0f} to {focal_px.max():.0f} pixels"
    yield "body", person.body


def _facts_of_drive(drive: Drive) -> Iterable[tuple[str, str]]:
    yield "drive", f"{drive.times_s[-1] - drive.times_s[0]:.2f} s"
    if drive.speed_mps is not None:
        yield "speed", f"{drive.speed_mps.min():.1f} to {drive.speed_mps.max():.1f} m/s"
    if drive.yaw_rate_radps is not None:
        turned = np.degrees(np.trapezoid(drive.yaw_rate_radps, drive.times_s))
        yield "turned", f"{abs(turned):.0f} degrees to the {'left' if turned > 0 else 'right'}"
    if drive.commands is not None:
        names = dict.fromkeys(name for name in drive.commands if name is not None)
        yield "commands", ", ".join(f"{name} in {drive.commands.count(name)} frames" for name in names) or "none"


def _make_depth_strip(clip: Clip) -> str:
    """Evenly spaced depth maps side by side, logarithmic, near is bright; nothing for a clip without depth."""
    if clip.depth_m is None:
        return ""
    depth_m = clip.depth_m[spread(len(clip.depth_m), DEPTH_FRAMES)]  # (T, H, W)
    near, far = float(clip.depth_m.min()), float(clip.depth_m.max())
    share = np.log(far / depth_m) / max(np.log(far / near), 1e-6)  # 1 near, 0 far
    scale = DEPTH_SIDE / max(depth_m.shape[1:])
    size = tuple(max(1, round(length * scale)) for length in depth_m.shape[:0:-1])
    maps = [cv2.resize(np.rint(255 * one).astype(np.uint8), size, interpolation=cv2.INTER_AREA) for one in share]
    coloured = [cv2.applyColorMap(one, cv2.COLORMAP_INFERNO)[..., ::-1] for one in maps]
    strip = np.concatenate([np.pad(one, ((0, 0), (0, GAP), (0, 0))) for one in coloured], 1)[:, :-GAP]
    buffer = io.BytesIO()
    Image.fromarray(strip).save(buffer, "webp", quality=85)
    picture = _picture(buffer.getvalue(), strip, f"depth of {clip.key}")
    caption = f"depth: bright is near ({near:.1f} m), dark is far ({far:.1f} m)"
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>\n"


def _picture(content: bytes, image: np.ndarray, alternative: str) -> str:
    height, width = image.shape[:2]
    return f'<img src="{_data_url(content)}" width="{width}" height="{height}" alt="{html.escape(alternative)}">'


def _data_url(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"
