"""Command line of the shards: pack, index, convert, ls, verify, view, diff, link, fetch, push, send."""

import argparse
import itertools
import json
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shards.codecs import CODECS
from shards.convert import EXAMPLES as CONVERT_EXAMPLES
from shards.convert import WRITERS, convert_clips, read_clips
from shards.diff import compare_indexes, format_difference
from shards.driving.reading import RATE_HZ, TOLERANCE_S, DriveReading
from shards.index import write_index
from shards.layouts.choice import Choice
from shards.layouts.packed import CLIPS_PER_SHARD
from shards.pack import pack_clips
from shards.people.body import read_body
from shards.people.labels import Reading
from shards.push import push_dataset, send_files
from shards.shelf import link_index
from shards.sources import OF_DRIVING, OF_PEOPLE, SOURCES
from shards.store import ClipStore
from shards.transfer import is_url
from shards.verify import find_problems
from shards.view import draw_view

EXAMPLES = """\
examples:
  python -m shards pack data/clips/movi_f/shard-000000.json --out data/shards/movi_f/shard-000000
  python -m shards pack --source tapvid data/downloads/tapvid_davis.pkl --out data/shards/tapvid_davis/shard-000000
  python -m shards index data/shards/movi_f/shard-*.json --dataset movi_f --out data/shards/movi_f/index.json
  python -m shards verify data/shards/movi_f/index.json
  python -m shards view data/shards/movi_f/index.json --out clips.html
  python -m shards push data/shards/movi_f s3://bucket/shards/movi_f
  python -m shards verify s3://bucket/shards/movi_f/index.json

Exit code: 0 done, 1 verify or diff found a difference, 2 a mistake in the command or its input."""
CONNECTIONS = 4
"""Shards that are fetched at a time."""
DRIVING_OPTIONS = {
    "rate_hz": OF_DRIVING, "tolerance_s": {"nuscenes"}, "scenes": {"nuscenes"}, "commands": {"vista_list"},
    "images": {"vista_list"},
}  # fmt: skip
"""Which sources each option of driving is for."""
HEIGHT_HELP = "resize videos and drives to this height"


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m shards",
        description="Pack annotated clips into tar shards and depth stores, and check them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_writers(commands)
    _add_convert(commands)
    _add_remote(commands)
    listing = commands.add_parser("ls", help="list the clips of an index: frames, size, tracks, visible share")
    verify = commands.add_parser("verify", help="hold tars and depth stores against an index; exit 1 on a difference")
    verify.add_argument("--deep", action="store_true", help="also decode every clip and its depth")
    verify.add_argument("--latents", metavar="FOLDER", help="hold FOLDER/<data set>/ of trainer.encode_latents, too")
    view = commands.add_parser("view", help="draw clips with their tracks: contact sheet, film or page")
    for command in (listing, verify, view):
        command.add_argument("index", metavar="INDEX", help="index.json of a data set, a path or a URL")
    difference = commands.add_parser("diff", help="clips that two indexes do not share; exit 1 where there are some")
    difference.add_argument("old", metavar="OLD_INDEX")
    difference.add_argument("new", metavar="NEW_INDEX")
    difference.add_argument("--json", action="store_true", help="print one JSON object")
    view.add_argument(
        "keys", nargs="*", metavar="KEY", help="clip, as `ls` names it (default: the first, or first six)"
    )
    view.add_argument(
        "--points", type=int, default=40, metavar="N", help="tracks to draw, an even choice (default: 40)"
    )
    view.add_argument("--out", type=Path, required=True, help="*.png contact sheet, *.mp4 or *.webp film, *.html page")
    return parser


def _add_writers(commands: argparse._SubParsersAction) -> None:
    layouts = "\n".join(f"  {name}: {source.__doc__.splitlines()[0]}" for name, source in SOURCES.items())
    codecs = "; ".join(f"{name} ({codec.about})" for name, codec in CODECS.items())
    pack = commands.add_parser(
        "pack",
        help="clips on disk -> PREFIX.tar, PREFIX.zarr, PREFIX.json",
        description="Pack clips into one shard. The same clips give the same bytes, and a failure leaves an older "
        "shard as it is.",
        epilog=f"sources:\n{layouts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pack.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="file or folder that the source reads")
    pack.add_argument("--source", choices=sorted(SOURCES), default="clip_folder", help="layout of the inputs")
    pack.add_argument("--codec", choices=CODECS, default="png", help=f"frames: {codecs}; default png")
    pack.add_argument("--window", type=int, metavar="LENGTH", help="cut clips of at most LENGTH frames")
    pack.add_argument("--height", type=int, metavar="PIXELS", help=HEIGHT_HELP)
    pack.add_argument("--out", type=Path, required=True, metavar="PREFIX", help="data/shards/NAME/shard-000000")
    _add_people(pack)
    _add_driving(pack)
    index = commands.add_parser("index", help="shard JSONs -> one index.json")
    index.add_argument("shards", nargs="+", type=Path, metavar="SHARD.json")
    index.add_argument("--dataset", required=True, help="name of the data set")
    index.add_argument("--out", type=Path, required=True, metavar="INDEX", help="index.json to write")


def _add_people(command: argparse.ArgumentParser) -> None:
    people = command.add_argument_group(f"labels of people ({', '.join(sorted(OF_PEOPLE))})")
    people.add_argument("--body", type=Path, metavar="FILE", help="body file of the model that the labels are of")
    people.add_argument("--images", type=Path, metavar="FOLDER", help="where paths of images start; default: beside")
    people.add_argument("--truncate-shape", action="store_true", help="leave out shape coefficients that FILE has not")


def _add_driving(command: argparse.ArgumentParser) -> None:
    driving = command.add_argument_group(f"driving ({', '.join(sorted(OF_DRIVING))}); --images with vista_list, too")
    driving.add_argument("--rate", type=float, metavar="HZ", help=f"frames a second (default: {RATE_HZ:g})")
    driving.add_argument(
        "--tolerance",
        type=float,
        metavar="SECONDS",
        help=f"of a frame's time, nuscenes only (default: {TOLERANCE_S:g})",
    )
    driving.add_argument("--scenes", type=Path, metavar="FILE", help="names of the scenes to read, nuscenes only")
    driving.add_argument("--commands", metavar="NAME,NAME,...", help="what cmd 0, 1, ... mean, vista_list only")


def _reading(options: argparse.Namespace) -> Reading | DriveReading | None:
    """How labels of people, or drives, are read; None where no option of either is given."""
    given = {"rate_hz": options.rate, "tolerance_s": options.tolerance, "scenes": options.scenes}
    given |= {"commands": None if options.commands is None else tuple(options.commands.split(","))}
    given |= {"images": options.images if options.source in OF_DRIVING else None}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given.keys() & DRIVING_OPTIONS.keys():
        if options.source not in DRIVING_OPTIONS[name]:
            raise ValueError(f"--{name.split('_')[0]}: {options.source} has no use for it; leave it out")
    if given and options.body is not None:
        raise ValueError("--body is of people, --rate and the like are of driving; leave one of them out")
    if given:
        return DriveReading(**given)
    if options.body is None:
        return None
    return Reading(body=read_body(options.body), images=options.images, truncate_shape=options.truncate_shape)


def _add_remote(commands: argparse._SubParsersAction) -> None:
    link = commands.add_parser(
        "link", help="an index behind a URL -> a local one, whose shards come when they are read"
    )
    link.add_argument("url", metavar="URL", help="of an index.json; #sha256=... behind it pins its content")
    link.add_argument("--out", type=Path, required=True, metavar="INDEX", help="index.json to write")
    link.add_argument("--fetch", action="store_true", help="and fetch all shards into the cache")
    fetch = commands.add_parser("fetch", help="fetch all shards of an index behind a URL into the cache")
    fetch.add_argument("index", metavar="INDEX", help="URL of an index.json, or what `link` wrote")
    fetch.add_argument("--depth", action="store_true", help="depth stores, too")
    fetch.add_argument(
        "--connections", type=int, default=CONNECTIONS, metavar="N", help=f"shards at a time (default: {CONNECTIONS})"
    )
    push = commands.add_parser("push", help="copy an index and its shards to s3:// or the like")
    push.add_argument("index", type=Path, metavar="INDEX", help="index.json of a data set, or its folder")
    push.add_argument("url", metavar="URL", help="folder to write, such as s3://bucket/shards/NAME")
    send = commands.add_parser(
        "send", help="copy files to the same names at s3:// or the like, an index with its shards"
    )
    send.add_argument("url", metavar="URL", help="folder to write, such as s3://bucket/run1")
    send.add_argument("files", nargs="+", metavar="FILE", help="path below this folder; its sidecar goes with it")
    for command in (push, send):
        command.add_argument("--replace", action="store_true", help="put it in the place of another data set")


def _add_convert(commands: argparse._SubParsersAction) -> None:
    layouts = "\n".join(f"  {name}: {source.__doc__.splitlines()[0]}" for name, source in SOURCES.items())
    convert = commands.add_parser(
        "convert",
        help="a data set in one layout -> the same clips in another",
        description="Read data sets in one layout of the field and write them in another. See docs/how-to/convert.md.",
        epilog=f"layouts (badja, clip_folder, videos, people, driving: only read):\n{layouts}\n\n{CONVERT_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    convert.add_argument(
        "inputs", nargs="+", type=_place, metavar="INPUT", help="file or folder in the layout --from; URL of an index"
    )
    convert.add_argument("--from", dest="source", required=True, choices=sorted(SOURCES), help="layout of the inputs")
    convert.add_argument("--to", dest="target", required=True, choices=sorted(WRITERS), help="layout to write")
    convert.add_argument("--out", type=Path, required=True, help="new folder; a file for tapvid and movi_tfrecord")
    convert.add_argument("--frames", metavar="A:B", default=":", help="frames A to B - 1 of every sequence")
    convert.add_argument("--window", type=int, metavar="LENGTH", help="cut clips of at most LENGTH frames")
    convert.add_argument("--height", type=int, metavar="PIXELS", help=HEIGHT_HELP)
    _add_people(convert)
    _add_driving(convert)
    convert.add_argument("--no-depth", action="store_true", help="leave depth out")
    convert.add_argument("--skip-empty", action="store_true", help="leave clips without tracks out")
    convert.add_argument("--clips-per-shard", type=int, default=CLIPS_PER_SHARD, metavar="M", help="with --to index")
    convert.add_argument("--codec", choices=CODECS, default="png", help="frames, with --to index; default png")


def _place(text: str) -> Path | str:
    """A path, or a URL, of which a path would drop a slash."""
    return text if is_url(text) else Path(text)


def convert(options: argparse.Namespace) -> int:
    """Convert between layouts."""
    start, colon, stop = options.frames.partition(":")
    if not colon or not all(part.isdecimal() or not part for part in (start, stop)):
        raise ValueError(f"--frames {options.frames}: give A:B, such as 0:24, 24: or :24")
    choice = Choice(
        start=int(start or 0),
        stop=int(stop) if stop else None,
        window=options.window,
        with_depth=not options.no_depth,
        height=options.height,
    )
    num_clips = convert_clips(
        options.source,
        options.inputs,
        options.target,
        options.out,
        choice=choice,
        reading=_reading(options),
        skip_empty=options.skip_empty,
        clips_per_shard=options.clips_per_shard,
        codec=options.codec,
    )
    print(f"{options.out}: {num_clips} clips")
    return 0


def pack(options: argparse.Namespace) -> int:
    """Pack clips into one shard."""
    choice = Choice(window=options.window, height=options.height)
    reading = _reading(options)
    clips = itertools.chain.from_iterable(read_clips(options.source, path, choice, reading) for path in options.inputs)
    content = pack_clips(clips, options.out, options.codec)
    print(f"{options.out}.tar: {len(content['clips'])} clips, {content['bytes']} bytes, sha256 {content['sha256']}")
    return 0


def index(options: argparse.Namespace) -> int:
    """Merge shards into an index."""
    content = write_index(options.shards, options.dataset, options.out)
    print(f"{options.out}: {content['num_clips']} clips in {len(content['shards'])} shards")
    return 0


def ls(options: argparse.Namespace) -> int:
    """List an index's clips."""
    store = ClipStore(options.index)
    width = max([4, *map(len, store.keys)])
    print(f"{'clip':{width}} {'frames':>6} {'size':>9} {'tracks':>6} {'visible':>7} {'codec':6}  shard")
    for row in map(store.row, range(len(store))):
        size = f"{row['width']}x{row['height']}"
        share = f"{100 * row['visible_share']:.0f} %"
        columns = f"{row['num_frames']:6} {size:>9} {row['num_tracks']:6} {share:>7} {row['codec']:6}"
        print(f"{row['key']:{width}} {columns}  {row['shard']}")
    total = store.summary
    size = f"{total['bytes'] / 1e6:.1f} MB of tars, {total['depth_bytes'] / 1e6:.1f} MB of depth"
    print(f"{total['num_frames']} frames, {size}, {len(total['assets'])} assets")
    print(f"{len(store)} clips in {len(store.shards)} shards, index sha256 {store.sha256}")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Check an index's shards."""
    num_problems = 0
    for problem in find_problems(options.index, deep=options.deep, latents=options.latents):
        print(f"error: {problem}", file=sys.stderr, flush=True)
        num_problems += 1
    if num_problems == 0:
        print(f"{options.index}: {len(ClipStore(options.index))} clips, all as packed")
    return 1 if num_problems else 0


def view(options: argparse.Namespace) -> int:
    """Draw frames and tracks of clips."""
    draw_view(ClipStore(options.index), options.keys, options.out, num_points=options.points)
    print(options.out)
    return 0


def diff(options: argparse.Namespace) -> int:
    """Compare two indexes."""
    difference = compare_indexes(options.old, options.new)
    print(json.dumps(difference.as_json()) if options.json else "\n".join(format_difference(difference)))
    return 1 if difference else 0


def link(options: argparse.Namespace) -> int:
    """Copy an index from a URL."""
    store = ClipStore(link_index(options.url, options.out).path)
    print(f"{options.out}: {len(store)} clips in {len(store.shards)} shards at {store.name}, sha256 {store.sha256}")
    if options.fetch:
        _fetch_all(store)
    return 0


def fetch(options: argparse.Namespace) -> int:
    """Fill the cache."""
    if options.connections < 1:
        raise ValueError(f"--connections {options.connections}: give at least 1")
    _fetch_all(ClipStore(options.index), with_depth=options.depth, connections=options.connections)
    return 0


def _fetch_all(store: ClipStore, *, with_depth: bool = False, connections: int = CONNECTIONS) -> None:
    with ThreadPoolExecutor(connections) as pool:
        fetched = [pool.submit(store.shelf.fetch, shard, with_depth=with_depth) for shard in store.shards]
        for shard, one in zip(store.shards, fetched, strict=True):
            one.result()
            print(f"{shard['name']}: there", flush=True)


def push(options: argparse.Namespace) -> int:
    """Copy to a bucket."""
    index = options.index / "index.json" if options.index.is_dir() else options.index
    _tell_sent(push_dataset(index, options.url, replace=options.replace))
    return 0


def send(options: argparse.Namespace) -> int:
    """Copy files to a bucket."""
    are_new = _tell_sent(send_files(options.files, options.url, replace=options.replace))
    print(f"{sum(are_new)} sent, {len(are_new) - sum(are_new)} were there")
    return 0


def _tell_sent(files: Iterable[tuple[str, bool]]) -> list[bool]:
    are_new = []
    for url, is_new in files:
        print(f"{url}: {'sent' if is_new else 'was there'}", flush=True)
        are_new.append(is_new)
    return are_new


COMMANDS = {
    "pack": pack, "index": index, "convert": convert, "ls": ls, "verify": verify, "view": view, "diff": diff,
    "link": link, "fetch": fetch, "push": push,
    "send": send,
}  # fmt: skip


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
