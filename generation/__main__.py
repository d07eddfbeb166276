"""Scenes to annotated clips: python -m generation {environment,check,assets,movi_f,verify,picture}."""

import argparse
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

from generation import environment
from generation.config import parse_overrides
from generation.preflight import MissingLibrariesError, check_system_libraries
from generation.shard import RenderError, Studio, render_clips

RENDERER = Path(os.environ.get("FRAMELINE_RENDERER", "data/envs/render/bin/python"))
ASSETS = Path("data/assets/open")
KEY_HINT = "letters, digits, - and _ only"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code (2 for what the user can mend)."""
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse takes overrides in one place only; people write them between the options too.
    strange = [word for word in rest if word.startswith("-") or not hasattr(options, "overrides")]
    if strange:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    if rest:
        options.overrides += rest
    try:
        return options.run(options)
    except RenderError as error:
        return fail(str(error), error.exit_code)
    except RuntimeError as error:
        return fail(str(error), 1)
    except (ValueError, MissingLibrariesError) as error:
        return fail(str(error), 2)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or getattr(options, "out", "")
            return fail(f"{where}: no space left on the disk; free some and run the same command again", 1)
        return fail(f"{error.filename or ''}: {error.strerror or error}", 2)


def fail(message: str, code: int) -> int:
    """Print a one-line error; returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return code


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="python -m generation", description="Simulated scenes to annotated clips.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("environment", help="build the renderer's own environment")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--marker", type=Path, metavar="JSON", help="also write versions and digest here, at the end")
    command.add_argument("--requirements", type=Path, default=environment.REQUIREMENTS, help="default: %(default)s")
    command.set_defaults(run=run_environment)

    command = commands.add_parser("check", help="are Blender's system libraries there?")
    add_renderer(command)
    command.set_defaults(run=run_check)

    command = commands.add_parser("assets", help="build the open asset pack from the renderer's own packages")
    command.add_argument("--out", type=Path, default=ASSETS, metavar="DIR", help="default: %(default)s")
    command.add_argument("--marker", type=Path, metavar="JSON", help="also write the pack's digest list here")
    command.add_argument("--objects", type=int, default=64, metavar="N", help="at most 700; default: %(default)s")
    add_renderer(command)
    command.set_defaults(run=run_assets)

    command = commands.add_parser(
        "movi_f",
        help="render clips",
        description="Render clips of MOVi-F scenes into OUT/<dataset>-<seed>/. Complete clips are kept.",
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="one clip")
    which.add_argument("--seeds", type=parse_range, metavar="A:B", help="the clips from A up to, not including, B")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--dataset", default="movi_f", help="first part of the clips' names; default: %(default)s")
    command.add_argument("--done", type=Path, metavar="JSON", help="list the finished clips here, at the end")
    command.add_argument("--assets", type=Path, default=ASSETS, metavar="DIR", help="default: %(default)s")
    command.add_argument("--threads", type=int, default=1, help="of the renderer; the bytes do not depend on it")
    add_renderer(command)
    command.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe, e.g. resolution=128")
    command.set_defaults(run=run_movi_f)

    command = commands.add_parser("verify", help="does a clip (rendered with save_passes=true) agree with itself?")
    command.add_argument("folder", type=Path, metavar="DIR")
    command.set_defaults(run=run_verify)

    command = commands.add_parser("picture", help="a frame, its depth, its ids, and tracks over three frames")
    command.add_argument("folder", type=Path, metavar="DIR")
    command.add_argument("--out", type=Path, required=True, metavar="PNG")
    command.set_defaults(run=run_picture)
    return parser


def add_renderer(command: argparse.ArgumentParser) -> None:
    """The option that names the renderer's interpreter."""
    command.add_argument(
        "--renderer",
        type=Path,
        default=RENDERER,
        metavar="PYTHON",
        help="the renderer's interpreter; default: %(default)s",
    )


def parse_range(text: str) -> list[int]:
    """Seeds of A:B; argparse turns the error into its own line."""
    first, colon, end = text.partition(":")
    if not colon or not first.isdigit() or not end.isdigit() or int(first) >= int(end):
        raise argparse.ArgumentTypeError(f"{text!r}: write A:B with A below B, e.g. 0:8")
    return list(range(int(first), int(end)))


def run_environment(options: argparse.Namespace) -> int:
    """Build the renderer's environment."""
    environment.build_environment(options.out, options.marker, options.requirements)
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Look for Blender's system libraries."""
    check_system_libraries(options.renderer if options.renderer.exists() else None)
    print("Blender's system libraries are there")
    return 0


def run_assets(options: argparse.Namespace) -> int:
    """Build the open asset pack."""
    if not 8 <= options.objects <= 700:
        raise ValueError(f"--objects {options.objects}: from 8 to 700")
    environment.installed_versions(options.renderer)  # says how to get a renderer that is missing
    options.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    command = environment.renderer_command(
        options.renderer.absolute(), "assets", "--out", str(options.out.absolute()), "--objects", str(options.objects)
    )
    result = subprocess.run(command, env=environment.renderer_environment(1), stderr=subprocess.PIPE, text=True)
    if result.returncode:
        if os.strerror(errno.ENOSPC) in result.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(options.out))
        raise RuntimeError(f"{options.out}: {(result.stderr.strip().splitlines() or ['no output'])[-1]}")
    if options.marker:
        environment.write_json(options.marker, json.loads((options.out / "pack.json").read_bytes()))
    return 0


def run_movi_f(options: argparse.Namespace) -> int:
    """Render clips."""
    config = parse_overrides(options.overrides)
    seeds = options.seeds if options.seeds is not None else [options.seed]
    if min(seeds) < 0:
        raise ValueError(f"--seed {min(seeds)}: seeds are from 0")
    if not options.dataset.replace("-", "").replace("_", "").isalnum() or not options.dataset.isascii():
        raise ValueError(f"--dataset {options.dataset!r}: {KEY_HINT}")
    if options.threads < 1:
        raise ValueError(f"--threads {options.threads}: at least 1")
    studio = Studio(renderer=options.renderer, assets=options.assets, out=options.out, threads=options.threads)
    folders = render_clips(config, seeds, options.dataset, studio, options.done)
    if options.seed is not None:
        print(folders[0])
    return 0


def run_verify(options: argparse.Namespace) -> int:
    """Hold a clip against its own rendered passes."""
    from generation.verify import load_clip, measure, violations

    figures = measure(load_clip(options.folder))
    for name, value in figures.items():
        print(f"{name:18} {value:.5g}")
    lines = violations(figures)
    for line in lines:
        print(f"error: {options.folder}: {line}", file=sys.stderr)
    return 1 if lines else 0


def run_picture(options: argparse.Namespace) -> int:
    """Draw a clip."""
    from generation.picture import draw_clip

    options.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    draw_clip(options.folder, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
