"""The private folder of one training, addressed by what it is made of: runs/<exp_name>/<identity>/.

A changed recipe, data set, initial weight file or code gives another identity and so another folder:
nothing ever resumes from a checkpoint of something else. So does another number of processes, unless the recipe says
the global batch.
"""

import fcntl
import hashlib
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from shards.files import sha256_of, write_bytes
from shards.shelf import find_shelf
from trainer.config import Paths, Recipe, as_dict, recipe_digest


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training's folder and what it reads and writes."""

    identity: str
    folder: Path
    index: Path
    output: Path
    init_weights: Path | None
    validation_index: Path | None = None
    mixed: tuple[Path, ...] = ()
    """The indexes of all data sets of data.mixture, in the order of their names; `index` is one of them."""
    teachers: tuple[Path, ...] = ()
    """The files behind pseudo_labels.teachers, in their order."""
    deepspeed_op: Path = Path(Paths.deepspeed_op)
    """The folder of DeepSpeed's CPU op."""
    origin: dict[str, Any] = field(default_factory=dict)
    """What every row of metrics.jsonl says of where it is from."""

    def checkpoint(self, step: int) -> Path:
        """The file of the state after `step` steps."""
        return self.folder / f"checkpoint-{step:08}.pt"

    def sharded_checkpoint(self, step: int) -> Path:
        """The folder of the state after `step` steps of processes that each hold a shard of it."""
        return self.folder / f"checkpoint-{step:08}.sharded"

    @property
    def indexes(self) -> tuple[Path, ...]:
        """The indexes of what is read."""
        return self.mixed or (self.index,)

    @property
    def checkpoints(self) -> list[Path]:
        """What is there, the newest last; `checkpoint.pt` is of a time when there was one without number."""
        numbered = [*self.folder.glob("checkpoint-*.pt"), *self.folder.glob("checkpoint-*.sharded")]
        return sorted(self.folder.glob("checkpoint.pt")) + sorted(numbered)

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def untrained(self) -> Path:
        return self.folder / "untrained.safetensors"

    def best_weights(self, step: int) -> Path:
        """The weights of a step, kept while the checkpoint calls them the best ones."""
        return self.folder / f"best-{step}.safetensors"


def _find_index(shards_root: str, dataset: str) -> Path:
    """The index of a data set; behind a URL the copy of it, which stays the same as long as the training goes on."""
    return find_shelf(f"{shards_root.rstrip('/')}/{dataset}/index.json").path


def _find_packed(shards_root: str, dataset: str) -> Path:
    """The index of a data set that is read; ValueError where it is not packed."""
    index = _find_index(shards_root, dataset)
    if not index.is_file():
        raise ValueError(f"{index}: data set '{dataset}' is not packed; run `snakemake data` first")
    return index


def describe_run(recipe: Recipe, paths: Paths, world_size: int) -> Run:
    """Find the inputs of a training and derive its folder; raises ValueError for what is missing."""
    index = _find_packed(paths.shards_root, recipe.data.dataset)
    mixed = [_find_packed(paths.shards_root, name) for name in recipe.data.datasets] if recipe.data.mixture else []
    validation_index = None
    if recipe.validation.dataset:
        validation_index = _find_index(paths.shards_root, recipe.validation.dataset)
        if not validation_index.is_file():
            raise ValueError(
                f"{validation_index}: validation data set '{recipe.validation.dataset}' is not packed; run "
                f"`snakemake {validation_index}`, or train without it by validation.dataset=null"
            )
    init_weights = None
    if recipe.init_from or paths.init_weights:
        init_weights = Path(paths.init_weights or f"results/{recipe.init_from}/weights.safetensors")
        if not init_weights.is_file():
            raise ValueError(f"{init_weights}: the weights to start from are missing; train '{recipe.init_from}' first")
        if init_weights.name.endswith(".index.json"):  # the identity would know the index, not the weights
            raise ValueError(
                f"{init_weights}: take it in first: python -m trainer.export --from {init_weights} --out FILE"
            )
    teachers = tuple(recipe.pseudo_labels.files) if recipe.pseudo_labels else ()
    for path in teachers:
        if not path.is_file():
            raise ValueError(f"{path}: this teacher's file is missing; train its stage first, or name another file")
    parts: dict[str, Any] = {
        "recipe": recipe_digest(recipe),
        "index": sha256_of(index),
        "init_weights": sha256_of(init_weights) if init_weights else None,
        "source": paths.source_digest,
        "world_size": world_size if recipe.training.global_batch_size is None else None,
    } | ({"teachers": [sha256_of(path) for path in teachers]} if teachers else {})
    published = None if init_weights else recipe.model.get("published")
    if published and Path(published).is_file():  # where it is missing, the model says where it is from
        parts["published"] = sha256_of(Path(published))
    if recipe.training.keep == "best":
        parts["validation_index"] = sha256_of(validation_index)
    parts |= {"mixture": [sha256_of(path) for path in mixed]} if mixed else {}
    identity = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return Run(
        identity=identity,
        folder=Path(paths.run_root) / recipe.exp_name / identity[:12],
        index=index,
        output=Path(paths.output_dir or f"results/{recipe.exp_name}"),
        init_weights=init_weights,
        validation_index=validation_index,
        mixed=tuple(mixed),
        teachers=teachers,
        deepspeed_op=Path(paths.deepspeed_op),
        origin={
            "run": identity[:12],
            "recipe": parts["recipe"][:12],
            "index": parts["index"][:12],
            "code": paths.source_digest[:12],
            "seed": recipe.training.seed,
        },
    )


def fit_to_processes(recipe: Recipe, world_size: int) -> Recipe:
    """The recipe with the accumulation_steps that training.global_batch_size asks of so many processes.

    Raises ValueError where it cannot be dealt to them in whole micro-batches, or says something else.
    """
    training = recipe.training
    if training.global_batch_size is None:
        return recipe
    steps, rest = divmod(training.global_batch_size, training.batch_size * world_size)
    if rest:
        raise ValueError(
            f"training.global_batch_size={training.global_batch_size} cannot be dealt to {world_size} processes in "
            f"micro-batches of {training.batch_size}; use another number of processes, or a smaller training.batch_size"
        )
    if training.accumulation_steps not in (1, steps):
        raise ValueError(
            f"training.accumulation_steps={training.accumulation_steps}, but training.global_batch_size="
            f"{training.global_batch_size} on {world_size} processes makes {steps}; leave one of them away"
        )
    return replace(recipe, training=replace(training, accumulation_steps=steps))


def open_run(run: Run, recipe: Recipe) -> IO[str]:
    """Make the folder, write the recipe, and lock it; waits while another process trains here.

    The lock is held as long as the returned file is open, and falls with the process, also after `kill -9`.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = (run.folder / "lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{run.folder}: another process trains in this run; waiting for it to end", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    write_bytes(run.folder / "recipe.yaml", recipe_text(recipe).encode())
    return lock


def recipe_text(recipe: Recipe) -> str:
    """The composed recipe as YAML with sorted keys: equal recipes have equal bytes."""
    import yaml

    return yaml.safe_dump(as_dict(recipe), sort_keys=True)
