"""Which code, data files and package versions decide each rule's outputs: an explicit table."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from workflow.digest import source_digest


@dataclass(frozen=True)
class Source:
    """Entry points of our code (module:function), data files, and packages whose versions matter."""

    entries: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    apart_from: tuple[str, ...] = ()
    """Modules of ours that the entry points reach and that decide none of the outputs."""
    has_model: bool = False
    """Whether one model of trainer/models decides the outputs too: its code, and not the table of all of them."""


RENDERER = "workflow/envs/render.txt"
FETCHING = ("shards.ahead", "shards.shelf", "shards.cache", "shards.transfer", "shards.bucket")
"""How shards come from a URL decides no result: each is held against the sha256 of its index."""
WATCHING = ("trainer.drawer", "trainer.driving.drawer", "trainer.driving.validation")
"""What looks at the model of driving worlds while it is trained."""
HOW_IT_RUNS = ("trainer.cluster", "trainer.hang", "trainer.deepspeed_op")
PAGE = Source(
    ("eval.__main__:_report",),
    files=("eval/templates/report.html", "eval/templates/style.css"),
    packages=("jinja2", "pillow"),
    apart_from=FETCHING,
)
"""The report of one system alone, whichever it is."""

PACKAGES_OF = {"vista": ("diffusers",)}
"""Packages that a model's network is made of; what is an extra is not always there to be asked."""

SOURCES = {
    "render_environment": Source(files=(RENDERER,)),
    "render_assets": Source(("generation.assets:build_pack",), files=(RENDERER,)),
    # Messages, progress and what is kept of an earlier run decide nothing, so the entry is not the whole command.
    "render_shard": Source(
        (
            "generation.render",
            "generation.shard:render_one",
            "generation.shard:write_done",
            "generation.config:digest_of",
        ),
        files=(RENDERER,),
    ),
    "render_drives": Source(
        (
            "generation.driving.render",
            "generation.shard:render_one",
            "generation.shard:write_done",
            "generation.config:digest_of",
        ),
        files=(RENDERER,),
    ),  # render_shard's, where the recipe is of drives
    "annotate_shard": Source(("generation.tracks:annotate_clips", "generation.tracks:write_done"), packages=("numpy",)),
    "mirror_assets": Source(("generation.mirror:build_mirror",)),
    "body_packages": Source(files=("workflow/envs/body.txt",)),
    "body": Source(("generation.people.commands:make_body",), files=("workflow/envs/body.txt",), packages=("numpy",)),
    "panoramas": Source(("generation.panorama:write_panoramas",), files=(RENDERER,)),
    "draw_people": Source(
        ("generation.people.commands:run_people", "generation.people.cycles:render_job"),
        packages=("numpy", "pillow", "opencv-python-headless", "zarr", "numcodecs"),
    ),
    "fetch": Source(),
    "link": Source(),
    "pack": Source(
        ("shards.__main__:pack",),
        packages=("numpy", "pillow", "opencv-python-headless", "zarr", "numcodecs"),
        apart_from=FETCHING,
    ),
    "index": Source(("shards.__main__:index",)),
    # Its marker names the version of DeepSpeed, which is not there where nothing asks for it.
    "deepspeed_op": Source(("trainer.deepspeed_op:build_op",), packages=("torch",)),
    # Validation and samples cannot change weights.safetensors: an edited metric must not train again.
    "train_stage": Source(
        ("trainer.launch:run_stage",),
        packages=("torch", "numpy", "pillow"),
        apart_from=("trainer.validation", "trainer.models", *WATCHING, *HOW_IT_RUNS, *FETCHING),
        has_model=True,
    ),
    "curves": Source(("eval.__main__:_curves",), packages=("matplotlib",)),
    "baseline": Source(
        ("eval.__main__:_track",), packages=("numpy", "pillow", "opencv-python-headless"), apart_from=FETCHING
    ),
    "adopt": Source(("eval.__main__:_adopt",), packages=("numpy",)),
    "predict": Source(
        ("trainer.predict:predict",),
        packages=("torch", "numpy", "pillow"),
        apart_from=("trainer.models", *FETCHING),
        has_model=True,
    ),
    "score": Source(("eval.__main__:_score",), packages=("numpy",), apart_from=FETCHING),
    "table": Source(("eval.__main__:_table",), files=("eval/published.csv",)),
    "people_constant": Source(("eval.people.commands:constant_command",), packages=("numpy",), apart_from=FETCHING),
    "predict_people": Source(
        ("trainer.predict_people:predict",),
        packages=("torch", "numpy", "pillow"),
        apart_from=("trainer.models", "trainer.validation", "trainer.people.validation", *FETCHING),
        has_model=True,
    ),
    "score_people": Source(("eval.people.commands:score_command",), packages=("numpy",), apart_from=FETCHING),
    "draw_overlay": Source(
        ("eval.people.commands:overlay_command",), packages=("numpy", "pillow"), apart_from=FETCHING
    ),
    "people_table": Source(("eval.people.commands:table_command",)),
    "drives_copy": Source(("eval.driving.commands:copy_command",), packages=("numpy", "pillow"), apart_from=FETCHING),
    "predict_drives": Source(
        ("trainer.predict_drives:predict",),
        packages=("torch", "numpy", "pillow"),
        apart_from=("trainer.models", "trainer.validation", *WATCHING, *FETCHING),
        has_model=True,
    ),
    "score_drives": Source(
        ("eval.driving.commands:score_command",),
        packages=("numpy", "pillow", "opencv-python-headless"),
        apart_from=FETCHING,
    ),
    "draw_drives": Source(
        ("eval.driving.commands:sheet_command",), packages=("numpy", "pillow", "av"), apart_from=FETCHING
    ),
    "drives_table": Source(("eval.driving.commands:table_command",)),
    "vista_page": PAGE,
    "blade_page": PAGE,
    "rulegraph": Source(),
    "dataset_page": Source(
        ("eval.__main__:_dataset",),
        files=("eval/templates/dataset.html", "eval/templates/style.css"),
        packages=("jinja2", "matplotlib", "numpy", "pillow"),
        apart_from=FETCHING,
    ),
    "report_page": Source(
        ("eval.__main__:_report",),
        files=("eval/templates/report.html", "eval/templates/style.css", "eval/published.csv"),
        packages=("jinja2", "pillow"),
        apart_from=FETCHING,
    ),
}


@cache
def digest_of(rule: str, *models: str) -> str:
    """Digest of the code and data files behind a rule; empty for a rule that has none of ours.

    A rule that has a model is given its name, and those of models that label for it.
    """
    source = SOURCES[rule]
    assert source.has_model == bool(models), rule
    entries = (*source.entries, *(f"trainer.models.{model}.task" for model in models))
    if not entries and not source.files:
        return ""
    return source_digest(*entries, files=source.files, apart_from=source.apart_from)


@cache
def making_of(rule: str, *models: str) -> dict[str, str]:
    """The code digest and package versions of a rule, as facts for its outputs' provenance."""
    code = digest_of(rule, *models)
    # The local label tells builds of one version apart (2.13.0+cpu): results may travel between machines.
    packages = (*SOURCES[rule].packages, *(package for model in models for package in PACKAGES_OF.get(model, ())))
    versions = {package: version(package).split("+")[0] for package in packages}
    return ({"source": code} if code else {}) | versions
