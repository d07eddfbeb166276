"""Wall time of a clip behind a slow server, with and without reading ahead: `python -m benchmarks.remote [--use 0.3]`.

Makes clips in a scratch folder, one shard each, and serves them over HTTP from another process: every request waits
before it is answered, and every connection has a limited rate. Then the training's loader reads all clips, each time
in a process of its own and from an empty cache, while a training step is a sleep. Ways take turns, in one run: 0 loader
processes and 1, each with FRAMELINE_READ_AHEAD=0 and 4. Compare ways measured in one run, not absolute times.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from shards import Clip, ClipStore, pack_clips, write_index
from shards.ahead import VARIABLE
from shards.cache import FOLDER_VARIABLE
from trainer.batch import make_loader
from trainer.config import compose

PIECE = 1 << 16


def make_data(folder: Path, options: argparse.Namespace) -> Path:
    """Write `options.clips` shards of one clip of noise and their index; returns the index."""
    rng = np.random.default_rng(0)
    entries = []
    for number in range(options.clips):
        video = rng.integers(0, 256, (options.frames, options.size, options.size, 3), dtype=np.uint8)
        tracks = rng.uniform(0, options.size, (options.frames, 64, 2)).astype(np.float32)
        clip = Clip(key=f"clip{number:03d}", video=video, tracks=tracks, visible=np.ones(tracks.shape[:2], bool))
        prefix = folder / "far" / f"shard-{number:06d}"
        pack_clips([clip], prefix)
        entries.append(prefix.with_suffix(".json"))
    return write_index(entries, "far", folder / "far/index.json") and folder / "far/index.json"


def serve(root: Path, delay_s: float, bytes_a_second: float, port) -> None:
    """Serve the files under `root`, each answer after a delay, each connection at a limited rate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(delay_s)
            content = (root / self.path[1:]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            began = time.monotonic()
            for start in range(0, len(content), PIECE):
                self.wfile.write(content[start : start + PIECE])
                time.sleep(max(0.0, began + (start + PIECE) / bytes_a_second - time.monotonic()))

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


def seconds_a_clip(url: str, cache: Path, options: argparse.Namespace, workers: int, ahead: int) -> float:
    """Wall time of reading and using a clip, from the first that is there to the last, from an empty cache.

    In a process of its own: loader processes have the environment of the first that was started.
    """
    os.environ[FOLDER_VARIABLE], os.environ[VARIABLE] = str(cache), str(ahead)
    words = (f"data.num_frames={options.frames}", "data.max_frame_stride=1", "data.num_points=16", "data.augment=false")
    words += (f"data.num_workers={workers}", "training.batch_size=1", "training.accumulation_steps=1")
    recipe = compose("lbm", [*words, "data.dataset=far"])
    began, num_read = 0.0, 0
    for _ in make_loader(recipe, url, start=0, num_steps=options.clips, rank=0, world_size=1):
        began = began or time.monotonic()
        num_read += 1
        time.sleep(options.use)
    return (time.monotonic() - began) / (num_read - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before an answer (default: 0.05)")
    parser.add_argument("--rate", type=float, default=10, help="MB/s of a connection (default: 10)")
    parser.add_argument("--use", type=float, default=0.3, help="seconds of a training step (default: 0.3)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = make_data(Path(folder), options)
        size = ClipStore(index).summary["bytes"] / options.clips
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        server = context.Process(
            target=serve, args=(Path(folder), options.delay, options.rate * 1e6, there), daemon=True
        )
        server.start()
        url = f"http://127.0.0.1:{here.recv()}/far/index.json"
        fetching = options.delay + size / (options.rate * 1e6)
        print(f"{size / 1e6:.2f} MB a clip, fetched in {fetching:.3f} s; used for {options.use:.3f} s")
        ways = [(workers, ahead) for workers in (0, 1) for ahead in (0, 4)]
        rows: dict[tuple[int, int], list[float]] = {way: [] for way in ways}
        for number in range(options.rounds):
            for workers, ahead in ways:
                cache = Path(folder) / f"cache-{number}-{workers}-{ahead}"
                with ProcessPoolExecutor(1, mp_context=context) as process:
                    seconds = process.submit(seconds_a_clip, url, cache, options, workers, ahead).result()
                rows[workers, ahead].append(seconds)
        print("loader processes | read ahead | s a clip, median | all rounds\n---:|---:|---:|---")
        for (workers, ahead), seconds in rows.items():
            told = " ".join(f"{each:.3f}" for each in seconds)
            print(f"{workers} | {ahead} | {np.median(seconds):.3f} | {told}")
        server.terminate()


if __name__ == "__main__":
    main()
