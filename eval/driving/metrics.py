"""How alike made and true frames are, frame by frame.

PSNR and SSIM (Wang, Bovik, Sheikh, Simoncelli 2004) are of 8-bit RGB.
"""

from __future__ import annotations

import cv2
import numpy as np

LEAST_ERROR = 1 / 12
"""Mean squared error of rounding to whole grey levels: less cannot be told from none, so that PSNR ends at 58.9 dB."""
SSIM_SIDE, SSIM_SIGMA = 11, 1.5
"""Wang's window: 11x11 pixels of a Gaussian."""
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio (T,) dB of frames (T, H, W, 3) uint8: 10 log10 of 255^2 over the mean square."""
    error = (made.astype(np.float64) - true.astype(np.float64)) ** 2
    return 10 * np.log10(255**2 / np.maximum(error.mean(axis=(1, 2, 3)), LEAST_ERROR))


def ssim(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Structural similarity (T,) of frames (T, H, W, 3) uint8: 1 is equal.

    The mean over colours and over all places where the window lies inside; `ssim_window` says what that is where frames
    are smaller than it.
    """
    side, sigma = ssim_window(*made.shape[1:3])
    return np.array(
        [
            _ssim(one.astype(np.float64), other.astype(np.float64), side, sigma)
            for one, other in zip(made, true, strict=True)
        ]
    )


def ssim_window(height: int, width: int) -> tuple[int, float]:
    """Side (odd) and sigma of the window: 11 and 1.5, for smaller frames the largest that fits, sigma in proportion."""
    side = min(SSIM_SIDE, height, width)
    side -= 1 - side % 2
    return side, SSIM_SIGMA * side / SSIM_SIDE


def _ssim(one: np.ndarray, other: np.ndarray, side: int, sigma: float) -> float:
    """SSIM of two pictures (H, W, 3) float64."""
    margin, (height, width) = side // 2, one.shape[:2]

    def blur(picture: np.ndarray) -> np.ndarray:
        blurred = cv2.GaussianBlur(picture, (side, side), sigma)
        return blurred[margin : height - margin, margin : width - margin]

    mean_one, mean_other = blur(one), blur(other)
    variance_one, variance_other = blur(one**2) - mean_one**2, blur(other**2) - mean_other**2
    covariance = blur(one * other) - mean_one * mean_other
    alike = (2 * mean_one * mean_other + SSIM_C1) * (2 * covariance + SSIM_C2)
    return float((alike / ((mean_one**2 + mean_other**2 + SSIM_C1) * (variance_one + variance_other + SSIM_C2))).mean())


def copy_frames(frames: np.ndarray, num_given: int) -> np.ndarray:
    """The baseline that every model has to beat: frames (T, H, W, 3) whose last given one stays to the end."""
    copied = frames.copy()
    copied[num_given:] = frames[num_given - 1]
    return copied
