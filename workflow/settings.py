"""config/config.yaml as frozen dataclasses: what the graph builds. Unknown keys are errors with a suggestion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from generation.config import KUBRIC_ASSETS
from generation.driving.config import DRIVING
from trainer.config import suggestion
from workflow.addresses import check_address, check_path, check_remote

ARCHIVED = ("lbm_folder", "cotracker3_kubric")
"""Folders of sequences that may come from an archive."""
OF_DRIVES = ("drive_folder", "nuscenes", "opendv", "vista_list")
"""Sources of driving data."""
BADJA = "badja"
"""Data set and benchmark that `--config badja_root=FOLDER` adds."""
RESOLUTION = 256
"""Height and width of the frames in TAP-Vid's official protocol."""
BASELINES = ("static", "lucas_kanade")
"""Trackers that need no training: those of eval/baselines.py, in the order of the tables."""
CONSTANT = "constant"
"""The row of people's tables that needs no training: eval/people/constant.py."""
COPY = "copy"
"""The row of driving worlds' tables that needs no training: eval/driving/copying.py."""
SCHEMA = Path(__file__).parent / "schemas" / "config.schema.yaml"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Clips under one name: rendered shard by shard from seeds, packed from files that exist, or shards elsewhere."""

    name: str
    source: str
    recipe: str = "movi_f"
    split: str = "train"
    first_seed: int = 0
    num_clips: int = 0
    clips_per_shard: int = 1
    overrides: dict[str, Any] = field(default_factory=dict)
    tracks: dict[str, Any] = field(default_factory=dict)
    assets: str = "open"
    codec: str = "png"
    path: str = ""
    url: str | None = None
    sha256: str | None = None
    member: str | None = None
    height: int | None = None
    clip_length: int | None = None
    body: str | None = None
    """Of people: the body file that they belong to is data/bodies/<body>.npz."""
    images: str | None = None
    truncate_shape: bool = False
    rate: float | None = None
    tolerance: float | None = None
    scenes: str | None = None
    """Of driving: a file of names of scenes, which the shard waits for, too."""
    commands: Sequence[str] = ()
    index: str = ""
    fetch: bool = False

    @property
    def pack_options(self) -> dict[str, Any]:
        """Options of `python -m shards pack` by name but for the body file; None where not given."""
        videos = {"--height": self.height, "--window": self.clip_length, "--images": self.images}
        driving = {"--rate": self.rate, "--tolerance": self.tolerance, "--scenes": self.scenes}
        return videos | driving | {"--commands": ",".join(self.commands) or None}

    @property
    def is_people(self) -> bool:
        """Whether every frame has a person."""
        return self.body is not None

    @property
    def is_driving(self) -> bool:
        """Whether every clip says of the drive that it was taken on."""
        return self.is_drive or self.source in OF_DRIVES

    @property
    def is_rendered(self) -> bool:
        return self.source == "render"

    @property
    def is_drive(self) -> bool:
        """Whether it is of drives that are rendered here: they have no passes, and are packed without tracks."""
        return self.is_rendered and self.recipe == DRIVING

    @property
    def is_annotated(self) -> bool:
        """Whether points are followed through its clips here."""
        return self.is_rendered and not self.is_drive

    @property
    def layout(self) -> str:
        """The name by which `python -m shards pack --source` knows its files."""
        if self.is_rendered:
            return "clip_folder" if self.is_annotated else "drive_folder"
        return self.source

    @property
    def is_drawn(self) -> bool:
        """Whether it is of people that are drawn here."""
        return self.source == "people"

    @property
    def panoramas(self) -> list[str]:
        """The file with what drawn people stand before, where that is a panorama."""
        is_needed = self.is_drawn and self.overrides.get("background") == "panorama"
        return [f"data/panoramas/{self.assets}.npz"] if is_needed else []

    @property
    def is_in_cycles(self) -> bool:
        """Whether it is of people that Blender renders."""
        return self.is_drawn and self.overrides.get("renderer") == "cycles"

    @property
    def is_made_here(self) -> bool:
        """Whether it comes from seeds, shard by shard, and not from files."""
        return self.is_rendered or self.is_drawn

    @property
    def is_remote(self) -> bool:
        """Whether its shards are packed already and lie behind a URL."""
        return self.source == "remote"

    @property
    def is_archive(self) -> bool:
        """Whether it is a folder that is unpacked from a download."""
        is_folder_of_pickles = self.source == "tapvid" and not self.member and not self.path.endswith(".pkl")
        return bool(self.url) and (self.source in ARCHIVED or is_folder_of_pickles)

    @property
    def num_shards(self) -> int:
        """How many shards are made here: a data set from files is one."""
        if self.is_remote:
            return 0
        return math.ceil(self.num_clips / self.clips_per_shard) if self.is_made_here else 1

    @property
    def shards(self) -> list[str]:
        """Numbers of the shards as in file names."""
        return [f"{number:06d}" for number in range(self.num_shards)]

    @property
    def all_seeds(self) -> range:
        """Seeds of all clips of a data set that is made here."""
        return range(self.first_seed, self.first_seed + self.num_clips)

    def seeds(self, shard: str) -> str:
        """Seeds of one shard's clips as "first:end"; the last shard may be smaller."""
        first = int(shard) * self.clips_per_shard
        end = min(first + self.clips_per_shard, self.num_clips)
        return f"{self.first_seed + first}:{self.first_seed + end}"


@dataclass(frozen=True, kw_only=True)
class BodySource:
    """A body model, and where it comes from."""

    name: str
    source: str
    """anny, smplx or toy: what `python -m generation body` makes"""
    topology: str = "notoes_collapse10pc"
    shapes: int = 10
    path: str = ""

    def words(self) -> list[str]:
        """Options of `python -m generation body`."""
        if self.source == "toy":
            return ["toy"]
        own = ["--topology", self.topology] if self.source == "anny" else ["--model", self.path]
        return [self.source, *own, "--shapes", str(self.shapes)]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training: how many processes, and what differs from config/stage/<name>.yaml."""

    name: str
    processes: int = 1
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A data set that trackers are scored on."""

    name: str
    dataset: str
    query_modes: tuple[str, ...] = ("first",)
    resolutions: tuple[int, ...] = (RESOLUTION,)
    """Height and width of the frames that trackers are given; others than 256 are protocols of their own."""
    memory_size: int | None = None
    single_point: bool = False
    """Whether trackers that follow all queries of a video together are to follow each by itself: the official rule."""
    metrics: tuple[str, ...] = ()
    """Metrics of other benchmarks in the tables, beside TAP-Vid's own: names of eval.score.METRIC_GROUPS."""
    most_failed: float = 0.5
    """Of people: the share of frames whose camera may fail before scoring is an error."""
    rollouts: dict[str, Any] = field(default_factory=dict)
    """Of driving worlds: options of trainer.predict_drives by their names."""
    trackers: tuple[str, ...] | None = None
    """Baselines and stages whose rows the tables have; None means all of them."""
    predictions: dict[str, str] = field(default_factory=dict)
    """Predictions of trackers that run elsewhere, name -> path; "{mode}" in a path stands for the query mode."""

    @property
    def protocols(self) -> list[tuple[str, int]]:
        """Query mode and resolution of each protocol that trackers are scored by."""
        return [(mode, resolution) for resolution in self.resolutions for mode in self.query_modes]

    def path_of(self, tracker: str, mode: str) -> str:
        """The file with what a tracker that runs elsewhere predicted."""
        return self.predictions[tracker].replace("{mode}", mode)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration."""

    datasets: dict[str, Dataset]
    stages: dict[str, Stage]
    benchmarks: dict[str, Benchmark]
    bodies: dict[str, BodySource] = field(default_factory=dict)
    kubric_assets: str = KUBRIC_ASSETS
    publish: str | None = None
    """The URL below which finished files are copied."""


def read_settings(config: dict[str, Any]) -> Settings:
    """Check a configuration against the schema and itself; raises ValueError with one line for the first mistake."""
    schema = yaml.safe_load(SCHEMA.read_text())
    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=_importance)
    if errors:
        raise ValueError(_explain(errors[0]))
    config = _with_badja(config)
    settings = Settings(
        datasets={name: Dataset(name=name, **values) for name, values in config["datasets"].items()},
        stages={name: Stage(name=name, **_tuples(values)) for name, values in config["stages"].items()},
        benchmarks={name: Benchmark(name=name, **_tuples(values)) for name, values in config["benchmarks"].items()},
        bodies={name: BodySource(name=name, **values) for name, values in config.get("bodies", {}).items()},
        kubric_assets=config.get("kubric_assets", KUBRIC_ASSETS),
        publish=config.get("publish"),
    )
    _check_names(settings)
    _check_addresses(settings, config["datasets"])
    return settings


def _with_badja(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with BADJA among its data sets and benchmarks, if its folder is given."""
    if config.get("badja_root") is None:
        return config
    for section in ("datasets", "benchmarks"):
        if BADJA in config[section]:
            raise ValueError(f"{section}.{BADJA} and badja_root both say where BADJA is; remove one of the two")
    datasets = config["datasets"] | {BADJA: {"source": "badja", "path": str(config["badja_root"])}}
    return config | {"datasets": datasets, "benchmarks": config["benchmarks"] | {BADJA: {"dataset": BADJA}}}


def _tuples(values: dict[str, Any] | None) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in (values or {}).items()}


def _check_names(settings: Settings) -> None:
    for dataset in settings.datasets.values():
        if dataset.body is not None and dataset.body not in settings.bodies:
            raise ValueError(
                f"datasets.{dataset.name}.body: there is no body '{dataset.body}', "
                f"{suggestion(dataset.body, settings.bodies)}"
            )
    for benchmark in settings.benchmarks.values():
        if benchmark.dataset not in settings.datasets:
            raise ValueError(
                f"benchmarks.{benchmark.name}.dataset: there is no data set '{benchmark.dataset}', "
                f"{suggestion(benchmark.dataset, settings.datasets)}"
            )
        _check_trackers(benchmark, settings)
    for name in sorted(settings.stages.keys() & {*BASELINES, CONSTANT, COPY}):
        raise ValueError(f"stages.{name}: this is the name of a row that needs no training; rename the stage")
    for name in sorted(settings.benchmarks.keys() & settings.stages.keys()):
        raise ValueError(f"'{name}' names a benchmark and a stage, and both write to results/{name}; rename one")
    for stage in settings.stages.values():
        for override in stage.overrides:
            if override.startswith(("stage=", "paths.", "exp_name=")):
                raise ValueError(f"stages.{stage.name}.overrides: '{override}' is the graph's to set; remove it")


def _check_addresses(settings: Settings, written: dict[str, dict[str, Any]]) -> None:
    """Paths and web addresses: what a command is given, and what is downloaded with a word about its sha256."""
    for dataset in settings.datasets.values():
        where = f"datasets.{dataset.name}"
        if dataset.path:
            check_path(f"{where}.path", dataset.path)
        for key in ("images", "scenes"):
            if value := getattr(dataset, key):
                check_path(f"{where}.{key}", value)
        if dataset.index:
            check_remote(f"{where}.index", dataset.index)
        if dataset.url:
            check_address(f"{where}.url", dataset.url)
            if "sha256" not in written[dataset.name]:
                raise ValueError(
                    f"{where}.sha256: missing beside a url; write that of the download, "
                    "or null to say that its publisher gives none"
                )
    for benchmark in settings.benchmarks.values():
        for name, path in benchmark.predictions.items():
            check_path(f"benchmarks.{benchmark.name}.predictions.{name}", path, "{mode}")
    for body in settings.bodies.values():
        if body.path:
            check_path(f"bodies.{body.name}.path", body.path)
    if settings.publish is not None:
        check_remote("publish", settings.publish)
    if "://" in settings.kubric_assets:
        check_address("kubric_assets", settings.kubric_assets)
    else:
        check_path("kubric_assets", settings.kubric_assets)


def _check_trackers(benchmark: Benchmark, settings: Settings) -> None:
    dataset = settings.datasets[benchmark.dataset]
    baselines = (CONSTANT,) if dataset.is_people else (COPY,) if dataset.is_driving else BASELINES
    where, ours = f"benchmarks.{benchmark.name}", [*baselines, *settings.stages]
    for tracker in benchmark.trackers or ():
        if tracker not in ours:
            raise ValueError(f"{where}.trackers: '{tracker}' is no baseline and no stage, {suggestion(tracker, ours)}")
    for name, path in benchmark.predictions.items():
        if name in {*ours, *(f"{stage}-untrained" for stage in settings.stages)}:
            raise ValueError(f"{where}.predictions.{name}: this is the name of a tracker that runs here; rename it")
        if len(benchmark.query_modes) > 1 and "{mode}" not in path:
            modes = " and ".join(benchmark.query_modes)
            raise ValueError(
                f"{where}.predictions.{name}: one file for the modes {modes}; write {{mode}} in its path, "
                "for example " + str(Path(path).with_suffix(".{mode}.npz"))
            )


def _importance(error: ValidationError) -> tuple[bool, list[str]]:
    """A misspelt key comes before the missing one that it stands for."""
    return error.validator != "additionalProperties", [str(part) for part in error.absolute_path]


def _explain(error: ValidationError) -> str:
    """One line for one mistake: where, what, and what was probably meant."""
    where = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{where}." if where else ""
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in error.instance if key not in known)
        return f"unknown key '{prefix}{unknown}', {suggestion(str(unknown), known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"missing key '{prefix}{missing}'"
    if error.validator == "enum":
        return f"{where}={error.instance!r}: {suggestion(str(error.instance), map(str, error.validator_value))}"
    if error.validator == "pattern" or "propertyNames" in error.absolute_schema_path:
        return f"{where or 'config'}: {error.instance!r} is no name here (letters, digits, _ and -, no dot)"
    return f"{where or 'config'}: {' '.join(error.message.split())}"
