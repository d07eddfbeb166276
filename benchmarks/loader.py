"""CPU-seconds of an augmented training sample: `python -m benchmarks.loader [--clips 4] [--video FILE] [--rounds 2]`.

Makes its own clips in a scratch folder, then measures in one run, one thread each, ways that take turns:

    published   folder of PNGs as Pillow writes them, PIL, published augmentations on whole frames (published_way.py)
    webdataset  a tar read by plain webdataset, PIL, our augmentations
    streaming   mosaicml-streaming (MDS shards, its PNG decoder), our augmentations; with --streaming-python, an
                interpreter in which `import streaming` works (a stub of torchvision will do) and OpenCV too
    frameline   trainer.batch, as a training reads

Each way is measured for the four cases with and without colour jitter and blur, and the mean weighs them as the recipe
draws them. Compare ratios measured in one run, not absolute times.
"""

import argparse
import dataclasses
import io
import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from trainer.augment import apply_plan, blur, draw_plan, erase, replace
from trainer.colour import draw_jitter, jitter_colours, thumbnail_of
from trainer.config import DataConfig, compose
from trainer.framing import cut_frame

CASES = tuple(itertools.product((False, True), (False, True)))  # jitter, blur


def synthetic_video(num_frames: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """(T, H, W, 3) uint8: a 1/f texture that drifts, turns and grows, under five textured discs and sensor noise."""
    side = size + size // 2
    canvas = sum(
        cv2.resize(rng.normal(0, 44 / 2**octave, (4 * 2**octave, 4 * 2**octave, 3)).astype(np.float32), (side, side))
        for octave in range(6)
    )
    discs = [(rng.uniform(0.2, 0.8, 2), rng.uniform(-0.3, 0.3, 2), rng.uniform(0.05, 0.15)) for _ in range(5)]
    frames = []
    for share in np.linspace(0, 1, num_frames):
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), 20 * share, 1 + 0.2 * share)
        turn[:, 2] -= size / 4
        frame = 120 + cv2.warpAffine(canvas, turn, (size, size), borderMode=cv2.BORDER_REFLECT)
        for place, speed, radius in discs:
            centre = tuple(((place + speed * share) * size).astype(int).tolist())
            disc = cv2.circle(np.zeros((size, size), np.uint8), centre, int(radius * size), 1, -1)[..., None]
            frame = np.where(disc > 0, 255 - np.roll(frame, size // 3, 1), frame)
        frames.append(np.clip(frame + rng.normal(0, 3.0, frame.shape), 0, 255).astype(np.uint8))
    return np.stack(frames)


def film(path: Path, num_frames: int, size: int, number: int) -> np.ndarray:
    """Frames of a video file as (T, H, W, 3) uint8, its middle square; clip `number` begins half a clip later."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    if len(frames) < num_frames:
        raise SystemExit(f"{path}: {len(frames)} frames, a clip needs {num_frames}; use --frames or another --video")
    first = number * num_frames // 2 % (len(frames) - num_frames + 1)
    side = min(frames[0].shape[:2])
    y, x = (frames[0].shape[0] - side) // 2, (frames[0].shape[1] - side) // 2
    chosen = [frame[y : y + side, x : x + side, ::-1] for frame in frames[first : first + num_frames]]
    return np.stack([cv2.resize(np.ascontiguousarray(frame), (size, size)) for frame in chosen])


def make_data(scratch: Path, options: argparse.Namespace) -> Path:
    """Write the clips as shards with an index and as folders of PNGs as Pillow writes them; returns the index."""
    from shards import Clip, pack_clips, write_index

    rng = np.random.default_rng(0)

    def clips() -> Iterator[Clip]:
        for number in range(options.clips):
            if options.video:
                video = film(options.video, options.frames, options.size, number)
            else:
                video = synthetic_video(options.frames, options.size, rng)
            start = rng.uniform(0, options.size, (2048, 2))
            tracks = start + rng.normal(0, 2, (options.frames, 2048, 2)).cumsum(0)
            visible = ((tracks >= 0) & (tracks < options.size)).all(-1) & (rng.random(tracks.shape[:2]) < 0.8)
            yield Clip(key=f"clip{number:03d}", video=video, tracks=tracks.astype(np.float32), visible=visible)

    pack_clips(clips(), scratch / "shards" / "shard-000000")
    index = scratch / "shards" / "index.json"
    write_index([scratch / "shards" / "shard-000000.json"], "benchmark", index)
    for sample in raw_samples(scratch / "shards" / "shard-000000.tar"):
        folder = scratch / "folders" / sample["__key__"]
        folder.mkdir(parents=True)
        for name, content in sample.items():
            if name.endswith(".png"):
                Image.open(io.BytesIO(content)).save(folder / name, compress_level=6)
            elif not name.startswith("__"):
                (folder / name).write_bytes(content)
    return index


def raw_samples(tar: Path) -> Iterator[dict]:
    """Members by name of each clip of a tar, read by webdataset."""
    import webdataset

    return iter(webdataset.DataPipeline(webdataset.SimpleShardList([str(tar)]), webdataset.tarfile_to_samples()))


def decode_members(read: Callable[[str], bytes], num_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """video, tracks and visible of one clip with PIL and numpy."""
    images = [Image.open(io.BytesIO(read(f"frame{t:03d}.png"))).convert("RGB") for t in range(num_frames)]
    tracks, visible = (np.load(io.BytesIO(read(name))) for name in ("tracks.npy", "visible.npy"))
    return np.stack([np.array(image) for image in images]), tracks, visible


def augment(video: np.ndarray, tracks: np.ndarray, visible: np.ndarray, config: DataConfig, rng) -> np.ndarray:
    """Our augmentations of a decoded clip."""
    from trainer.batch import choose_points, choose_queries

    plan = draw_plan(tracks, visible, video.shape[1:3], config, rng)
    chosen = choose_points(plan.visible, config.num_points, rng)
    choose_queries(plan.tracks[:, chosen], plan.visible[:, chosen], config.random_query_share, rng)
    return apply_plan(video, plan)


def measure(
    scratch: Path, index: Path, config: DataConfig, rounds: int, streaming: Path | None
) -> dict[str, dict[tuple, list[float]]]:
    """CPU-seconds of each sample by way and case; the ways take turns, a first turn is not counted."""
    from benchmarks.published_way import make_published_sample
    from shards import ClipStore
    from trainer.batch import make_sample

    store, num_frames = ClipStore(index), config.num_frames
    tar = index.with_name("shard-000000.tar")
    names = [f"frame{t:03d}.png" for t in range(num_frames)]

    def published(number: int, chosen: DataConfig, rng) -> None:
        folder = scratch / "folders" / store.keys[number]
        members = decode_members(lambda name: (folder / name).read_bytes(), num_frames)
        make_published_sample(*members, chosen, rng)

    streams: list = []

    def webdataset_way(number: int, chosen: DataConfig, rng) -> None:
        if number == 0:  # in the order of the tar
            streams[:] = [raw_samples(tar)]
        sample = next(streams[0])
        augment(*decode_members(sample.__getitem__, num_frames), chosen, rng)

    def frameline(number: int, chosen: DataConfig, rng) -> None:
        make_sample(store, number, chosen, rng)

    def decode_alone(number: int, chosen: DataConfig, rng) -> None:
        store.read(number, frames=slice(0, num_frames))

    def pil_alone(number: int, chosen: DataConfig, rng) -> None:
        folder = scratch / "folders" / store.keys[number]
        for name in names:
            Image.open(io.BytesIO((folder / name).read_bytes())).load()

    ways = {"published": published, "webdataset": webdataset_way}
    if streaming:
        ways["streaming"] = streaming_way(streaming, scratch, config)
    ways["frameline"] = frameline
    ways |= {"store.read": decode_alone, "PIL decode": pil_alone}
    spent: dict[str, dict[tuple, list[float]]] = {name: {case: [] for case in CASES} for name in ways}
    for turn, case in itertools.product(range(-1, rounds), CASES):
        if turn < 0 and case != CASES[0]:
            continue
        chosen = in_case(config, case)
        for number in range(len(store)):
            for name, way in ways.items():
                rng = np.random.default_rng([turn + 1, number])
                began = time.process_time()
                elsewhere = way(number, chosen, rng)
                seconds = time.process_time() - began if elsewhere is None else elsewhere
                if turn >= 0:
                    spent[name][case].append(seconds)
    return spent


def in_case(config: DataConfig, case: tuple[bool, bool]) -> DataConfig:
    """The recipe in which jitter and blur are certain, or certain not to come."""
    return dataclasses.replace(config, jitter_probability=float(case[0]), blur_probability=float(case[1]))


def weighted_mean(spent: dict[tuple, list[float]], config: DataConfig) -> float:
    """The mean over cases as the recipe draws them."""
    total = 0.0
    for (jitters, blurs), times in spent.items():
        weight = config.jitter_probability if jitters else 1 - config.jitter_probability
        weight *= config.blur_probability if blurs else 1 - config.blur_probability
        total += weight * float(np.mean(times))
    return total


def measure_steps(index: Path, config: DataConfig) -> list[tuple[str, float, float]]:
    """(step, milliseconds a sample in which it happens, share of samples) of our own augmentations."""
    from shards import ClipStore

    store = ClipStore(index)
    spent: dict[str, float] = {}

    def clock(name: str, work: Callable[[], object]) -> object:
        began = time.process_time()
        result = work()
        spent[name] = spent.get(name, 0.0) + time.process_time() - began
        return result

    rounds = 3 * len(store)
    for turn in range(rounds):
        rng = np.random.default_rng(turn)
        number = turn % len(store)
        tracks, visible, size = clock("read annotations", lambda n=number: store.read_annotations(n))
        video = clock("decode (store.read)", lambda n=number: store.read(n, frames=slice(0, config.num_frames)).video)
        tracks, visible = tracks[: config.num_frames], visible[: config.num_frames]
        plan = clock("draw everything", lambda t=tracks, v=visible, s=size, r=rng: draw_plan(t, v, s, config, r))
        jitter = draw_jitter(len(video), config, rng)
        clock("erase", lambda v=video, p=plan: erase(v, p.changes.erased))
        clock("replace", lambda v=video, p=plan: replace(v, p.changes.replaced, p.changes.replacement))
        clock(
            "jitter",
            lambda v=video, j=jitter: [jitter_colours(f, thumbnail_of(f), j, t) for t, f in enumerate(v)],
        )
        sigmas = rng.uniform(*config.blur_sigma, len(video))
        clock("blur", lambda v=video, s=sigmas: [blur(f, config.blur_kernel, s[t]) for t, f in enumerate(v)])
        out = np.empty((plan.framing.crop[1], plan.framing.crop[0], 3), np.uint8)
        clock(
            "pad, resize, crop, mirror",
            lambda v=video, p=plan, o=out: [cut_frame(f, p.framing, t, o) for t, f in enumerate(v)],
        )
    share = {"jitter": config.jitter_probability, "blur": config.blur_probability}
    return [(name, 1000 * seconds / rounds, share.get(name, 1.0)) for name, seconds in spent.items()]


def shuffle_quality(num_clips: int, num_shards: int, buffer: int) -> list[tuple[str, float, float]]:
    """(way, mean distance of neighbours, |correlation| of place and number): 1.0 and about 0 are uniform.

    The distance of two clips that are read one after the other, in clips of the packed order, over that of a uniform
    order ((n + 1) / 3). webdataset shuffles its shards, then clips in a buffer, as its documentation shows.
    """
    import random

    import webdataset

    from shards import permutation

    shards = list(np.array_split(np.arange(num_clips), num_shards))
    random.Random(0).shuffle(shards)
    stream = [{"number": int(number)} for shard in shards for number in shard]
    shuffled = webdataset.filters.shuffle(buffer, initial=buffer, rng=random.Random(1))(iter(stream))
    orders = {
        "frameline: a permutation of all clips": np.array(permutation(num_clips, 0, 0)),
        f"webdataset: {num_shards} shards shuffled, buffer {buffer}": np.array([s["number"] for s in shuffled]),
        "packed order": np.arange(num_clips),
    }
    rows = []
    for name, order in orders.items():
        distance = np.abs(np.diff(order)).mean() / ((num_clips + 1) / 3)
        place = np.argsort(order)  # where each clip comes, in packed order: neighbours should not come together
        rows.append((name, distance, abs(np.corrcoef(place[:-1], place[1:])[0, 1])))
    return rows


def streaming_way(python: Path, scratch: Path, config: DataConfig) -> Callable[[int, DataConfig, object], float]:
    """A way whose samples are made by benchmarks/streaming_way.py in another interpreter, which tells their cost."""
    command = [str(python), "-m", "benchmarks.streaming_way", str(scratch), json.dumps(dataclasses.asdict(config))]
    child = subprocess.Popen(
        command, cwd=Path(__file__).parents[1], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def way(number: int, chosen: DataConfig, rng: object) -> float:
        order = [number, bool(chosen.jitter_probability), bool(chosen.blur_probability)]
        child.stdin.write(json.dumps(order) + "\n")
        child.stdin.flush()
        answer = child.stdout.readline()
        if not answer:
            raise SystemExit(f"{' '.join(command[:3])} ended with code {child.wait()}; see above")
        return float(answer)

    return way


def report(spent: dict[str, dict[tuple, list[float]]], config: DataConfig) -> None:
    """Print the comparison as Markdown."""
    means = {name: weighted_mean(cases, config) for name, cases in spent.items()}
    print("\n| way | CPU-s per sample | times ours | plain | jitter | blur | jitter and blur | spread (5..95 %) |")
    print("|---|---|---|---|---|---|---|---|")
    for name, cases in spent.items():
        plain, blurs, jitters, both = (np.mean(cases[case]) for case in CASES)
        low, high = np.percentile(np.concatenate([cases[case] for case in CASES]), (5, 95))
        print(
            f"| {name} | {means[name]:.3f} | {means[name] / means['frameline']:.2f} | {plain:.3f} | {jitters:.3f} "
            f"| {blurs:.3f} | {both:.3f} | {low:.3f}..{high:.3f} |"
        )
    share = means["store.read"] / means["frameline"]
    print(f"\nDecoding is {100 * share:.0f} % of our sample; {1 / means['frameline']:.1f} samples a core and second.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2, help="times that each way reads every clip, per case")
    parser.add_argument("--video", type=Path, help="cut the clips from this film; default: synthetic")
    parser.add_argument("--streaming-python", type=Path, help="interpreter with mosaicml-streaming")
    parser.add_argument("--scratch", type=Path, help="parent of the scratch folder, which is removed at the end")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    recipe = dataclasses.replace(compose("lbm").data, num_frames=options.frames, random_query_share=0.25)
    if options.size < 512:
        recipe = dataclasses.replace(recipe, crop_size=(options.size * 3 // 4, options.size))
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        scratch = Path(name)
        index = make_data(scratch, options)
        megabytes = index.with_name("shard-000000.tar").stat().st_size / options.clips / 1e6
        print(
            f"{options.clips} clips of {options.frames} frames {options.size}x{options.size}, {megabytes:.1f} MB each"
        )
        spent = measure(scratch, index, recipe, options.rounds, options.streaming_python)
        report(spent, recipe)
        print("\n| our step | ms where it happens | share of samples | ms on average |\n|---|---|---|---|")
        for step, milliseconds, share in measure_steps(index, recipe):
            print(f"| {step} | {milliseconds:.1f} | {share:.2f} | {milliseconds * share:.1f} |")
    print("\n| order of 11,000 clips | distance of neighbours | correlation |\n|---|---|---|")
    for way, distance, correlation in shuffle_quality(11_000, 86, 1000):
        print(f"| {way} | {distance:.2f} | {correlation:.2f} |")


if __name__ == "__main__":
    main()
