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
