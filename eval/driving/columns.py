"""All figures of a driving world model: their keys in a score, their titles, and what they say. An explicit table."""

from __future__ import annotations

from eval.people.metrics import Metric

PICTURE = {
    "psnr_true": Metric("PSNR true", 1, 2, "PSNR true: dB of the made frames, told the clip's own actions.", True),
    "psnr_shuffled": Metric("PSNR shuffled", 1, 2, "PSNR shuffled: told the actions of another clip.", True),
    "psnr_none": Metric("PSNR none", 1, 2, "PSNR none: told nothing.", True),
    "over_copy": Metric("over copy", 1, 2, "over copy: PSNR true less that of the last given frame, repeated.", True),
    "over_shuffled": Metric("over shuffled", 1, 2, "over shuffled: PSNR true less PSNR shuffled.", True),
    "over_none": Metric("over none", 1, 2, "over none: PSNR true less PSNR none.", True),
    "ssim_true": Metric("SSIM true", 1, 3, "SSIM: of the same frames, 1 is equal.", True),
    "ssim_shuffled": Metric("SSIM shuffled", 1, 3, "", True),
    "ssim_none": Metric("SSIM none", 1, 3, "", True),
}
"""Of each clip, against its true frames."""
COMPARISONS = {
    "true": ("true", "told", "told its own actions"),
    "shuffled": ("shuffled", "told", "told another clip's, against those"),
    "shuffled_own": ("shuffled", "own", "told another clip's, against its own"),
    "none": ("none", "own", "told nothing, against its own"),
    "floor": (None, "own", "true frames: how well motion can be read at all"),
}
"""Of motion: what was told (None: the true frames themselves), which motion it is held against, and words for both."""
MOTION = {
    "turn_correlation": Metric("turn r", 1, 3, "turn r: correlation of the turn read and the turn told.", True),
    "turn_error": Metric("turn error", 1, 2, "turn error: mean |difference| of the two, degrees."),
    "ahead_correlation": Metric("ahead r", 1, 3, "ahead r: the same of the way driven ahead.", True),
    "ahead_error": Metric("ahead error", 1, 2, "ahead error: metres."),
}
"""Of motion since the last given frame, at every made frame; keys of a score are these with a name of COMPARISONS."""
REWARDS = {
    "reward_true": Metric("reward true", 1, 4, "reward: how far samples of one clip agree, by the model itself.", True),
    "reward_shuffled": Metric("reward shuffled", 1, 4, "", True),
    "reward_none": Metric("reward none", 1, 4, "", True),
    "reward_over_shuffled": Metric("over shuffled", 1, 5, "reward over shuffled: reward true less shuffled.", True),
    "reward_over_none": Metric("over none", 1, 5, "reward over none: the same of told nothing.", True),
    "reward_correlation_true": Metric(
        "r true", 1, 3, "r true, r shuffled, r none: correlation of reward and PSNR, rollouts of one telling.", True
    ),
    "reward_correlation_shuffled": Metric("r shuffled", 1, 3, "", True),
    "reward_correlation_none": Metric("r none", 1, 3, "", True),
    "reward_correlation": Metric("r all", 1, 3, "r all: the same over all rollouts.", True),
    "reward_correlation_over_copy": Metric(
        "r over copy", 1, 3, "r over copy: correlation of reward true and over copy; easy clips do not count.", True
    ),
}
FLOORS = {
    "psnr_copy": Metric("PSNR copy", 1, 2, "PSNR copy: of the last given frame, repeated.", True),
    "ssim_copy": Metric("SSIM copy", 1, 3, "SSIM copy: of the same.", True),
}
METRICS = {
    **PICTURE,
    **{f"{key}_{name}": metric for key, metric in MOTION.items() for name in COMPARISONS},
    **REWARDS,
    **FLOORS,
}
"""Every key of a score."""
LEADING = (
    "psnr_true", "psnr_shuffled", "psnr_none", "over_copy", "over_shuffled", "ssim_true", "turn_correlation_true",
    "turn_error_true",
)  # fmt: skip
"""Columns of the first table."""
