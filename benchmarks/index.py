"""Size, time to open and memory of a large index: `python benchmarks/index.py [--clips 11000] [--frames 24]`.

Writes the index of a made-up data set (no tar is there) with rows as the generator's clips have them, opens it in a
process of its own, and prints CPU-seconds and memory.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from shards.index import INDEX_FORMAT, write_json
from shards.members import member_names

OPEN = """
import sys, time
from shards import ClipStore
def mebibytes(name):
    return next(int(line.split()[1]) / 2**10 for line in open("/proc/self/status") if line.startswith(name))
before, began = mebibytes("VmRSS"), time.process_time()
store = ClipStore(sys.argv[1])
spent, held, peak = time.process_time() - began, mebibytes("VmRSS") - before, mebibytes("VmHWM") - before
print(f"{len(store)} clips opened in {spent:.2f} CPU-s; holds {held:.0f} MiB, {peak:.0f} while it opens")
"""


def make_index(num_clips: int, num_frames: int, clips_per_shard: int = 100) -> dict:
    """The content of an index of 512x512 clips with 13 of 1,000 assets each."""
    rng = random.Random(0)
    names = member_names(num_frames)
    assets = [f"Some_Scanned_Object_{number:04d}" for number in range(1000)]
    shards = []
    for first in range(0, num_clips, clips_per_shard):
        rows, offset = [], 0
        for seed in range(first, min(first + clips_per_shard, num_clips)):
            members = {}
            for name in names:
                size = rng.randint(300_000, 420_000)
                members[name] = [offset + 512, size, rng.getrandbits(32)]
                offset += 512 + -(-size // 512) * 512
            row = {"key": f"movi_f-{seed:06d}", "num_frames": num_frames, "height": 512, "width": 512}
            row |= {"num_tracks": 2048, "visible_share": 0.812345, "seed": seed, "attempt": 0}
            row |= {"assets": sorted(rng.sample(assets, 13)), "depth_range_m": [2.1234567, 23.456789]}
            rows.append(row | {"depth_crc32": rng.getrandbits(32), "members": members})
        name = f"shard-{first // clips_per_shard:06d}"
        about = {"name": name, "codec": "png", "optional": [], "tar": f"{name}.tar", "depth": f"{name}.zarr"}
        shards.append(about | {"bytes": offset, "sha256": "0" * 64, "depth_bytes": 0, "depth_sha256": "0" * 64})
        shards[-1]["clips"] = rows
    totals = {"num_clips": num_clips, "num_frames": num_clips * num_frames, "bytes": 0, "depth_bytes": 0}
    about = {"format": INDEX_FORMAT, "dataset": "movi_f", **totals, "recipe": {}, "assets": dict.fromkeys(assets, 143)}
    return about | {"shards": shards}


def as_version_1(content: dict) -> dict:
    """The same rows without seeds, assets and depth, with members as objects."""
    names = ("key", "num_frames", "height", "width", "num_tracks", "visible_share")
    places = ("offset", "size", "crc32")
    shards = [
        shard
        | {
            "clips": [
                {name: row[name] for name in names}
                | {"members": {name: dict(zip(places, place, strict=True)) for name, place in row["members"].items()}}
                for row in shard["clips"]
            ]
        }
        for shard in content["shards"]
    ]
    return {"format": "frameline-index/1", "dataset": "movi_f", "num_clips": content["num_clips"], "shards": shards}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=11_000)
    parser.add_argument("--frames", type=int, default=24)
    options = parser.parse_args()
    content = make_index(options.clips, options.frames)
    print(f"as version 1 wrote it: {len(json.dumps(as_version_1(content), indent=1)) / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.json"
        write_json(path, content)
        print(f"index.json: {path.stat().st_size / 1e6:.1f} MB", flush=True)
        subprocess.run([sys.executable, "-c", OPEN, str(path)], check=True)


if __name__ == "__main__":
    main()
