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
        assets="data/assets/open.json",
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
        overrides=lambda wildcards: quote(plan.generation_words(wildcards.dataset)),
    shell:
        recorded(
            "python -m generation {params.recipe} --seeds {params.seeds} --dataset {wildcards.dataset}"
            " --out data/clips/{wildcards.dataset} --done {output} --assets data/assets/open"
            " --renderer data/envs/render/bin/python --threads {threads} {params.overrides} > {log} 2>&1"
        )


rule renderer:
    input:
        "data/envs/render.json",
        "data/assets/open.json",
