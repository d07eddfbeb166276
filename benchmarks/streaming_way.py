"""The mosaicml-streaming side of benchmarks/loader.py, run in an interpreter of its own, which it needs: it asks for an
older numpy than ours. Only its data set is used, so torchvision, transformers and its text and vision parts are stubs.

`python -m benchmarks.streaming_way SCRATCH CONFIG_JSON` answers each line `[clip number, jitters, blurs]` with the
CPU-seconds of that sample.
"""

import io
import json
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np

STUBS = (
    "torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.datasets",
    "transformers", "transformers.feature_extraction_utils", "transformers.tokenization_utils_base",
    "streaming.text", "streaming.vision", "streaming.multimodal",
)  # fmt: skip


def main(scratch: Path, values: dict) -> None:
    """Write the folders' clips as MDS, then read and augment them."""
    for name in STUBS:
        sys.modules[name] = MagicMock()
    import streaming
    import torch

    from benchmarks.loader import augment, in_case
    from trainer.config import DataConfig, build

    torch.set_num_threads(1)
    print(f"streaming {streaming.__version__}, numpy {np.__version__}", file=sys.stderr)
    config = build(DataConfig, values)
    names = [f"frame{t:03d}" for t in range(config.num_frames)]
    columns = dict.fromkeys([*names, "tracks", "visible"], "bytes")
    folders = sorted((scratch / "folders").iterdir())
    with streaming.MDSWriter(out=str(scratch / "mds"), columns=columns, size_limit=1 << 28) as writer:
        for folder in folders:
            frames = {name: (folder / f"{name}.png").read_bytes() for name in names}
            others = {name: (folder / f"{name}.npy").read_bytes() for name in ("tracks", "visible")}
            writer.write(frames | others)
    # How its own `png` columns decode (bytes to PIL), without a second encoding of the frames.
    decode = streaming.base.format.mds.encodings.PNG().decode
    dataset = streaming.StreamingDataset(local=str(scratch / "mds"), shuffle=False, batch_size=1)
    for turn, line in enumerate(sys.stdin):
        number, *case = json.loads(line)
        rng = np.random.default_rng([turn, number])
        began = time.process_time()
        sample = dataset[number]
        video = np.stack([np.array(decode(sample[name]).convert("RGB")) for name in names])
        tracks, visible = (np.load(io.BytesIO(sample[name])) for name in ("tracks", "visible"))
        augment(video, tracks, visible, in_case(config, tuple(case)), rng)
        print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
