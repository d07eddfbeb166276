# Predictions and scores are files of their own: an edited metric scores again and predicts nothing again.
rule baseline:
    input:
        truth=truth_of,
    output:
        "results/{benchmark}/{baseline}.{mode}.256.predictions.npz",
    log:
        "logs/baseline/{benchmark}/{baseline}.{mode}.log",
    benchmark:
        "logs/benchmarks/baseline/{benchmark}/{baseline}.{mode}.tsv"
    params:
        made=made("baseline"),
    shell:
        recorded(
            "python -m eval track --tracker {wildcards.baseline} --truth {input.truth}"
            " --query-mode {wildcards.mode} --out {output} > {log} 2>&1"
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
        "results/{benchmark}/{tracker}.{mode}.256.predictions.npz",
    log:
        "logs/predict/{benchmark}/{tracker}.{mode}.log",
    benchmark:
        "logs/benchmarks/predict/{benchmark}/{tracker}.{mode}.tsv"
    threads: 1
    params:
        made=made("predict"),
        memory=memory_size,
    shell:
        recorded(
            "python -m trainer.predict --weights {input.weights} --truth {input.truth} --tracker {wildcards.tracker}"
            " --query-mode {wildcards.mode} {params.memory} --threads {threads} --out {output} > {log} 2>&1"
        )


rule score:
    input:
        predictions="results/{benchmark}/{any}.{mode}.256.predictions.npz",
        truth=truth_of,
    output:
        "results/{benchmark}/{any}.{mode}.256.json",
    log:
        "logs/score/{benchmark}/{any}.{mode}.log",
    benchmark:
        "logs/benchmarks/score/{benchmark}/{any}.{mode}.tsv"
    params:
        made=made("score"),
    shell:
        recorded(
            "python -m eval score --predictions {input.predictions} --truth {input.truth} --out {output} > {log} 2>&1"
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
