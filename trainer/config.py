"""What a training stage is: YAML at the edge (Hydra), frozen dataclasses inside.

Imports no torch: Snakemake reads this module to draw the graph.
"""

import dataclasses
import hashlib
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.cluster import ClusterConfig
from trainer.data_config import DataConfig
from trainer.optimizer_config import OptimizerConfig
from trainer.overrides import translate
from trainer.pseudo.config import PseudoLabelConfig
from trainer.strict import build, suggestion

CONFIG_DIRECTORY = Path(__file__).resolve().parents[1] / "config"
HOW_DATA_COMES = ("num_workers", "prefetch_factor", "on_error")
"""Keys of `data` that are no part of a run's identity. `on_error` is among them because whole clips give the same
weights with either value, and because a training that a damaged clip stopped goes on from its checkpoint by `skip`."""
HOW_IT_RUNS = {"data": HOW_DATA_COMES, "training": ("keep_checkpoints", "strategy", "max_step_minutes")}
"""Keys by section that are no part of a run's identity."""
NO_WEIGHTS = ("logging", "validation", "cluster")
"""Sections of a recipe that cannot change the weights at the end of a training."""
STRATEGIES = ("ddp", "fsdp", "hsdp", "deepspeed_zero2")
"""How processes share a model (trainer.strategy)."""
SCORES = {
    "delta_avg": "average_pts_within_thresh",
    "average_jaccard": "average_jaccard",
    "occlusion_accuracy": "occlusion_accuracy",
    **{f"delta_{pixels}": f"pts_within_{pixels}" for pixels in (1, 2, 4, 8, 16)},
}
"""Scores of a validation, fractions of 1, and their names in eval.tapvid."""
PEOPLE_ERRORS = ("depth_error", "relative_depth_error", "inverse_depth_error", "joint_error", "vertex_error")
"""Errors of a validation on people (metres, and their names in eval.people.metrics): the lowest is the best."""
DRIVING_SCORES = ("psnr", "psnr_gain", "copy_psnr")
"""Scores of a validation on drives, dB: of clips made with their true actions, what that is above copying the first
frame, and of copying it."""
DRIVING_ERRORS = ("denoising_loss",)
"""The loss at fixed noise levels: the lowest is the best."""
ERRORS = (*PEOPLE_ERRORS, *DRIVING_ERRORS)
KEEPS = ("last", "best")
"""Which weights a training hands on."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters (trainer/lora.py): all weights are frozen, and these layers learn a correction of low rank."""

    rank: int
    alpha: float
    """The correction is times alpha / rank."""
    modules: list
    """Ends of the names of linear layers, as peft's target_modules: linear1 is also layers.0.linear1."""
    whole: list = field(default_factory=list)
    """Ends of the names of layers that learn all of their weights beside the adapters, as peft's modules_to_save."""

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0:
            raise ValueError(f"training.lora: rank={self.rank} must be at least 1, and alpha={self.alpha} above 0")
        if not self.modules or not all(isinstance(name, str) and name for name in self.modules):
            raise ValueError(f"training.lora.modules={self.modules}: name at least one linear layer, such as linear1")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The loop. Exactly one of num_steps and num_epochs is set."""

    num_steps: int | None = None
    num_epochs: int | None = None
    batch_size: int = 4
    """Clips per process and micro-batch."""
    accumulation_steps: int = 1
    global_batch_size: int | None = None
    """Clips of a step of all processes together: accumulation_steps follows from it and from their number, which is no
    part of the run's identity then, so a run may be resumed with another one. null: batch_size times
    accumulation_steps times the number of processes."""
    strategy: str = "ddp"
    """How processes share the model: ddp (each has all of it), fsdp (each has a shard), hsdp (shards within a node,
    copies of them between nodes) or deepspeed_zero2 (all weights, a shard of gradients and of AdamW's state; needs the
    extra `deepspeed`). Never part of the identity: a run may be resumed with another one."""
    precision: str = "fp32"
    """fp32, bf16 (no scaler) or fp16 (with a gradient scaler). bf16 and fp16 need a GPU."""
    seed: int = 42
    save_every: int = 500
    """Steps between two checkpoints."""
    keep: str = "last"
    """Which weights are handed on as weights.safetensors: the last, or the best of the validation, which counts into
    the run's identity then."""
    keep_checkpoints: int = 1
    """The newest so many stay in the run's folder; never part of its identity."""
    max_step_minutes: float | None = 30.0
    """A process whose step takes longer ends with the stacks of its threads; never part of the identity. null: none."""
    threads: int = 1
    """CPU threads per process."""
    sync_batch_norm: bool = False
    """Batch norm takes its statistics over the clips of all processes instead of its own ones."""
    ema_decay: float | None = None
    """Keep an exponential moving average of the weights with this decay (0.9999, say): it is what is validated and
    becomes weights.safetensors; the checkpoint has both. null: none."""
    lora: LoraConfig | None = None
    """Train low-rank adapters instead of the weights, which must come from somewhere (init_from); weights.safetensors
    holds the weights with the adapters merged in. null: train the weights."""
    compile: bool = False
    """Let torch.compile translate parts of the model: a minute at the start, rounding other than without."""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"training.strategy={self.strategy}: {suggestion(self.strategy, STRATEGIES)}")
        if self.keep not in KEEPS:
            raise ValueError(f"training.keep={self.keep}: {suggestion(self.keep, KEEPS)}")
        if self.max_step_minutes is not None and self.max_step_minutes <= 0:
            raise ValueError(f"training.max_step_minutes={self.max_step_minutes} must be positive, or null")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"training.ema_decay={self.ema_decay} must be at least 0 and below 1, or null")
        if self.compile and self.strategy != "ddp":
            raise ValueError(
                f"training.compile=true goes with training.strategy=ddp only, not with {self.strategy}: compiling "
                "parts that are gathered did not end; use training.compile=false"
            )
        if self.precision == "fp16" and self.strategy == "deepspeed_zero2":
            raise ValueError(
                "training.precision=fp16 does not go with training.strategy=deepspeed_zero2, as DeepSpeed would scale "
                "losses by itself; use bf16, or another strategy"
            )
        whole = self.global_batch_size
        if whole is not None and (whole < 1 or whole % max(1, self.batch_size)):
            raise ValueError(
                f"training.global_batch_size={whole} must be a multiple of training.batch_size={self.batch_size}, "
                "or null"
            )


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Scores during the training, by the path that evaluation takes: online, whole videos at 256x256, TAP-Vid metrics.

    No part of a run's identity, as it cannot change weights.safetensors: the same training may be validated otherwise
    from its last checkpoint on. It does decide best.safetensors, so a checkpoint's best score counts only under the
    settings that gave it.
    """

    dataset: str | None = None
    """Name of a packed benchmark, as data.dataset; null: no validation."""
    every_steps: int | None = None
    """Steps between two validations; null: once an epoch. The last step is always validated."""
    memory_size: int | None = None
    """Memory slots; null: by data set as in trainer.predict (DAVIS 20, RoboTAP 60, Kinetics 36, else as trained)."""
    num_videos: int | None = None
    """The first videos of the index only; null: all."""
    query_mode: str = "first"
    """TAP-Vid's first or strided."""
    sampling_steps: int | None = None
    """Of drives: Euler's steps by which clips are made; null: 10."""
    best_by: str = "delta_avg"
    """The score whose highest value, or the error whose lowest, makes best.safetensors."""

    def __post_init__(self) -> None:
        if self.query_mode not in ("first", "strided"):
            raise ValueError(f"validation.query_mode={self.query_mode}; use first or strided")
        known = (*SCORES, *DRIVING_SCORES, *ERRORS)
        if self.best_by not in known:
            raise ValueError(f"validation.best_by={self.best_by}: {suggestion(self.best_by, known)}")
        for name in ("every_steps", "memory_size", "num_videos", "sampling_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"validation.{name}={value} must be at least 1, or null")


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """What is printed and written; never part of a run's identity."""

    log_every: int = 10
    use_wandb: bool = False
    """Send the rows of metrics.jsonl to Weights & Biases, too (`pip install 'frameline[wandb]'`)."""
    wandb_project: str = "frameline"
    wandb_entity: str | None = None
    """User or team; null: the account's own."""
    sample_every: int | None = None
    """Of world models: steps between two samples, which rank 0 writes to samples/ in the run's folder; also after 1, 2,
    4, 8 ... steps. A clip of validation.dataset as it is made and as it was. null: none."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the weights of a stage, apart from data, code and the number of processes."""

    stage: str
    exp_name: str
    model: dict[str, Any]
    """`name` (a key of trainer.models.TASKS) and overrides of that model's own config."""
    data: DataConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    init_from: str | None = None
    """Name of the stage whose weights this one starts from (an edge of the graph)."""
    pseudo_labels: PseudoLabelConfig | None = None
    """Train on videos without tracks, which teachers label; null: clips bring their own tracks."""

    def __post_init__(self) -> None:
        if (self.training.num_steps is None) == (self.training.num_epochs is None):
            raise ValueError(f"stage {self.stage}: set exactly one of training.num_steps and training.num_epochs")
        if self.training.keep == "best" and not self.validation.dataset:
            raise ValueError(
                f"stage {self.stage}: training.keep=best needs a validation: set validation.dataset, or keep=last"
            )
        if self.logging.sample_every is not None and not self.validation.dataset:
            raise ValueError(
                f"stage {self.stage}: logging.sample_every needs a clip to make: set validation.dataset, or null"
            )
        if self.pseudo_labels and self.data.mixture:
            raise ValueError(f"stage {self.stage}: pseudo_labels are of one data set; use data.mixture=null")
        if self.training.precision not in ("fp32", "bf16", "fp16"):
            raise ValueError(
                f"stage {self.stage}: training.precision={self.training.precision}; use fp32, bf16 or fp16"
            )
        for name, value in (
            ("training.batch_size", self.training.batch_size),
            ("training.accumulation_steps", self.training.accumulation_steps),
            ("training.save_every", self.training.save_every),
            ("training.keep_checkpoints", self.training.keep_checkpoints),
            ("training.threads", self.training.threads),
            ("logging.log_every", self.logging.log_every),
            ("logging.sample_every", 1 if self.logging.sample_every is None else self.logging.sample_every),
        ):
            if value < 1:
                raise ValueError(f"stage {self.stage}: {name}={value} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where a launch reads and writes; never part of a run's identity."""

    shards_root: str = "data/shards"
    """A folder, or a URL such as s3://bucket/shards."""
    run_root: str = "runs"
    output_dir: str | None = None
    """Finished files go here; default results/<exp_name>."""
    init_weights: str | None = None
    """The file behind init_from; default results/<init_from>/weights.safetensors."""
    deepspeed_op: str = "data/deepspeed_op"
    """The folder of DeepSpeed's CPU op (python -m trainer.deepspeed_op --out FOLDER)."""
    source_digest: str = ""
    """Digest of the code as the graph sees it: code that changed never resumes an older run."""


def stages() -> list[str]:
    """The names of all stages: the files of config/stage."""
    return sorted(path.stem for path in (CONFIG_DIRECTORY / "stage").glob("*.yaml"))


def compose_launch(stage: str, overrides: typing.Sequence[str] = ()) -> tuple[Recipe, Paths]:
    """Compose config/launch.yaml, config/stage/<stage>.yaml and Hydra overrides (`training.num_steps=100`).

    Raises ValueError for a stage or key that does not exist, with the closest known name, and for a model that the
    stage does not train (its `trains_model`), with the stages that do.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if stage not in stages():
        raise ValueError(f"there is no stage '{stage}' (config/stage/{stage}.yaml), {suggestion(stage, stages())}")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIG_DIRECTORY), version_base="1.3"):
            composed = hydra_compose("launch", overrides=[f"stage={stage}", *map(translate, overrides)])
            values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"stage {stage}: {_explain(stage, str(error))}") from None
    _check_model(stage, values.pop("trains_model", {}), values["model"])
    paths = build(Paths, values.pop("paths"), "paths")
    values["stage"] = stage
    values["exp_name"] = values.get("exp_name") or stage
    return build(Recipe, values), paths


def _check_model(stage: str, wanted: dict[str, Any], model: dict[str, Any]) -> None:
    """Hold a composed model against what its stage trains: an offline stage's samples fit no online model."""
    other = {f"model.{key}": model.get(key) for key, value in wanted.items() if model.get(key) != value}
    if other:
        fitting = [name for name in stages() if _fits(model, _trains_model(name))]
        use = " or ".join(f"stage={name}" for name in fitting) or "a model that it trains"
        raise ValueError(f"stage {stage} trains models with {_words(wanted)}, this one has {_words(other)}; use {use}")


def _trains_model(stage: str) -> dict[str, Any]:
    """What the model section of a stage must hold; nothing where the stage does not say it."""
    import yaml

    return yaml.safe_load((CONFIG_DIRECTORY / "stage" / f"{stage}.yaml").read_text()).get("trains_model", {})


def _fits(model: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return bool(wanted) and all(model.get(key) == value for key, value in wanted.items())


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in values.items())


def _explain(stage: str, message: str) -> str:
    """One line of Hydra's message, with a suggestion where it names a key that does not exist."""
    message = " ".join(message.split()).split(" Config search path")[0]
    if "Could not override '" in message:
        key = message.split("Could not override '")[1].split("'")[0]
        recipe, _ = compose_launch(stage)
        known = flat_keys(dataclasses.asdict(recipe))
        if key in known:  # a mapping that has other keys, or a key that no file has
            return f"{key} cannot be changed like this; write {key}=null before it, or +{key}=... where no file has it"
        return f"unknown key '{key}', {suggestion(key, known)}"
    return message


def flat_keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all leaves of nested mappings."""
    keys: list[str] = []
    for key, value in values.items():
        keys += flat_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


def compose(stage: str, overrides: typing.Sequence[str] = ()) -> Recipe:
    """The recipe of a stage, as Snakemake needs it to draw edges and to know what a change made stale."""
    return compose_launch(stage, overrides)[0]


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON-able mappings and lists."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def from_dict(values: dict[str, Any]) -> Recipe:
    """The inverse of `as_dict`; raises ValueError for unknown or missing keys."""
    return build(Recipe, values)


def what_decides(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides the weights: all but `no_weights`, HOW_IT_RUNS and `exp_name`."""
    values = as_dict(recipe)
    values = {key: value for key, value in values.items() if key not in (*no_weights(values), "exp_name")}
    for section, names in HOW_IT_RUNS.items():
        values[section] = {key: value for key, value in values[section].items() if key not in names}
    if recipe.training.global_batch_size is not None:
        del values["training"]["accumulation_steps"]  # it follows from the number of processes
    return values


def no_weights(recipe: dict[str, Any]) -> tuple[str, ...]:
    """Sections of a recipe (`as_dict`) that cannot change its weights: NO_WEIGHTS, but for the validation where the
    weights that it finds the best are kept."""
    keeps_best = recipe["training"]["keep"] == "best"
    return tuple(section for section in NO_WEIGHTS if not (keeps_best and section == "validation"))


def recipe_digest(recipe: Recipe) -> str:
    """sha256 over what decides the weights."""
    return hashlib.sha256(json.dumps(what_decides(recipe), sort_keys=True).encode()).hexdigest()
