rule dataset_page:
    input:
        "data/shards/{dataset}/index.json",
    output:
        "results/data/{dataset}.html",
    log:
        "logs/dataset_page/{dataset}.log",
    benchmark:
        "logs/benchmarks/dataset_page/{dataset}.tsv"
    params:
        made=made("dataset_page"),
    shell:
        recorded("python -m eval dataset {input} --out {output} > {log} 2>&1")


rule rulegraph:
    output:
        "results/graph.dot",
    log:
        "logs/rulegraph.log",
    benchmark:
        "logs/benchmarks/rulegraph.tsv"
    params:
        made=made("rulegraph"),
        configfiles=quote(
            f"--configfile={os.path.relpath(path)}"
            for path in workflow.overwrite_configfiles
        ),
    shell:
        recorded(
            "python -m snakemake all --rulegraph dot --nolock {params.configfiles} 2> {log}",
            "--save {output} ",
        )


rule report_page:
    input:
        scores=files_of_report("json"),
        people_scores=files_of_people("json"),
        people_overlays=files_of_people("png"),
        driving_scores=files_of_driving("json"),
        driving_sheets=files_of_driving("png"),
        curves=of_all_stages("metrics.jsonl"),
        predictions=files_of_report("predictions.npz"),
        truths=truths_of_report(),
        recipes=of_all_stages("recipe.yaml"),
        graph="results/graph.dot",
    output:
        "results/report.html",
    log:
        "logs/report.log",
    benchmark:
        "logs/benchmarks/report.tsv"
    params:
        made=made("report_page"),
        notes=quote(f"--note={note}" for note in plan.notes()),
    shell:
        recorded(
            "python -m eval report --scores {input.scores} --people-scores {input.people_scores}"
            " --people-overlays {input.people_overlays} --driving-scores {input.driving_scores}"
            " --driving-sheets {input.driving_sheets} --curves {input.curves}"
            " --predictions {input.predictions} --truth {input.truths} --recipe {input.recipes}"
            " --graph {input.graph} --root . {params.notes} --out {output} > {log} 2>&1"
        )


# Has no output, so it always runs. It reads the sidecars and makes nothing.
rule verify:
    log:
        "logs/verify.log",
    params:
        config=quote([json.dumps(config)]),
    shell:
        "python -m workflow.verify --config {params.config} 2>&1 | tee {log}"
