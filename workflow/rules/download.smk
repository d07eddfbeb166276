# A file or folder that a person put at its path is an input like any other: no rule could overwrite it. Of an archive the
# output is a marker beside the unpacked folder: Snakemake would put a time stamp into a folder that it knows.
for path, dataset in plan.downloads().items():

    rule:
        name:
            f"fetch_{dataset.name}"
        output:
            path,
        log:
            f"logs/fetch/{dataset.name}.log",
        benchmark:
            f"logs/benchmarks/fetch/{dataset.name}.tsv"
        params:
            made=literally(plan.made("fetch", {"file": path})),
            command=literally(plan.fetch_words(dataset)),
        shell:
            recorded("python -m {params.command} --out {output:q} > {log} 2>&1")


# Shards that lie elsewhere: their index is copied, and a note beside it says where it came from. The shards come into the
# cache when they are read, or all at once. Whether they do is no output, so it is a function of `input`: not compared.
rule link:
    output:
        "data/shards/{dataset}/index.json",
    log:
        "logs/link/{dataset}.log",
    benchmark:
        "logs/benchmarks/link/{dataset}.tsv"
    wildcard_constraints:
        dataset=any_of(plan.datasets_of("remote")),
    params:
        made=made("link"),
        link=lambda wildcards, input: plan.link_words(wildcards.dataset),
    shell:
        recorded("python -m shards link {params.link} --out {output} > {log} 2>&1")
