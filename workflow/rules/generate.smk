rule render_environment:
    input:
        "workflow/envs/render.txt",
    output:
        "data/envs/render.json",
    log:
        "logs/render_environment.log",
    benchmark:
        "logs/benchmarks/render_environment.tsv"
    params:
        made=made("render_environment"),
    shell:
        "python -m generation check > {log} 2>&1; "
        + recorded(
            "python -m generation environment --out data/envs/render --marker {output} >> {log} 2>&1"
        )


rule render_assets:
    input:
        "data/envs/render.json",
    output:
        "data/assets/open.json",
    log:
        "logs/render_assets.log",
    benchmark:
        "logs/benchmarks/render_assets.tsv"
    params:
        made=made("render_assets"),
    shell:
        recorded(
            "python -m generation assets --out data/assets/open --marker {output}"
            " --renderer data/envs/render/bin/python > {log} 2>&1"
        )


# One job a shard: its parameters hold the seeds of its own clips only, so that more clips render only new shards.
rule render_shard:
    input:
        environment="data/envs/render.json",
        assets=assets_of,
    output:
        "data/clips/{dataset}/shard-{shard}.json",
    log:
        "logs/render_shard/{dataset}/{shard}.log",
    benchmark:
        "logs/benchmarks/render_shard/{dataset}/{shard}.tsv"
    wildcard_constraints:
        dataset=any_of(plan.datasets_of("render")),
    threads: 1
    resources:
        mem_mb=4000,
    params:
        made=made("render_shard"),
        recipe=lambda wildcards: plan.datasets[wildcards.dataset].recipe,
        seeds=lambda wildcards: plan.datasets[wildcards.dataset].seeds(wildcards.shard),
        assets=lambda wildcards: f"data/assets/{plan.datasets[wildcards.dataset].assets}",
        overrides=lambda wildcards: quote(plan.generation_words(wildcards.dataset)),
    shell:
        recorded(
            "python -m generation {params.recipe} --seeds {params.seeds} --dataset {wildcards.dataset}"
            " --out data/clips/{wildcards.dataset} --done {output} --assets {params.assets}"
            " --renderer data/envs/render/bin/python --threads {threads} {params.overrides} > {log} 2>&1"
        )


# Reads rendered passes: another annotation renders nothing again. Drives have none and are packed as they are.
rule annotate_shard:
    input:
        "data/clips/{dataset}/shard-{shard}.json",
    output:
        "data/tracks/{dataset}/shard-{shard}.json",
    log:
        "logs/annotate_shard/{dataset}/{shard}.log",
    benchmark:
        "logs/benchmarks/annotate_shard/{dataset}/{shard}.tsv"
    wildcard_constraints:
        dataset=any_of(
            name for name, known in plan.datasets.items() if known.is_annotated
        ),
    threads: 1
    params:
        made=made("annotate_shard"),
        tracks=lambda wildcards: quote(plan.track_words(wildcards.dataset)),
    shell:
        recorded(
            "python -m generation annotate {input} --out data/tracks/{wildcards.dataset} --done {output}"
            " {params.tracks} > {log} 2>&1"
        )


# Kubric's own assets, for data sets with `assets: kubric`. Goes on where it was interrupted.
rule mirror_assets:
    output:
        "data/assets/kubric.json",
    log:
        "logs/mirror_assets.log",
    benchmark:
        "logs/benchmarks/mirror_assets.tsv"
    params:
        made=made("mirror_assets"),
        url=literally(quote([plan.kubric_assets])),
    shell:
        recorded(
            "python -m generation mirror --out data/assets/kubric --url {params.url} --marker {output} > {log} 2>&1"
        )


rule renderer:
    input:
        "data/envs/render.json",
        "data/assets/open.json",
