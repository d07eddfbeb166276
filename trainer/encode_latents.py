"""Clips in, latents out: `python -m trainer.encode_latents --clips INDEX --published FILE --out FOLDER`."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from shards import ClipStore
from shards.driving.frames import fit_frames
from shards.driving.latents import DTYPES, Origin, write_latents
from shards.index import SHARD_FORMAT, read_existing, write_index
from shards.transfer import is_url
from trainer.checkpoint import load_weights
from trainer.command import exit_code_of
from trainer.models.vista.config import FROZEN
from trainer.models.vista.encoders import Encoders, read_published_encoders, take_own_encoders
from trainer.models.vista.latents import scale_frames
from trainer.predict import check_device

AT_A_TIME = 32
"""Frames of a clip in memory."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="trainer.encode_latents",
        description="Run the frozen autoencoder and picture tower of a world model once on every frame, fitted as in "
        "training. A stage with data.driving.latents=FOLDER then learns from FOLDER/<data set>/ and runs them in no "
        "step. Writes OUT/<shard>.zarr and OUT/<shard>.json, which comes last.",
    )
    parser.add_argument(
        "--clips", required=True, metavar="JSON", help="index.json of a data set (a path or URL), or a shard's JSON"
    )
    parser.add_argument("--shard", metavar="NAME", help="of an index this shard alone (default: all)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--published", type=Path, metavar="FILE", help="svd_xt.safetensors or vista.safetensors")
    source.add_argument("--weights", type=Path, metavar="FILE", help="of trainer.launch, of a model of latents")
    parser.add_argument("--frozen", choices=FROZEN, default="svd", help="sizes in --published (default: svd)")
    parser.add_argument("--height", type=int, required=True, help="data.driving.height of the stage, pixels")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="frames at a time; changes no more than rounding")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, required=True, help="the data set's folder, such as data/latents/svd/NAME")
    options = parser.parse_args(arguments)
    for name in ("height", "width", "batch", "threads"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} {getattr(options, name)} must be at least 1")
    return options


def read_encoders(options: argparse.Namespace) -> Encoders:
    """The networks that the command line names; ValueError for a file that has none of that size."""
    if options.published:
        if not options.published.exists():
            raise ValueError(f"--published {options.published} is not there")
        return read_published_encoders(options.published, options.frozen)
    tensors, recipe = load_weights(options.weights)
    if recipe.data.driving is None:
        raise ValueError(f"{options.weights}: stage {recipe.stage} is no world model")
    return take_own_encoders(tensors, recipe.model.get("frozen", "svd"), options.weights)


@contextmanager
def open_clips(clips: str) -> Iterator[ClipStore]:
    """The clips of an index, or of one shard by its JSON, to which an index of it alone is written for the block."""
    if is_url(clips) or SHARD_FORMAT.encode() not in read_existing(Path(clips))[:100]:
        yield ClipStore(clips)
        return
    path = Path(clips).resolve()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder).resolve() / "index.json"
        write_index([path], path.parent.name, index)
        yield ClipStore(index)


def encode_clips(
    store: ClipStore, numbers: list[int], encoders: Encoders, size: tuple[int, int], num_together: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Keys, moments (T, 2, C, h, w) and tokens (T, D), float32, of clips whose frames are fitted to a size (H, W)."""
    device = next(encoders.tower.parameters()).device
    for number in numbers:
        num_frames, parts = store.row(number)["num_frames"], []
        for first in range(0, num_frames, AT_A_TIME):
            video = store.read(number, frames=slice(first, first + AT_A_TIME)).video
            frames = torch.from_numpy(np.ascontiguousarray(fit_frames(video, *size).transpose(0, 3, 1, 2)))
            found = encoders.encode(scale_frames(frames.to(device)), num_together)
            parts.append([part.cpu().numpy() for part in found])
        yield store.keys[number], *(np.concatenate(part) for part in zip(*parts, strict=True))


def encode_shard(store: ClipStore, shard: str, encoders: Encoders, options: argparse.Namespace) -> None:
    """Write the latents of one shard; ValueError for frames that the networks cannot take, and for damaged clips."""
    numbers = [number for number in range(len(store)) if store.row(number)["shard"] == shard]
    origin = Origin(
        shard=shard,
        shard_sha256=next(one["sha256"] for one in store.shards if one["name"] == shard),
        height=options.height,
        width=options.width,
        encoders_sha256=encoders.sha256,
    )
    clips = encode_clips(store, numbers, encoders, (options.height, options.width), options.batch)
    total = sum(store.row(number)["num_frames"] for number in numbers)
    with tqdm(total=total, desc=shard, unit="frame", disable=None) as bar:

        def counted() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
            for clip in clips:
                bar.update(len(clip[1]))
                yield clip

        content = write_latents(options.out, origin, counted(), options.dtype)
    print(f"{options.out / shard}.json: {total} frames, {content['bytes'] / 1e6:.1f} MB")


def encode(options: argparse.Namespace) -> None:
    """Write the latents of an index's shards; ValueError for what does not fit."""
    torch.set_num_threads(options.threads)
    check_device(options.device)
    with open_clips(options.clips) as store:
        names = [shard["name"] for shard in store.shards]
        if options.shard is not None and options.shard not in names:
            raise ValueError(f"{store.name}: no shard {options.shard!r}; it has {names[0]} to {names[-1]}")
        encoders = read_encoders(options)
        encoders.check_size(options.height, options.width)
        encoders.to(options.device)
        for name in names if options.shard is None else [options.shard]:
            encode_shard(store, name, encoders, options)


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    return exit_code_of(lambda: encode(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
