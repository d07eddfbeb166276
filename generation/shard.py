"""The parent's side of rendering: a child process makes the clips; what is interrupted never looks complete."""

import errno
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from generation import environment, folder
from generation.config import MoviConfig, digest_of
from generation.driving.config import DriveConfig
from generation.fingerprint import fingerprint
from generation.preflight import check_system_libraries
from generation.sources import sha256_of_pack
from generation.worker import RenderWorker

FORMAT = "frameline-clips/1"
RENDER_MODULES = (
    "compat", "exr", "folder", "geometry", "motion", "murmur", "passes", "render", "renderer", "scene",
    "simulation", "sources", "world",
)  # fmt: skip
"""Whose code decides a clip's bytes; what the recipe holds is in the digest by its values."""
DRIVE_MODULES = (
    "compat", "folder", "sources", "textures", "driving/houses", "driving/motion", "driving/painting", "driving/paths",
    "driving/render", "driving/roads", "driving/solids", "driving/stage", "driving/street", "driving/surfaces",
    "driving/things",
)  # fmt: skip
"""The same of a drive."""
NUM_ATTEMPTS = 4
"""The seed itself and three sub-seeds, where a scene makes no clip."""
EXIT_DEGENERATE, EXIT_NO_SPACE, EXIT_BAD_ASSET = 3, 4, 5
NOISE = ("Error: Not freed memory blocks", "Warning: region type", "Read prefs", "Saved:", " Time:")
"""Blender's lines that tell a user nothing."""


class RenderError(Exception):
    """A clip could not be rendered; the message is one line, `exit_code` the command's."""

    def __init__(self, message: str, exit_code: int = 1):
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Where and with what clips are rendered."""

    renderer: Path
    assets: Path
    out: Path
    threads: int = 1


@dataclass(frozen=True)
class Maker:
    """The module of the renderer's process that makes clips of a kind of recipe, and whose code decides their bytes."""

    module: str
    modules: tuple[str, ...]


MAKERS: dict[type, Maker] = {
    MoviConfig: Maker("render", RENDER_MODULES),
    DriveConfig: Maker("driving.render", DRIVE_MODULES),
}


def render_clips(
    config: MoviConfig | DriveConfig, seeds: list[int], dataset: str, studio: Studio, done: Path | None
) -> list[Path]:
    """Render the clips that are not complete yet; returns all their folders and writes `done` last.

    Raises ValueError for what the user can mend, MissingLibrariesError and RenderError.
    """
    studio.out.mkdir(parents=True, exist_ok=True)
    maker, temporary = MAKERS[type(config)], studio.out / folder.temporary_name("renderer")
    making = {
        "assets": sha256_of_pack(studio.assets),
        "code": fingerprint(maker.modules),
        "versions": environment.installed_versions(studio.renderer),
    }
    check_system_libraries(studio.renderer)
    folder.remove_leftovers(studio.out)
    wanted = {seed: digest_of(config, seed, making) for seed in seeds}
    keys = {seed: f"{dataset}-{seed:06d}" for seed in seeds}
    missing = [seed for seed in seeds if not folder.is_complete(studio.out / keys[seed], wanted[seed])]
    if len(missing) < len(seeds):
        print(f"{dataset}: {len(seeds) - len(missing)} of {len(seeds)} clips are complete already", flush=True)
    start = time.monotonic()
    with RenderWorker(studio.renderer, temporary, studio.threads, maker.module) as worker:
        for number, seed in enumerate(missing, start=1):
            before = time.monotonic()
            render_one(config, seed, keys[seed], wanted[seed], studio, worker)
            now = time.monotonic()
            remaining = (now - start) / number * (len(missing) - number)
            print(
                f"{keys[seed]}: {config.num_frames} frames in {now - before:.1f} s ({number}/{len(missing)}, "
                f"{remaining / 60:.1f} min left)",
                flush=True,
            )
    folders = [studio.out / keys[seed] for seed in seeds]
    if done:
        write_done(done, dataset, folders)
    return folders


def write_done(done: Path, dataset: str, folders: list[Path]) -> None:
    """List finished clips with the sha256 of their manifests; paths are relative to the list."""
    base = done.absolute().parent
    clips = [
        {
            "key": clip.name,
            "path": os.path.relpath(clip.absolute(), base),
            "manifest_sha256": folder.manifest_sha256(clip),
        }
        for clip in folders
    ]
    environment.write_json(done, {"format": FORMAT, "dataset": dataset, "clips": clips})


def render_one(config: Any, seed: int, key: str, digest: str, studio: Studio, worker: RenderWorker) -> None:
    """Render one clip of a recipe, a dataclass, with the next sub-seed where a scene makes none; raises RenderError."""
    reason = ""
    for attempt in range(NUM_ATTEMPTS):
        temporary = studio.out / folder.temporary_name(key)
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / "scratch").mkdir(parents=True)
        try:
            job = {
                "seed": seed,
                "attempt": attempt,
                "recipe": asdict(config),
                "assets": str(studio.assets.absolute()),
                "scratch": str(temporary.absolute() / "scratch"),
                "out": str(temporary.absolute() / "clip"),
                "threads": studio.threads,
                "digest": digest,
            }
            (temporary / "job.json").write_text(json.dumps(job))
            code = worker.run(temporary / "job.json")
            reason = reason_of(code, key, temporary / "render.log", studio)
            if not reason:
                folder.put_in_place(temporary / "clip", studio.out / key, digest)
                (studio.out / f"{key}.log").unlink(missing_ok=True)
                return
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        print(f"{key}: no clip from this scene ({reason}); trying its next sub-seed", file=sys.stderr, flush=True)
    raise RenderError(
        f"{key}: {NUM_ATTEMPTS} scenes of seed {seed} made no clip, the last because {reason}; try another seed",
        EXIT_DEGENERATE,
    )


def reason_of(code: int, key: str, log: Path, studio: Studio) -> str:
    """Why a scene makes no clip, "" for a finished one; raises OSError, ValueError and RenderError for all else."""
    if code == 0:
        return ""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip() and not is_noise(line)]
    if code == EXIT_DEGENERATE:
        return lines[-1].removeprefix("degenerate: ")
    if code == EXIT_NO_SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(studio.out))
    if code == EXIT_BAD_ASSET:
        raise ValueError(lines[-1])
    kept = studio.out / f"{key}.log"
    log.replace(kept)
    raise RenderError(f"{key}: the renderer {describe_exit(code, lines)}; its output is in {kept}")


def is_noise(line: str) -> bool:
    """Whether a line of Blender's tells a user nothing."""
    return any(part in line for part in NOISE)


def describe_exit(code: int, lines: list[str]) -> str:
    """How a child ended: by which signal, or with which last line."""
    if code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        hint = " (often: no memory left)" if -code == signal.SIGKILL else ""
        return f"was killed by {name}{hint}"
    return f"failed with exit code {code}: {lines[-1] if lines else 'no output'}"
