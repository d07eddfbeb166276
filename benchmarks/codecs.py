"""Bytes, CPU time and loss of the codecs: `python benchmarks/codecs.py data/shards/NAME/index.json [--side 512]`.

Frames of the index's first clips (enlarged to `--side` with a little noise, if given, since enlarging alone would make
them smoother than a render is) are encoded and decoded in memory by one thread; times are the best of a few passes that
take turns. The last column decodes the same bytes through Pillow alone. Prints a Markdown table. Compare ratios
measured in one run, not absolute times.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from shards import ClipStore
from shards.codecs import CODECS, decode_rgb


def load_videos(index: Path, num_clips: int, side: int | None) -> list[np.ndarray]:
    """Videos (T, H, W, 3) uint8 of the first clips; raises ValueError for an index that cannot be read."""
    store = ClipStore(index)
    videos = [store[number].video for number in range(min(num_clips, len(store)))]
    return [enlarge(video, side, number) for number, video in enumerate(videos)] if side else videos


def enlarge(video: np.ndarray, side: int, seed: int) -> np.ndarray:
    """Frames of `side` x `side` with Gaussian noise of one level."""
    rng = np.random.default_rng(seed)
    frames = (cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC) for frame in video)
    noisy = (frame + rng.normal(0, 1, frame.shape) for frame in frames)
    return np.stack([np.clip(np.rint(frame), 0, 255).astype(np.uint8) for frame in noisy])


def decode_with_pillow(content: bytes) -> np.ndarray:
    """What `decode_rgb` is held against."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def encode_with_pillow(image: np.ndarray) -> bytes:
    """What our PNG is held against: zlib level 6, filters chosen a row."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png", compress_level=6)
    return buffer.getvalue()


ENCODERS = {"png by Pillow, level 6": encode_with_pillow} | {name: codec.encode for name, codec in CODECS.items()}


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU-seconds of this process that a piece of work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def compare(videos: list[np.ndarray], passes: int) -> list[str]:
    """Rows of the table, one a codec."""
    frames = np.concatenate(videos)  # (all T, H, W, 3)
    contents, encoding = {}, {}
    for name, encode in ENCODERS.items():
        began = time.process_time()
        contents[name] = [encode(frame) for frame in frames]
        encoding[name] = time.process_time() - began
    best = {(name, way): np.inf for name in ENCODERS for way in (decode_rgb, decode_with_pillow)}
    for _ in range(passes):
        for name, way in best:
            best[name, way] = min(best[name, way], cpu_seconds(lambda n=name, w=way: [w(c) for c in contents[n]]))
    rows = []
    for name in ENCODERS:
        error = np.stack([decode_rgb(content) for content in contents[name]]).astype(np.int16) - frames
        mean_square = float(np.square(error, dtype=np.float64).mean())
        psnr = f"{10 * np.log10(255**2 / mean_square):.1f} dB" if mean_square else "lossless"
        num_bytes = sum(map(len, contents[name])) / len(videos)
        times = (
            1000 * t / len(videos) for t in (encoding[name], best[name, decode_rgb], best[name, decode_with_pillow])
        )
        cells = (name, f"{num_bytes / 1e6:.2f}", *(f"{t:.0f}" for t in times), psnr, str(np.abs(error).max()))
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path, metavar="INDEX")
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--side", type=int, help="enlarge frames to this many pixels a side")
    parser.add_argument("--passes", type=int, default=3)
    options = parser.parse_args()
    videos = load_videos(options.index, options.clips, options.side)
    num_frames, height, width = videos[0].shape[:3]
    print(f"{len(videos)} clips of {num_frames} frames of {width}x{height}; per clip, one thread\n")
    print("| codec | MB | encode CPU-ms | decode CPU-ms | Pillow's decode CPU-ms | PSNR | largest error |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(compare(videos, options.passes)))


if __name__ == "__main__":
    main()
