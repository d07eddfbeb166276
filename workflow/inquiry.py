"""`python -m workflow.provenance show FILE` and `compare ONE OTHER`: what a file was made from, where two differ."""

import argparse
import json
import os
import sys
from pathlib import Path

from workflow.chain import read_chain
from workflow.comparison import compare_chains, comparison_as_json, tell_comparison
from workflow.tree import as_json, tell_tree

COMMANDS = ("show", "compare")


def make_parser() -> argparse.ArgumentParser:
    """The command line of both questions."""
    parser = argparse.ArgumentParser(prog="python -m workflow.provenance", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="the chain of a file, back to the seeds of its scenes")
    show.add_argument("file", type=Path, help="a file that the graph made, for example a score")
    show.add_argument("--root", type=Path, help="the folder that Snakemake ran in; found where it is not given")
    show.add_argument("--all", action="store_true", help="print every shard, also those that are alike")
    compare = commands.add_parser("compare", help="where the chains of two files first differ")
    compare.add_argument("one", type=Path)
    compare.add_argument("other", type=Path, help="another file, or the same one of another folder or clone")
    for command in (show, compare):
        command.add_argument("--json", action="store_true", help="for machines")
    show.add_argument("--read-shards", action="store_true", help="hash the shards' tars and depth stores, too")
    return parser


def main(arguments: list[str]) -> int:
    """Command line; returns 0: all as it was, or equal; 1: something changed, or differs; 2: a mistake."""
    options = make_parser().parse_args(arguments)
    try:
        return _show(options) if options.command == "show" else _compare(options)
    except BrokenPipeError:  # `| head`; what is left in the buffer has no reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _show(options: argparse.Namespace) -> int:
    chain = read_chain(options.file, options.root, reads_shards=options.read_shards)
    problems = [link for link in chain.values() if link.problem]
    if options.json:
        print(json.dumps(as_json(chain), indent=1))
        return 1 if problems else 0
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for line in tell_tree(chain, colours=colours, shows_all=options.all):
        print(line)
    told = f"{len(problems)} of them changed or gone" if problems else "all as they were made"
    print(f"{len(chain)} files, {told}")
    return 1 if problems else 0


def _compare(options: argparse.Namespace) -> int:
    differences, num_equal = compare_chains(read_chain(options.one), read_chain(options.other))
    if options.json:
        print(json.dumps(comparison_as_json(differences, num_equal), indent=1))
    else:
        for line in tell_comparison(differences, num_equal):
            print(line)
    return 1 if differences else 0
