"""What the graph makes once for stages that learn from latents: folders of data/latents, of which networks and size."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from workflow.addresses import check_path
from workflow.names import quote
from workflow.settings import Dataset

ROOT = "data/latents"


@dataclass(frozen=True)
class Latents:
    """One folder: data sets' frames at a size, as networks of a file encode them."""

    name: str
    stage: str
    """The first that reads it, whose processes' memory and GPU encode it."""
    weights: str
    """A published file (`is_published`), or the weights of the stage that the stage starts from."""
    is_published: bool
    frozen: str
    height: int
    width: int
    datasets: tuple[str, ...]

    def options(self) -> str:
        """Options of `python -m trainer.encode_latents` but for clips, weights and the folder."""
        size = ["--height", str(self.height), "--width", str(self.width)]
        return quote([*size, *(["--frozen", self.frozen] if self.is_published else [])])

    @property
    def weights_option(self) -> str:
        """The option before the file of the networks."""
        return "--published" if self.is_published else "--weights"

    def entry(self, dataset: str, shard: str) -> str:
        """The file that says that a shard was encoded; the store is beside it."""
        return f"{ROOT}/{self.name}/{dataset}/shard-{shard}.json"

    def jobs(self, datasets: Mapping[str, Dataset]) -> Iterator[tuple[dict[str, str], str]]:
        """Wildcards and output of the job of each shard."""
        for dataset in self.datasets:
            for shard in datasets[dataset].shards:
                yield {"latents": self.name, "dataset": dataset, "shard": shard}, self.entry(dataset, shard)


def find_latents(mixtures: Mapping[str, tuple[str, ...]], recipes: Mapping[str, dict[str, Any]]) -> dict[str, Latents]:
    """Folders of latents by name, of stages that learn from data sets (`mixtures`) and ask for such.

    Raises ValueError for a folder elsewhere, for two stages that want other things of one folder, and for networks that
    are in no file.
    """
    found: dict[str, Latents] = {}
    for stage in mixtures:
        latents = _latents_of(stage, recipes[stage], mixtures[stage])
        if latents is None:
            continue
        before = found.setdefault(latents.name, latents)
        if replace(before, stage=stage, datasets=latents.datasets) != latents:
            raise ValueError(
                f"stages.{stage}: data.driving.latents={ROOT}/{latents.name} is that of stages.{before.stage}, with "
                f"another size or other networks ({before.height}x{before.width} by {before.weights}, here "
                f"{latents.height}x{latents.width} by {latents.weights}); name another folder"
            )
        datasets_of_both = tuple(dict.fromkeys((*before.datasets, *latents.datasets)))
        found[latents.name] = replace(before, datasets=datasets_of_both)
    return found


def name_of(recipe: Mapping[str, Any]) -> str | None:
    """The folder's name in data/latents that a recipe's data.driving.latents says; None where it says nothing."""
    path = (recipe["data"]["driving"] or {}).get("latents")
    return path.removeprefix(f"{ROOT}/") if path else None


def _latents_of(stage: str, recipe: Mapping[str, Any], mixture: tuple[str, ...]) -> Latents | None:
    name, model, driving = name_of(recipe), recipe["model"], recipe["data"]["driving"]
    if name is None:
        return None
    where = f"stages.{stage}: data.driving.latents={driving['latents']}"
    check_path(where, name)
    if "/" in name or name.startswith("."):
        raise ValueError(f"{where}: the graph makes latents in {ROOT}; use {ROOT}/NAME")
    if model.get("space", "latents") != "latents":
        raise ValueError(f"{where}: it is of model.space={model['space']}; set it to null")
    published, source = model.get("published"), recipe["init_from"]
    if not published and not source:
        raise ValueError(f"{where}: its networks are in no file; set model.published")
    return Latents(
        name=name,
        stage=stage,
        weights=published or f"results/{source}/weights.safetensors",
        is_published=bool(published),
        frozen=model.get("frozen", "svd"),
        height=driving["height"],
        width=driving["width"],
        datasets=mixture,
    )
