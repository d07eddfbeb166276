# A file that a person put at its path is an input like any other: there is no rule that could overwrite it.
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
            made=plan.made("fetch", {"file": path}),
            source=quote(
                f"--{key}={value}"
                for key in ("url", "member", "sha256")
                if (value := getattr(dataset, key))
            ),
        shell:
            recorded(
                "python -m workflow.fetch {params.source} --out {output} > {log} 2>&1"
            )
