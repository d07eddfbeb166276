# The depth store shard-NNNNNN.zarr comes with the two, and its sha256 is in the JSON. It is not declared: Snakemake would
# put a time stamp into a folder that it knows, and the store would no longer have that sha256.
rule pack:
    input:
        shard_source,
    output:
        tar="data/shards/{dataset}/shard-{shard}.tar",
        entry="data/shards/{dataset}/shard-{shard}.json",
    log:
        "logs/pack/{dataset}/{shard}.log",
    benchmark:
        "logs/benchmarks/pack/{dataset}/{shard}.tsv"
    wildcard_constraints:
        dataset=any_of(plan.packed_datasets),
    params:
        made=made("pack"),
        source=lambda wildcards: plan.pack_source(wildcards.dataset, wildcards.shard),
        layout=lambda wildcards: plan.layout(wildcards.dataset),
        codec=lambda wildcards: plan.datasets[wildcards.dataset].codec,
        options=lambda wildcards: plan.pack_words(wildcards.dataset),
    shell:
        recorded(
            "python -m shards pack --source {params.layout} --codec {params.codec} {params.options} {params.source:q}"
            " --out data/shards/{wildcards.dataset}/shard-{wildcards.shard} > {log} 2>&1"
        )


rule index:
    input:
        shards_of,
    output:
        "data/shards/{dataset}/index.json",
    log:
        "logs/index/{dataset}.log",
    benchmark:
        "logs/benchmarks/index/{dataset}.tsv"
    wildcard_constraints:
        dataset=any_of(plan.datasets.keys() - set(plan.datasets_of("remote"))),
    params:
        made=made("index"),
    shell:
        recorded(
            "python -m shards index {input:q} --dataset {wildcards.dataset} --out {output} > {log} 2>&1"
        )
