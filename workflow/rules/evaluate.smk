# Predictions and scores are files of their own: an edited metric scores again and predicts nothing again.
rule baseline:
    input:
        truth=truth_of,
    output:
        "results/{benchmark}/{baseline}.{mode}.{resolution}.predictions.npz",
    log:
        "logs/baseline/{benchmark}/{baseline}.{mode}.{resolution}.log",
    benchmark:
        "logs/benchmarks/baseline/{benchmark}/{baseline}.{mode}.{resolution}.tsv"
    params:
        made=made("baseline"),
    shell:
        recorded(
            "python -m eval track --tracker {wildcards.baseline} --truth {input.truth}"
            " --query-mode {wildcards.mode} --resolution {wildcards.resolution} --out {output} > {log} 2>&1"
        )


# What a tracker that runs elsewhere predicted, under the name that the configuration gives it. That it answers this truth
# is checked when it is scored.
rule adopt:
    input:
        foreign_predictions,
    output:
        "results/{benchmark}/{foreign}.{mode}.256.predictions.npz",
    log:
        "logs/adopt/{benchmark}/{foreign}.{mode}.log",
    benchmark:
        "logs/benchmarks/adopt/{benchmark}/{foreign}.{mode}.tsv"
    params:
        made=made("adopt"),
    shell:
        recorded(
            "python -m eval adopt {input:q} --tracker {wildcards.foreign} --query-mode {wildcards.mode}"
            " --out {output} > {log} 2>&1"
        )


rule predict:
    input:
        truth=truth_of,
        weights=lambda wildcards: plan.trackers.weights_of(wildcards.tracker),
    output:
        "results/{benchmark}/{tracker}.{mode}.{resolution}.predictions.npz",
    log:
        "logs/predict/{benchmark}/{tracker}.{mode}.{resolution}.log",
    benchmark:
        "logs/benchmarks/predict/{benchmark}/{tracker}.{mode}.{resolution}.tsv"
    threads: 1
    resources:
        mem_mb=lambda wildcards: plan.cluster.prediction_memory_mb(wildcards.tracker),
        slurm_extra=lambda wildcards: plan.cluster.prediction_options(wildcards.tracker),
    params:
        made=made("predict"),
        options=plan.trackers.prediction_words,
    shell:
        recorded(
            "python -m trainer.predict --weights {input.weights} --truth {input.truth} --tracker {wildcards.tracker}"
            " --query-mode {wildcards.mode} --resolution {wildcards.resolution} {params.options} --check-leaks 1"
            " --threads {threads} --out {output} > {log} 2>&1"
        )


rule score:
    input:
        predictions="results/{benchmark}/{any}.{mode}.{resolution}.predictions.npz",
        truth=truth_of,
    output:
        "results/{benchmark}/{any}.{mode}.{resolution}.json",
    log:
        "logs/score/{benchmark}/{any}.{mode}.{resolution}.log",
    benchmark:
        "logs/benchmarks/score/{benchmark}/{any}.{mode}.{resolution}.tsv"
    params:
        made=made("score"),
        options=plan.trackers.score_words,
    shell:
        recorded(
            "python -m eval score --predictions {input.predictions} --truth {input.truth} {params.options}"
            " --out {output} > {log} 2>&1"
        )


rule table:
    input:
        scores_of,
    output:
        markdown="results/{benchmark}/table.md",
        csv="results/{benchmark}/table.csv",
    log:
        "logs/table/{benchmark}.log",
    benchmark:
        "logs/benchmarks/table/{benchmark}.tsv"
    params:
        made=made("table"),
    shell:
        recorded("python -m eval table {input} --out {output.markdown} > {log} 2>&1")
