from snakemake.utils import min_version

min_version("9.27")


# A configuration given by --configfile stands alone: merged into this one, it would inherit its data sets.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/people.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/pack.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/blade.smk"
include: "workflow/rules/vista.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/publish.smk"


localrules:
    all,
    data,
    renderer,
    train,
    evaluate,
    badja,
    blade,
    vista,
    report,
    publish,
    verify,
    # What needs the network, which a cluster's nodes may not have, and what takes no time: where Snakemake runs.
    render_environment,
    body_packages,
    mirror_assets,
    fetch,
    link,
    index,
    curves,
    table,
    people_table,
    drives_table,
    rulegraph,


# The shards are named besides the indices, so that a deleted one is missed and rebuilt alone.
rule data:
    input:
        [index_path(dataset) for dataset in plan.datasets if plan.is_available(dataset)],
        plan.shard_files(),


# `snakemake` alone means this one: the main job.
rule train:
    default_target: True
    input:
        of_all_stages("weights.safetensors"),
        of_all_stages("curves.png"),


rule evaluate:
    input:
        tables_of(plan.benchmarks.values()),


# snakemake badja --config badja_root=FOLDER
rule badja:
    input:
        tables_of_badja,


# People, from bodies to the table: everything that models of people need, and nothing of the trackers.
rule blade:
    input:
        of_stages_of_people("weights.safetensors"),
        of_stages_of_people("curves.png"),
        tables_of_people,
        "results/blade.html",


# Driving worlds: the data sets and the stages of Vista, one after the other, up to the tables.
rule vista:
    input:
        of_stages_of_driving("weights.safetensors"),
        of_stages_of_driving("curves.png"),
        tables_of(plan.driving_benchmarks),
        files_of_driving("png"),
        page_of_driving(),


rule report:
    input:
        "results/report.html",
        pages_of_datasets(),


rule all:
    input:
        rules.data.input,
        rules.train.input,
        tables_of(plan.available_benchmarks),
        rules.report.input,
        page_of_people(),
        page_of_driving(),


onsuccess:
    print(closing_words(plan))


onerror:
    print(closing_words(plan))
