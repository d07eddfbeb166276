# People: predictions, scores, overlays and tables are files of their own, as those of trackers are. An edited metric scores
# again; an edited drawing draws again.
rule people_constant:
    input:
        training=lambda wildcards: index_path(
            plan.people.training_set(wildcards.people)
        ),
        truth=truth_of_people,
        body=body_of,
    output:
        "results/{people}/constant.people.predictions.npz",
    log:
        "logs/people_constant/{people}.log",
    benchmark:
        "logs/benchmarks/people_constant/{people}.tsv"
    params:
        made=made("people_constant"),
    shell:
        recorded(
            "python -m eval people-constant --training {input.training} --truth {input.truth} --body {input.body}"
            " --out {output} > {log} 2>&1"
        )


rule predict_people:
    input:
        truth=truth_of_people,
        body=body_of,
        weights="results/{model}/weights.safetensors",
    output:
        "results/{people}/{model}.people.predictions.npz",
    log:
        "logs/predict_people/{people}/{model}.log",
    benchmark:
        "logs/benchmarks/predict_people/{people}/{model}.tsv"
    threads: 1
    resources:
        mem_mb=lambda wildcards: plan.cluster.prediction_memory_mb(wildcards.model),
        slurm_extra=lambda wildcards: plan.cluster.prediction_options(wildcards.model),
    params:
        made=made("predict_people"),
    shell:
        recorded(
            "python -m trainer.predict_people --weights {input.weights} --truth {input.truth} --body {input.body}"
            " --out {output} > {log} 2>&1"
        )


rule score_people:
    input:
        predictions="results/{people}/{row}.people.predictions.npz",
        truth=truth_of_people,
        body=body_of,
    output:
        "results/{people}/{row}.people.json",
    log:
        "logs/score_people/{people}/{row}.log",
    benchmark:
        "logs/benchmarks/score_people/{people}/{row}.tsv"
    params:
        made=made("score_people"),
        most_failed=lambda wildcards: plan.benchmarks[wildcards.people].most_failed,
    shell:
        recorded(
            "python -m eval people-score --predictions {input.predictions} --truth {input.truth} --body {input.body}"
            " --most-failed {params.most_failed} --out {output} > {log} 2>&1"
        )


rule draw_overlay:
    input:
        predictions="results/{people}/{row}.people.predictions.npz",
        truth=truth_of_people,
        body=body_of,
    output:
        "results/{people}/{row}.people.png",
    log:
        "logs/draw_overlay/{people}/{row}.log",
    benchmark:
        "logs/benchmarks/draw_overlay/{people}/{row}.tsv"
    params:
        made=made("draw_overlay"),
    shell:
        recorded(
            "python -m eval people-overlay --predictions {input.predictions} --truth {input.truth} --body {input.body}"
            " --out {output} > {log} 2>&1"
        )


rule people_table:
    input:
        lambda wildcards: plan.people.files(wildcards.people, "json"),
    output:
        markdown="results/{people}/table.md",
        csv="results/{people}/table.csv",
    log:
        "logs/people_table/{people}.log",
    benchmark:
        "logs/benchmarks/people_table/{people}.tsv"
    params:
        made=made("people_table"),
    shell:
        recorded(
            "python -m eval people-table {input} --out {output.markdown} > {log} 2>&1"
        )


# The report of people alone: it waits for no tracker.
rule blade_page:
    input:
        scores=files_of_people("json"),
        overlays=files_of_people("png"),
        curves=of_stages_of_people("metrics.jsonl"),
        recipes=of_stages_of_people("recipe.yaml"),
    output:
        "results/blade.html",
    log:
        "logs/blade_page.log",
    benchmark:
        "logs/benchmarks/blade_page.tsv"
    params:
        made=made("blade_page"),
    shell:
        recorded(
            "python -m eval report --title BLADE --people-scores {input.scores} --people-overlays {input.overlays}"
            " --curves {input.curves} --recipe {input.recipes} --out {output} > {log} 2>&1"
        )
