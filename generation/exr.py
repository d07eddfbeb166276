"""Read the layers of the multi-layer EXR files that Blender writes."""

from pathlib import Path

import numpy as np
import OpenEXR

CRYPTOMATTE = "CryptoObject00"


class Layers:
    """Channels of one EXR by layer; names of channels differ in case between Blender's versions."""

    def __init__(self, path: Path):
        self._file = OpenEXR.InputFile(str(path))
        header = self._file.header()
        window = header["dataWindow"]
        self._shape = (window.max.y - window.min.y + 1, window.max.x - window.min.x + 1)
        self._names = {name.lower(): name for name in header["channels"]}
        self._types = {name: channel.type.v for name, channel in header["channels"].items()}

    def read(self, layer: str, channels: str, dtype: type = np.float32) -> np.ndarray:
        """Channels (H, W, len(channels)) of a layer, e.g. `read("Normal", "XYZ")`; KeyError when it is not there."""
        return np.stack([self._read(f"{layer}.{channel}", dtype) for channel in channels], -1)

    def _read(self, name: str, dtype: type) -> np.ndarray:
        actual = self._names[name.lower()]
        stored = {0: np.uint32, 1: np.float16, 2: np.float32}[self._types[actual]]
        return np.frombuffer(self._file.channel(actual), stored).reshape(self._shape).astype(stored).view(dtype)

    def flow(self) -> tuple[np.ndarray, np.ndarray]:
        """Forward and backward flow (H, W, 2) as (x, y) pixels: p(t+1) - p(t) and p(t) - p(t-1), y down.

        Blender's Vector pass holds p(t) - p(t-1) with x negated in its first two channels, and the next frame's in the
        others.
        """
        channels = "XYZW" if "vector.w" in self._names else "RGBA"
        vector = self.read("Vector", channels)
        return vector[..., 2:] * (-1, 1), vector[..., :2] * (-1, 1)
