# What makes Anny's bodies; used once, by the rule below. Needs the network.
rule body_packages:
    input:
        "workflow/envs/body.txt",
    output:
        "data/envs/body.json",
    log:
        "logs/body_packages.log",
    benchmark:
        "logs/benchmarks/body_packages.tsv"
    params:
        made=made("body_packages"),
    shell:
        recorded(
            "python -m generation body-packages --out data/envs/body --marker {output} > {log} 2>&1"
        )


rule body:
    input:
        body_source,
    output:
        "data/bodies/{body}.npz",
    log:
        "logs/body/{body}.log",
    benchmark:
        "logs/benchmarks/body/{body}.tsv"
    resources:
        mem_mb=4000,
    params:
        made=made("body"),
        words=lambda wildcards: quote(plan.people.bodies[wildcards.body].words()),
        packages=lambda wildcards: plan.people.packages(wildcards.body),
    shell:
        recorded(
            "python -m generation body {params.words} {params.packages} --out {output} > {log} 2>&1"
        )


# Real places as backgrounds, for data sets with `background: panorama`: Blender reads the HDRIs.
rule panoramas:
    input:
        environment="data/envs/render.json",
        assets="data/assets/{assets}.json",
    output:
        "data/panoramas/{assets}.npz",
    log:
        "logs/panoramas/{assets}.log",
    benchmark:
        "logs/benchmarks/panoramas/{assets}.tsv"
    wildcard_constraints:
        assets="open|kubric",
    params:
        made=made("panoramas"),
    shell:
        recorded(
            "python -m generation panoramas --assets data/assets/{wildcards.assets} --out {output}"
            " --renderer data/envs/render/bin/python > {log} 2>&1"
        )


# Drawn and packed at once: pictures of people take less time than files of theirs would.
rule draw_people:
    input:
        body=lambda wildcards: plan.body_files(wildcards.dataset),
        panoramas=lambda wildcards: plan.datasets[wildcards.dataset].panoramas,
        renderer=lambda wildcards: (
            ["data/envs/render.json"]
            if plan.datasets[wildcards.dataset].is_in_cycles
            else []
        ),
    output:
        tar="data/shards/{dataset}/shard-{shard}.tar",
        entry="data/shards/{dataset}/shard-{shard}.json",
    log:
        "logs/draw_people/{dataset}/{shard}.log",
    benchmark:
        "logs/benchmarks/draw_people/{dataset}/{shard}.tsv"
    wildcard_constraints:
        dataset=any_of(plan.datasets_of("people")),
    params:
        made=made("draw_people"),
        seeds=lambda wildcards: plan.datasets[wildcards.dataset].seeds(wildcards.shard),
        codec=lambda wildcards: plan.datasets[wildcards.dataset].codec,
        overrides=lambda wildcards: quote(plan.people.words(wildcards.dataset)),
        panoramas=lambda wildcards, input: " ".join(
            f"--panoramas {path}" for path in input.panoramas
        ),
        renderer=lambda wildcards, input: " ".join(
            "--renderer data/envs/render/bin/python" for _ in input.renderer
        ),
    shell:
        recorded(
            "python -m generation people --seeds {params.seeds} --body {input.body} --dataset {wildcards.dataset}"
            " --codec {params.codec} --out data/shards/{wildcards.dataset}/shard-{wildcards.shard}"
            " {params.panoramas} {params.renderer} {params.overrides} > {log} 2>&1"
        )
