"""Scenes to clips: python -m generation {environment,check,assets,mirror,movi_a..movi_f,driving,annotate,...}."""

import argparse
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

from generation import environment
from generation.config import KUBRIC_ASSETS, RECIPES, parse_recipe, parse_tracks
from generation.driving.config import DRIVING, parse_drive
from generation.mirror import MirrorError, build_mirror
from generation.people.commands import add_commands, add_panoramas, add_people
from generation.preflight import MissingLibrariesError, check_system_libraries
from generation.shard import RenderError, Studio, render_clips, write_done

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
    except (RuntimeError, MirrorError) as error:
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
        "mirror", help="fetch Kubric's own assets (GSO, HDRI Haven, KuBasic) into a folder, or check such a folder"
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--url", help=f"fetch what is missing from here: a folder, or {KUBRIC_ASSETS}")
    command.add_argument("--marker", type=Path, metavar="JSON", help="also write the list of digests here")
    command.add_argument("--check", action="store_true", help="hash again what pack.json lists already")
    command.set_defaults(run=run_mirror)
    for recipe, changes in RECIPES.items():
        about = ", ".join(f"{key}={value}" for key, value in changes.items())
        add_recipe(commands, recipe, about or "the defaults of generation/config.py")
    add_recipe(commands, DRIVING, "the defaults of generation/driving/config.py")
    add_readers(commands)
    add_commands(commands)
    command = commands.add_parser("people", help="draw and pack clips of people from cameras close to them")
    add_renderer(command)
    add_people(command, parse_range)
    command = commands.add_parser("panoramas", help="the HDRIs of an asset pack as what drawn people stand before")
    command.add_argument("--assets", type=Path, default=ASSETS, metavar="DIR", help="default: %(default)s")
    add_renderer(command)
    add_panoramas(command)
    return parser


def add_recipe(commands: argparse._SubParsersAction, recipe: str, about: str) -> None:
    """The command that renders clips of one recipe; `about` says what the recipe is."""
    command = commands.add_parser(
        recipe,
        help=f"render clips of {recipe}",
        description=f"Render clips into OUT/<dataset>-<seed>/; complete clips are kept. The recipe: {about}.",
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="one clip")
    which.add_argument("--seeds", type=parse_range, metavar="A:B", help="the clips from A up to, not including, B")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--dataset", default=recipe, help="first part of the clips' names; default: %(default)s")
    command.add_argument("--done", type=Path, metavar="JSON", help="list the finished clips here, at the end")
    command.add_argument("--assets", type=Path, default=ASSETS, metavar="DIR", help="default: %(default)s")
    command.add_argument("--threads", type=int, default=1, help="of the renderer; the bytes do not depend on it")
    add_renderer(command)
    command.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe, e.g. resolution=128")
    command.set_defaults(run=run_recipe, recipe=recipe)


def add_readers(commands: argparse._SubParsersAction) -> None:
    """The commands that read rendered clips, and the one that makes clips of published records."""
    command = commands.add_parser("import", help="MOVi's published TFDS records to clips, without TensorFlow")
    command.add_argument("records", nargs="+", type=Path, metavar="RECORDS", help="*.tfrecord* file, or folder of them")
    command.add_argument("--dataset", default="movi", help="first part of the clips' names; default: %(default)s")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--done", type=Path, metavar="JSON", help="list the clips here, at the end, for `annotate`")
    command.set_defaults(run=run_import)

    command = commands.add_parser("annotate", help="follow points through rendered clips; nothing is rendered")
    command.add_argument(
        "clips", nargs="+", type=Path, metavar="CLIPS", help="a list that --done wrote, or clip folders"
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="<key>.npz goes here")
    command.add_argument("--done", type=Path, metavar="JSON", help="list clips and tracks here, for `shards pack`")
    add_overrides(command)
    command.set_defaults(run=run_annotate)

    command = commands.add_parser("verify", help="do tracks agree with the passes of a clip (with save_flow=true)?")
    command.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    command.add_argument("--plot", type=Path, metavar="PNG", help="histograms of the errors, and where ids disagree")
    add_overrides(command)
    command.set_defaults(run=run_verify)

    command = commands.add_parser("picture", help="a frame, its depth, its ids, and tracks over three frames")
    command.add_argument("folder", type=Path, metavar="DIR")
    command.add_argument("--out", type=Path, required=True, metavar="PNG")
    add_overrides(command)
    command.set_defaults(run=run_picture)


def add_overrides(command: argparse.ArgumentParser) -> None:
    """How points are drawn and followed."""
    command.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. num_tracks=256 dense_frames=0,-1")


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


def run_mirror(options: argparse.Namespace) -> int:
    """Fetch or check a mirror of Kubric's assets."""
    content = build_mirror(options.out, options.url, is_thorough=options.check)
    if options.marker:
        environment.write_json(options.marker, content)
    return 0


def run_recipe(options: argparse.Namespace) -> int:
    """Render clips."""
    is_drive = options.recipe == DRIVING
    config = parse_drive(options.overrides) if is_drive else parse_recipe(options.recipe, options.overrides)
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


def run_import(options: argparse.Namespace) -> int:
    """Make clips of published records."""
    from generation.records import import_records

    clips = []
    for path in options.records:
        for clip in import_records(path, options.dataset, options.out):
            clips.append(clip)
            print(clip, flush=True)
    if options.done:
        write_done(options.done, options.dataset, clips)
    return 0


def split_words(words: list[Path] | list[str], overrides: list[str]) -> tuple[list[Path], list[str]]:
    """Paths and key=value words; argparse hands the latter to the first argument that takes many."""
    pairs = [str(word) for word in words if "=" in str(word)]
    return [Path(word) for word in words if "=" not in str(word)], pairs + overrides


def run_annotate(options: argparse.Namespace) -> int:
    """Follow points through rendered clips."""
    from generation import tracks

    sources, words = split_words(options.clips, options.overrides)
    config = parse_tracks(words)
    dataset, clips = "clips", []
    for source in sources:
        if source.is_dir():
            clips.append(source)
        else:
            dataset, listed = tracks.list_clips(source)
            clips += listed
    if not clips:
        raise ValueError("no clip to annotate; name clip folders, or a list that `--done` wrote")
    for clip in clips:
        if (clip / "manifest.json").is_file() and not (clip / "passes.npz").is_file():
            raise ValueError(
                f"{clip}: has no passes to follow points through, as drives have none; pack the list that rendering "
                "wrote: python -m shards pack --source drive_folder LIST --out PREFIX"
            )
    rows = tracks.annotate_clips(clips, config, options.out)
    if options.done:
        tracks.write_done(options.done, dataset, clips, rows, options.out)
    return 0


def run_verify(options: argparse.Namespace) -> int:
    """Hold the tracks of clips against the clips' own rendered passes."""
    from generation.verify import load_clip, measure, violations

    folders, words = split_words(options.folders, options.overrides)
    clips = [load_clip(folder, parse_tracks(words)) for folder in folders]
    is_wrong = False
    for folder, clip in zip(folders, clips, strict=True):
        figures = measure(clip)
        print(f"{folder}:")
        for name, value in figures.items():
            print(f"  {name:18} {value:.5g}")
        for line in violations(figures):
            is_wrong = True
            print(f"error: {folder}: {line}", file=sys.stderr)
    if options.plot:
        from generation.errors import plot_errors

        plot_errors(clips, [folder.name for folder in folders], options.plot)
    return 1 if is_wrong else 0


def run_picture(options: argparse.Namespace) -> int:
    """Draw a clip."""
    from generation.picture import draw_clip

    options.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    draw_clip(options.folder, options.out, parse_tracks(options.overrides))
    return 0


if __name__ == "__main__":
    sys.exit(main())
