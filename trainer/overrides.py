"""Names that CoTracker's training guide gives to keys of a launch: an explicit table."""

ALIASES = {
    "seed": "training.seed",
    "evaluation.dataset_root": "paths.shards_root",  # where packed data sets are looked for, benchmarks too
}
MIXED_PRECISION = {"true": "bf16", "false": "fp32"}
"""The guide's training.mixed_precision: autocast to bf16 or not at all."""


def translate(override: str) -> str:
    """An override under the name that it has here: `seed=1` is `training.seed=1`; others stay as they are.

    Raises ValueError for training.mixed_precision that is neither true nor false.
    """
    key, equals, value = override.partition("=")
    if key == "training.mixed_precision":
        if value.lower() not in MIXED_PRECISION:
            raise ValueError(f"{override}: use true (bf16) or false (fp32), or training.precision=fp16")
        return f"training.precision={MIXED_PRECISION[value.lower()]}"
    return f"{ALIASES.get(key, key)}{equals}{value}"
