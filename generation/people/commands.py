"""`python -m generation body` writes a body file, `python -m generation people` draws a shard of clips of people."""

import argparse
import subprocess
from contextlib import nullcontext
from pathlib import Path

from generation.environment import installed_versions, renderer_command, renderer_environment
from generation.people.packages import install
from shards.files import appearing
from shards.people.body import Body, read_body, write_body

LICENCE = "https://smpl-x.is.tue.mpg.de"


def add_commands(commands: argparse._SubParsersAction) -> None:
    """The commands of body files and their options."""
    command = commands.add_parser("body-packages", help="install what makes Anny's bodies, into a folder of its own")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--marker", type=Path, metavar="JSON", help="also write versions and digest here, at the end")
    command.set_defaults(run=run_packages)

    command = commands.add_parser(
        "body",
        help="write a body model as one file of arrays",
        description="Write a body file. anny: bodies of Anny (Apache-2.0, data CC0), a population of adults with a "
        f"linear shape space. smplx: a file of yours from {LICENCE}. toy: capsules, for tests.",
    )
    command.add_argument("kind", choices=("anny", "smplx", "toy"))
    command.add_argument("--out", type=Path, required=True, metavar="NPZ")
    command.add_argument("--packages", type=Path, metavar="DIR", help="anny: where body-packages installed it")
    command.add_argument("--topology", default="notoes_collapse10pc", help="anny: its mesh; default: %(default)s")
    command.add_argument("--people", type=int, default=400, help="anny: size of the population; default: %(default)s")
    command.add_argument("--seed", type=int, default=0, help="anny: of the population; default: %(default)s")
    command.add_argument("--model", type=Path, metavar="NPZ", help="smplx: SMPLX_NEUTRAL.npz, say")
    command.add_argument(
        "--shapes", type=int, default=10, help="shape coefficients that are kept; default: %(default)s"
    )
    command.set_defaults(run=run_body)


def add_people(command: argparse.ArgumentParser, parse_range) -> None:
    """Options of `people`; the command that adds it knows where the renderer is."""
    command.add_argument("--seeds", type=parse_range, required=True, metavar="A:B", help="from A up to, without, B")
    command.add_argument("--body", type=Path, required=True, metavar="NPZ", help="body file")
    command.add_argument("--out", type=Path, required=True, metavar="PREFIX", help="PREFIX.tar, .zarr and .json")
    command.add_argument("--dataset", default="people", help="first part of the clips' names; default: %(default)s")
    command.add_argument("--codec", default="png", help="of the frames; default: %(default)s")
    command.add_argument("--panoramas", type=Path, metavar="NPZ", help="what is behind, with background=panorama")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. resolution=64 near_m=0.5,1.0")
    command.set_defaults(run=run_people)


def add_panoramas(command: argparse.ArgumentParser) -> None:
    """Options of `panoramas`; the command that adds it knows where packs and the renderer are."""
    command.add_argument("--out", type=Path, required=True, metavar="NPZ")
    command.set_defaults(run=run_panoramas)


def run_panoramas(options: argparse.Namespace) -> int:
    """Write the lights of a pack as panoramas."""
    installed_versions(options.renderer)  # says how to get a renderer that is missing
    with appearing(options.out) as temporary:
        arguments = ("--assets", str(options.assets.absolute()), "--out", str(temporary.absolute()))
        command = renderer_command(options.renderer.absolute(), "panorama", *arguments)
        result = subprocess.run(command, env=renderer_environment(1), capture_output=True, text=True, check=False)
        if result.returncode:
            raise ValueError((result.stderr.strip().splitlines() or [f"{options.assets}: no panoramas"])[-1])
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")
    return 0


def run_packages(options: argparse.Namespace) -> int:
    """Install Anny's packages."""
    install(options.out, options.marker)
    return 0


def run_body(options: argparse.Namespace) -> int:
    """Write a body file and say what is in it."""
    body = make_body(options)
    write_body(options.out, body)
    print(
        f"{options.out}: {body.name}, {len(body.template_m):,} vertices, {len(body.faces):,} faces, "
        f"{body.num_joints} joints, {body.num_shapes} shape coefficients, digest {body.digest}"
    )
    return 0


def make_body(options: argparse.Namespace) -> Body:
    """The body that the command line asks for."""
    if not 1 <= options.shapes <= 400:
        raise ValueError(f"--shapes {options.shapes}: from 1 to 400")
    if options.kind == "toy":
        from generation.people.toy import make_toy

        return make_toy()
    if options.kind == "smplx":
        from generation.people.smplx import read_smplx

        if options.model is None:
            raise ValueError(f"body smplx needs --model SMPLX_NEUTRAL.npz; its files are licensed: {LICENCE}")
        return read_smplx(options.model, options.shapes)
    from generation.people.anny import make_anny

    if options.people <= options.shapes:
        raise ValueError(f"--people {options.people}: more than the {options.shapes} shape coefficients")
    return make_anny(
        topology=options.topology, num_shapes=options.shapes, num_people=options.people, seed=options.seed,
        packages=options.packages,
    )  # fmt: skip


def run_people(options: argparse.Namespace) -> int:
    """Draw and pack clips."""
    from generation.people.config import parse_people
    from generation.people.panoramas import read_panoramas
    from generation.people.scene import make_clip
    from generation.people.studio import CyclesStudio
    from shards.pack import pack_clips

    config, body = parse_people(options.overrides), read_body(options.body)
    panoramas = read_panoramas(options.panoramas) if options.panoramas else None
    keys = {seed: f"{options.dataset}-{seed:06d}" for seed in options.seeds}
    with CyclesStudio(options.renderer) if config.renderer == "cycles" else nullcontext() as studio:
        clips = (make_clip(config, body, seed, key, panoramas=panoramas, studio=studio) for seed, key in keys.items())
        content = pack_clips(clips, options.out, options.codec)
    print(
        f"{options.out}.tar: {len(content['clips'])} clips of {config.num_frames} pictures, {content['bytes']:,} bytes"
    )
    return 0
