"""Where the renderer's CPU-seconds go: `python benchmarks/render_cost.py --out DIR [--part cost ...]`.

Every run is a process of its own on one core (`processes`: on all) and writes DIR/<run>/result.json; one that is there
is not repeated, so the tables can be printed again. The scene is the same in all runs. PSNR is of the 8-bit frames
against 1024 samples without denoising, and with Blender's own importance map.

parts:
  cost       CPU-seconds a frame by resolution and samples, and what is spent outside path tracing
  shard      the same of whole clips, several by one process
  parts      what single settings cost: denoiser, importance map, EXR, one sample
  quality    PSNR to 1024 samples, by samples, denoiser and importance map
  kubric     the same scene and samples by Kubric's own settings and by ours, in turn
  processes  one process with two threads against two with one thread
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from generation.config import parse_recipe
from generation.environment import renderer_environment

STAGE = Path(__file__).with_name("render_stage.py")
GRID = ((128, 4), (128, 16), (128, 64), (256, 4), (256, 16), (256, 64), (512, 16), (512, 64))
SEED, NUM_FRAMES = 3, 3
CLIP = 24
REFERENCE_SAMPLES = 1024
QUALITY_WORDS = (
    "denoise_prefilter=accurate",
    "denoise_prefilter=fast",
    "denoise_quality=fast",
    "denoise=false",
    "world_map=512",
    "world_map=4096",
)
SHARP = ("max_motion_blur=0.0",)


class Bench:
    """Runs of one scene, kept in a folder."""

    def __init__(self, options: argparse.Namespace):
        self.options = options

    def run(self, words: tuple[str, ...], *, way: str = "ours", threads: int = 1, affinity: int = 1, copy: str = "",
            writes_exr: bool = True, num_clips: int = 1) -> dict[str, Any]:  # fmt: skip
        """CPU-seconds by phase of one process, and its wall time; from its file where it ran before."""
        name = "-".join(
            [way, *(w.replace("=", "") for w in words), f"{threads}t{affinity}c", *(["noexr"] * (not writes_exr)),
             *([f"{num_clips}clips"] * (num_clips > 1))]
        )  # fmt: skip
        out = self.options.out / (name + copy)
        if (out / "result.json").is_file():
            return json.loads((out / "result.json").read_text())
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        config = parse_recipe("movi_f", (f"num_frames={NUM_FRAMES}", *SHARP, *words))
        job = {"recipe": asdict(config), "seeds": list(range(SEED, SEED + num_clips)), "out": str(out), "way": way,
               "assets": str(self.options.assets), "threads": threads, "affinity": affinity,
               "writes_exr": writes_exr}  # fmt: skip
        (out / "job.json").write_text(json.dumps(job))
        command = [str(self.options.renderer), "-P", "-s", str(STAGE), str(out / "job.json")]
        began = time.monotonic()
        # Kubric sets no threads of its own: its process gets what a shell would give it.
        environment = renderer_environment(threads) if way == "ours" else None
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        if result.returncode:
            sys.exit(f"{name}: {result.stderr.strip().splitlines()[-1]}")
        spent = json.loads(result.stdout.strip().splitlines()[-1]) | {"wall": time.monotonic() - began}
        for leftover in (*out.glob("*/scratch"), *out.glob("*/layers")):
            shutil.rmtree(leftover)
        (out / "result.json").write_text(json.dumps(spent))
        totals = {phase: round(value, 2) for phase, value in spent.items() if phase != "frames"}
        print(f"{name}: {totals}", file=sys.stderr, flush=True)
        return spent | {"name": name}

    def frames_of(self, words: tuple[str, ...], way: str = "ours") -> np.ndarray:
        """The run's pictures (T, H, W, 3)."""
        self.run(words, way=way)
        folder = self.options.out / "-".join([way, *(w.replace("=", "") for w in words), "1t1c"])
        return np.stack([iio.imread(path) for path in sorted(folder.glob(f"{SEED}/clip/frames/*.png"))])


def sweeps(spent: dict[str, Any], num_frames: int = NUM_FRAMES) -> list[np.ndarray]:
    """CPU-seconds of the frames inside Blender: of the annotation and of the picture; Kubric's way has both in one."""
    return np.split(np.array(spent["frames"]), len(spent["frames"]) // num_frames)


def a_frame(spent: dict[str, Any]) -> float:
    """CPU-seconds of a frame inside Blender, when the first one is done."""
    return sum(float(frames[1:].mean()) for frames in sweeps(spent))


def first_frames(spent: dict[str, Any]) -> float:
    """CPU-seconds that the first frames take beyond the others."""
    return sum(float(frames[0] - frames[1:].mean()) for frames in sweeps(spent))


def files_of_a_frame(spent: dict[str, Any]) -> float:
    """CPU-seconds of reading Blender's files and writing ours, a frame."""
    return (spent["read EXR"] + spent["write clip"]) / NUM_FRAMES


def start_of(spent: dict[str, Any]) -> float:
    """CPU-seconds before the first frame."""
    return spent["import"] + spent["scene and physics"]


def whole_clip(spent: dict[str, Any]) -> float:
    """CPU-seconds of a clip of 24 frames."""
    return start_of(spent) + first_frames(spent) + CLIP * (a_frame(spent) + files_of_a_frame(spent))


def size(resolution: int, samples: int) -> tuple[str, str]:
    return f"resolution={resolution}", f"samples_per_pixel={samples}"


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures, dB."""
    return float(10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other) ** 2)))


def show(header: list[str], rows: list[list[Any]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(f"{each:.2f}" if isinstance(each, float) else str(each) for each in row) + " |")
    print(flush=True)


def part_cost(bench: Bench) -> None:
    """CPU-seconds a frame; a clip of 24 frames; the share outside path tracing."""
    rows = []
    for resolution, samples in GRID:
        spent = bench.run(size(resolution, samples))
        bare = (*size(resolution, 1), "denoise=false")
        least, silent = bench.run(bare), bench.run(bare, writes_exr=False)
        exr, clip = max(0.0, a_frame(least) - a_frame(silent)), whole_clip(spent)
        once, annotation = first_frames(least), float(sweeps(least)[0][1:].mean())
        outside = start_of(spent) + CLIP * (files_of_a_frame(spent) + exr)
        row = [f"{resolution}x{resolution}", samples, a_frame(spent), annotation, exr, files_of_a_frame(spent)]
        row += [start_of(spent), once, clip, f"{outside / clip:.1%}", f"{(outside + once) / clip:.1%}"]
        rows.append(row)
    show(["size", "samples", "render a frame", "of it annotation", "of it EXR", "read and write a frame",
          "start, scene, physics", "first frame's more", "clip of 24 frames", "outside Blender",
          "and first frame's more"], rows)  # fmt: skip


def part_shard(bench: Bench) -> None:
    """Whole clips that one process makes one after the other, as `python -m generation movi_f --seeds` does."""
    num_clips, length = bench.options.clips, f"num_frames={CLIP}"
    spent = bench.run((length, *size(128, 16)), num_clips=num_clips)
    bare = (length, *size(128, 1), "denoise=false")
    least, silent = (bench.run(bare, num_clips=num_clips, writes_exr=writes) for writes in (True, False))
    parts = {name: spent[name] for name in ("import", "scene and physics", "read EXR", "write clip")}
    whole = sum(spent["frames"]) + sum(parts.values())
    parts["first frames' more"] = sum(float(frames[0] - frames[1:].mean()) for frames in sweeps(spent, CLIP))
    parts["writing EXR"] = max(0.0, sum(least["frames"]) - sum(silent["frames"]))
    outside = sum(parts.values())
    parts |= {"**all of these**": outside, "path tracing, denoiser": whole - outside, "a clip": whole}
    rows = [[name, seconds / num_clips, f"{seconds / whole:.1%}"] for name, seconds in parts.items()]
    show(["128x128, 16 samples", "CPU-s a clip", "share"], rows)


def part_parts(bench: Bench) -> None:
    """What single settings cost, as differences of runs."""
    rows = []
    for resolution in (128, 256, 512):
        base, bare = size(resolution, 16), (*size(resolution, 1), "denoise=false")
        full, plain, one = bench.run(base), bench.run((*base, "denoise=false")), bench.run(bare)
        per_sample = (a_frame(plain) - a_frame(one)) / 15
        row = [f"{resolution}x{resolution}", a_frame(full), per_sample, a_frame(one) - per_sample]
        row.append(a_frame(full) - a_frame(plain))
        changes = ("denoise_prefilter=accurate", "denoise_quality=fast", "max_bounces=3")
        row += [a_frame(bench.run((*base, word))) - a_frame(full) for word in changes]
        maps = ("world_map=512", "world_map=1024", "world_map=4096")
        row += [first_frames(bench.run((*bare, word))) - first_frames(one) for word in maps]
        rows.append(row)
    header = ["size, 16 samples", "whole", "one sample", "all but samples", "denoiser", "guides cleaned first",
              "fast denoiser", "3 bounces, not 12", "map of 512, a clip", "map of 1024, a clip",
              "map of 4096, a clip"]  # fmt: skip
    show(header, rows)


def part_quality(bench: Bench) -> None:
    """PSNR to the reference."""
    rows = []
    for resolution in bench.options.sides:
        reference = bench.frames_of((*size(resolution, REFERENCE_SAMPLES), "denoise=false", "world_map=4096"))
        for samples in (4, 16, 64):
            for words in ((), *((word,) for word in QUALITY_WORDS)):
                spent = bench.run((*size(resolution, samples), *words))
                value = psnr(bench.frames_of((*size(resolution, samples), *words)), reference)
                rows.append(
                    [f"{resolution}x{resolution}", samples, ", ".join(words) or "default", a_frame(spent), value]
                )
    show(["size", "samples", "setting", "CPU-s a frame", "PSNR, dB"], rows)


def part_kubric(bench: Bench) -> None:
    """Both ways on one core in turn, the least of `repeats`; and Kubric's on all cores, as it starts by itself."""
    rows = []
    for resolution, samples in ((128, 16), (256, 64)):
        words = size(resolution, samples)
        totals: dict[str, list[float]] = {"kubric": [], "ours": []}
        for repeat in range(bench.options.repeats):
            for way in totals:
                spent = bench.run(words, way=way, copy=f"-{repeat}" if repeat else "")
                totals[way].append(whole_clip(spent))
        free = whole_clip(bench.run(words, way="kubric", affinity=0))
        reference = bench.frames_of((*size(resolution, REFERENCE_SAMPLES), "denoise=false", "world_map=4096"))
        pictures = [bench.frames_of(words, way) for way in totals]
        quality = [psnr(each, reference) for each in pictures]
        draw_side_by_side(bench.options.out / f"side_by_side_{resolution}_{samples}.png", *pictures, reference)
        kubric, ours = (min(values) for values in totals.values())
        rows.append([f"{resolution}x{resolution}, {samples}", kubric, ours, f"{kubric / ours:.2f}", free, *quality])
    show(["size, samples", "Kubric's settings, CPU-s a clip of 24", "ours", "ratio", "Kubric's on all cores",
          "PSNR Kubric's", "PSNR ours"], rows)  # fmt: skip


def draw_side_by_side(out: Path, kubric: np.ndarray, ours: np.ndarray, reference: np.ndarray) -> None:
    """One frame by Kubric's settings, by ours, of the reference, and eight times the difference of the first two."""
    middle = len(ours) // 2
    difference = np.abs(kubric[middle].astype(int) - ours[middle]) * 8
    panels = [kubric[middle], ours[middle], reference[middle], difference.clip(0, 255).astype(np.uint8)]
    factor = max(1, 384 // ours.shape[1])
    iio.imwrite(out, np.concatenate(panels, 1).repeat(factor, 0).repeat(factor, 1))


def part_processes(bench: Bench) -> None:
    """Two clips on all cores: one after the other with two threads, or side by side with one."""
    rows = []
    for resolution, samples in ((128, 4), (128, 16), (256, 16)):
        words = size(resolution, samples)
        one_after_other = [bench.run(words, threads=2, affinity=0, copy=f"-{i}") for i in range(2)]
        with ThreadPoolExecutor(2) as pool:
            side_by_side = list(
                pool.map(lambda i, words=words: bench.run(words, threads=1, affinity=0, copy=f"-{i}"), range(2))
            )
        cpu = [
            sum(start_of(s) + sum(s[k] for k in ("render", "read EXR", "write clip")) for s in runs)
            for runs in (one_after_other, side_by_side)
        ]
        walls = [sum(s["wall"] for s in one_after_other), max(s["wall"] for s in side_by_side)]
        rows.append([f"{resolution}x{resolution}, {samples}", *cpu, *walls, f"{walls[0] / walls[1]:.2f}"])
    show(["size, samples", "CPU-s, 1 process x 2 threads", "2 processes x 1 thread", "wall s", "wall s", "ratio"], rows)


PARTS = {
    "cost": part_cost,
    "shard": part_shard,
    "parts": part_parts,
    "quality": part_quality,
    "kubric": part_kubric,
    "processes": part_processes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renderer", type=Path, default=Path("data/envs/render/bin/python"))
    parser.add_argument("--assets", type=Path, default=Path("data/assets/open"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sides", nargs="+", type=int, default=[128, 256], help="resolutions of the quality table")
    parser.add_argument("--repeats", type=int, default=2, help="of the comparison with Kubric's settings")
    parser.add_argument("--clips", type=int, default=4, help="that one process makes, of the table of a shard")
    options = parser.parse_args()
    options.out, options.assets = options.out.absolute(), options.assets.absolute()
    options.renderer = options.renderer.absolute()  # a link to an interpreter must stay one
    for part in options.part:
        print(f"## {part}: {PARTS[part].__doc__}\n")
        PARTS[part](Bench(options))


if __name__ == "__main__":
    main()
