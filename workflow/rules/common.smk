import json
import os
import shlex
import signal
import sys

from snakemake.exceptions import WorkflowError

from workflow.closing import closing_words
from workflow.driving import SIZE
from workflow.names import index_path, page_path, quote
from workflow.plan import Plan
from workflow.settings import BASELINES

# `python` in a command is the interpreter that runs Snakemake: nothing needs activating. A prefix replaces Snakemake's own,
# so it says again that a failure before a pipe is a failure. Snakemake sets OMP_NUM_THREADS to the threads of the job; our
# processes are many and take one each.
interpreter = shlex.quote(os.path.dirname(sys.executable))
shell.prefix(f"set -euo pipefail; export PATH={interpreter}:$PATH OMP_NUM_THREADS=1; ")

# Slurm gives notice of a job's end to every process in it. Only a training answers; Snakemake and shells would die of it.
if "SLURM_JOB_ID" in os.environ:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)

try:
    plan = Plan(config)
except ValueError as error:
    sys.exit(f"error: {', '.join(map(str, workflow.configfiles))}: {error}")


def any_of(names):
    """A pattern that matches these names and nothing else."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    dataset=any_of(plan.datasets),
    body=any_of(plan.people.bodies),
    stage=any_of(plan.stages),
    benchmark=any_of(
        plan.benchmarks.keys()
        - plan.people.benchmarks.keys()
        - plan.driving.benchmarks.keys()
    ),
    people=any_of(plan.people.benchmarks),
    model=any_of(plan.people.stages),
    row=any_of(plan.people.all),
    drives=any_of(plan.driving.benchmarks),
    world=any_of(plan.driving.stages),
    entry=any_of(plan.driving.all),
    size=SIZE,
    baseline=any_of(BASELINES),
    tracker=any_of(plan.trackers.trained),
    foreign=any_of(plan.trackers.foreign),
    any=any_of(plan.trackers.all),
    mode="first|strided",
    resolution=r"\d+",
    shard=r"\d{6}",


def made(rule):
    """A rule's name and all that decides a job's outputs apart from its inputs: code, versions and settings."""
    return lambda wildcards: plan.made(rule, dict(wildcards))


def literally(text):
    """A text as a parameter in which Snakemake looks for no wildcards."""
    return lambda wildcards: text


def recorded(command, options=""):
    """The command, with a sidecar of provenance written beside each output when it ends well."""
    return (
        "python -m workflow.provenance --made {params.made} --inputs {input:q} --outputs {output:q}"
        f" {options}-- {command}"
    )


def assets_of(wildcards):
    """The list of the assets that a data set's clips are made of; their folder has its name without .json."""
    return f"data/assets/{plan.datasets[wildcards.dataset].assets}.json"


def body_source(wildcards):
    return plan.people.body_inputs(wildcards.body)


def shard_source(wildcards):
    """What one shard waits for."""
    dataset = wildcards.dataset
    scenes = plan.datasets[dataset].scenes
    files = [*plan.body_files(dataset), *([scenes] if scenes else [])]
    return [plan.pack_input(dataset, wildcards.shard), *files]


def shards_of(wildcards):
    dataset = plan.datasets[wildcards.dataset]
    return [
        f"data/shards/{dataset.name}/shard-{shard}.json" for shard in dataset.shards
    ]


def clips_of(wildcards):
    return [index_path(name) for name in plan.datasets_of_stage(wildcards.stage)]


def validation_of(wildcards):
    return plan.validation_index(wildcards.stage)


def deciding_validation_of(wildcards):
    """The index that chooses the weights of a stage which keeps the best of them."""
    keeps_best = plan.recipes[wildcards.stage]["training"]["keep"] == "best"
    return plan.validation_index(wildcards.stage) if keeps_best else []


def deepspeed_op_of(wildcards):
    """DeepSpeed's CPU op, where DeepSpeed trains."""
    return [plan.deepspeed_op] if wildcards.stage in plan.deepspeed_stages else []


def drawn_from(wildcards):
    """What a stage draws people from: their body file, and what is behind them."""
    dataset = plan.recipes[wildcards.stage]["data"]["dataset"]
    return [*plan.body_files(dataset), *plan.datasets[dataset].panoramas]


def first_weights(wildcards):
    """The weights that a stage starts from, if it starts from another stage."""
    source = plan.recipes[wildcards.stage]["init_from"]
    return [f"results/{source}/weights.safetensors"] if source else []


def published_of(wildcards):
    """The file of the user's that a stage begins with, if there is one. An exception would not do where it is missing:
    Snakemake would take older weights for the finished ones."""
    path = plan.driving.published.get(wildcards.stage)
    if path and not os.path.exists(path):
        sys.exit(
            f"error: stages.{wildcards.stage}: model.published={path} is not there; download svd_xt.safetensors from"
            " huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt and put it there"
        )
    return [path] if path else []


def teachers_of(wildcards):
    return plan.teacher_files(wildcards.stage)


def allocation(wildcards):
    return plan.cluster.allocations[wildcards.stage]


def launcher(wildcards, input):
    """How a training's processes are placed. As a function of `input` it is not compared: it decides no weights."""
    return plan.cluster.launcher(wildcards.stage)


def launch_words(wildcards, input):
    """Arguments of the launch. A function of `input` is not compared between runs, so `logging` re-trains nothing;
    what counts is compared as the composed recipe."""
    start = [f"paths.init_weights={path}" for path in input.init]
    return f"{plan.launch_words(wildcards.stage)} {quote(start)}".strip()


def truth_of(wildcards):
    return index_path(plan.benchmarks[wildcards.benchmark].dataset)


def foreign_predictions(wildcards):
    """What a tracker that runs elsewhere predicted. An exception would not do where it is missing: Snakemake would take
    an older table for the finished one."""
    benchmark = plan.benchmarks[wildcards.benchmark]
    path = benchmark.path_of(wildcards.foreign, wildcards.mode)
    if not os.path.exists(path):
        sys.exit(
            f"error: benchmarks.{benchmark.name}.predictions.{wildcards.foreign}: there is no file {path}; answer the queries"
            f" of `python -m eval queries --truth {index_path(benchmark.dataset)} --query-mode {wildcards.mode}`"
        )
    return path


def scores_of(wildcards):
    return plan.files_of_benchmark(wildcards.benchmark, "json")


def tables_of(benchmarks):
    return [f"results/{benchmark.name}/table.md" for benchmark in benchmarks]


def tables_of_badja(wildcards):
    if "badja" not in plan.benchmarks:
        raise WorkflowError(
            "error: where is BADJA? snakemake badja --config badja_root=FOLDER (that of badja.pkl)"
        )
    return tables_of([plan.benchmarks["badja"]])


def tables_of_people(wildcards):
    if not plan.people_benchmarks:
        raise WorkflowError(
            "error: no benchmark of people is there; add one (config/blade_paper.yaml), or put its files where it says"
        )
    return tables_of(plan.people_benchmarks)


def page_of_people():
    return ["results/blade.html"] if plan.people_benchmarks else []


def files_of_report(kind):
    return [
        path
        for benchmark in plan.tracking_benchmarks
        for path in plan.files_of_benchmark(benchmark.name, kind)
    ]


def truth_of_people(wildcards):
    return index_path(plan.people.benchmarks[wildcards.people].dataset)


def body_of(wildcards):
    return plan.people.body(wildcards.people)


def files_of_people(kind):
    return [
        path
        for benchmark in plan.people_benchmarks
        for path in plan.people.files(benchmark.name, kind)
    ]


def of_stages_of_people(name):
    return [f"results/{stage}/{name}" for stage in plan.people.stages]


def truth_of_drives(wildcards):
    return plan.driving.truth(wildcards.drives)


def files_of_driving(kind):
    return [
        path
        for benchmark in plan.driving_benchmarks
        for path in plan.driving.files(benchmark.name, kind)
    ]


def page_of_driving():
    return ["results/vista.html"] if plan.driving_benchmarks else []


def of_stages_of_driving(name):
    """Files of all stages that train a driving world."""
    return [f"results/{stage}/{name}" for stage in plan.driving.stages]


def truths_of_report():
    return sorted(
        {index_path(benchmark.dataset) for benchmark in plan.tracking_benchmarks}
    )


def pages_of_datasets():
    """Pages of what is rendered here; that of another data set is made when it is asked for."""
    return [page_path(dataset) for dataset in plan.datasets_of("render")]


def of_all_stages(name):
    return [f"results/{stage}/{name}" for stage in plan.stages]


def files_to_publish(wildcards):
    """All that was made here: results, and the data sets that were rendered. What others published is theirs to give."""
    if plan.publish is None:
        raise WorkflowError(
            "error: publish to where? snakemake publish --config publish=s3://bucket/run1"
        )
    kinds = (
        "weights.safetensors",
        "untrained.safetensors",
        "metrics.jsonl",
        "recipe.yaml",
        "curves.png",
    )
    return [
        *(index_path(dataset) for dataset in plan.datasets_of("render")),
        *(path for kind in kinds for path in of_all_stages(kind)),
        *files_of_report("predictions.npz"),
        *files_of_report("json"),
        *tables_of(plan.available_benchmarks),
        *(f"results/{b.name}/table.csv" for b in plan.available_benchmarks),
        *pages_of_datasets(),
        "results/report.html",
    ]
