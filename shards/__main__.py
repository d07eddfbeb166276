"""Command line of the shards: pack, index, ls, verify, view."""

import argparse
import itertools
import sys
from pathlib import Path

from shards.pack import pack_clips, write_index
from shards.sources import SOURCES
from shards.store import ClipStore
from shards.verify import find_problems
from shards.view import draw_contact_sheet


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shards", description="Pack annotated clips into tar shards and depth stores, and check them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    pack = commands.add_parser("pack", help="clips on disk -> PREFIX.tar, PREFIX.zarr, PREFIX.json")
    pack.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="file or folder that the source reads")
    pack.add_argument("--source", choices=sorted(SOURCES), default="clip_folder", help="layout of the inputs")
    pack.add_argument("--out", type=Path, required=True, metavar="PREFIX", help="data/shards/NAME/shard-000000")
    index = commands.add_parser("index", help="shard JSONs -> one index.json")
    index.add_argument("shards", nargs="+", type=Path, metavar="SHARD.json")
    index.add_argument("--dataset", required=True, help="name of the data set")
    index.add_argument("--out", type=Path, required=True)
    listing = commands.add_parser("ls", help="list the clips of an index")
    verify = commands.add_parser("verify", help="hold tars and depth stores against an index; exit 1 on a difference")
    verify.add_argument("--deep", action="store_true", help="also decode every clip")
    view = commands.add_parser("view", help="draw a contact sheet of a clip with its tracks")
    for command in (listing, verify, view):
        command.add_argument("index", type=Path, metavar="INDEX")
    view.add_argument("key", nargs="?", help="clip (default: the first)")
    view.add_argument("--out", type=Path, required=True, help="PNG to write")
    return parser


def pack(options: argparse.Namespace) -> int:
    clips = itertools.chain.from_iterable(SOURCES[options.source](path) for path in options.inputs)
    content = pack_clips(clips, options.out)
    print(f"{options.out}.tar: {len(content['clips'])} clips, {content['bytes']} bytes, sha256 {content['sha256']}")
    return 0


def index(options: argparse.Namespace) -> int:
    content = write_index(options.shards, options.dataset, options.out)
    print(f"{options.out}: {content['num_clips']} clips in {len(content['shards'])} shards")
    return 0


def ls(options: argparse.Namespace) -> int:
    store = ClipStore(options.index)
    print(f"{'clip':32} {'frames':>6} {'size':>9} {'tracks':>6} {'visible':>7}  shard")
    for shard in store.shards:
        for clip in shard["clips"]:
            size = f"{clip['width']}x{clip['height']}"
            share = f"{100 * clip['visible_share']:.0f} %"
            print(
                f"{clip['key']:32} {clip['num_frames']:6} {size:>9} {clip['num_tracks']:6} {share:>7}  {shard['name']}"
            )
    print(f"{len(store)} clips in {len(store.shards)} shards, index sha256 {store.sha256}")
    return 0


def verify(options: argparse.Namespace) -> int:
    problems = list(find_problems(options.index, deep=options.deep))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if not problems:
        print(f"{options.index}: {len(ClipStore(options.index))} clips, all as packed")
    return 1 if problems else 0


def view(options: argparse.Namespace) -> int:
    store = ClipStore(options.index)
    key = options.key or store.keys[0]
    if key not in store.keys:
        raise ValueError(f"{options.index}: no clip {key!r}; see `python -m shards ls {options.index}`")
    draw_contact_sheet(store[store.keys.index(key)], options.out)
    print(options.out)
    return 0


COMMANDS = {"pack": pack, "index": index, "ls": ls, "verify": verify, "view": view}


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 1 a difference found, 2 a mistake of the user's."""
    options = make_parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
