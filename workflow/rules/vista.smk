# What frozen networks say of every frame, once for all stages of that size that learn from it (data.driving.latents). Only
# the JSON is declared: the store beside it is a folder, and its sha256 is in the JSON.
rule encode_latents:
    input:
        entry="data/shards/{dataset}/shard-{shard}.json",
        weights=encoders_of,
    output:
        "data/latents/{latents}/{dataset}/shard-{shard}.json",
    log:
        "logs/encode_latents/{latents}/{dataset}/{shard}.log",
    benchmark:
        "logs/benchmarks/encode_latents/{latents}/{dataset}/{shard}.tsv"
    threads: 1
    resources:
        mem_mb=lambda wildcards: plan.cluster.prediction_memory_mb(
            plan.latents[wildcards.latents].stage
        ),
        slurm_extra=lambda wildcards: plan.cluster.prediction_options(
            plan.latents[wildcards.latents].stage
        ),
    params:
        made=made("encode_latents"),
        source=lambda wildcards: plan.latents[wildcards.latents].weights_option,
        options=lambda wildcards: plan.latents[wildcards.latents].options(),
    shell:
        recorded(
            "python -m trainer.encode_latents --clips {input.entry} {params.source} {input.weights:q} {params.options}"
            " --threads {threads} --out data/latents/{wildcards.latents}/{wildcards.dataset} > {log} 2>&1"
        )


# Driving worlds: rollouts, scores, sheets and tables are files of their own. An edited metric scores again and makes no
# frame again; an edited drawing draws again.
rule drives_copy:
    input:
        truth=truth_of_drives,
    output:
        "results/{drives}/copy-{size}.drives.rollouts.npz",
    log:
        "logs/drives_copy/{drives}/{size}.log",
    benchmark:
        "logs/benchmarks/drives_copy/{drives}/{size}.tsv"
    params:
        made=made("drives_copy"),
        options=plan.driving.copy_words,
    shell:
        recorded(
            "python -m eval drives-copy --truth {input.truth} {params.options} --out {output} > {log} 2>&1"
        )


rule predict_drives:
    input:
        truth=truth_of_drives,
        weights="results/{world}/weights.safetensors",
    output:
        "results/{drives}/{world}.drives.rollouts.npz",
    log:
        "logs/predict_drives/{drives}/{world}.log",
    benchmark:
        "logs/benchmarks/predict_drives/{drives}/{world}.tsv"
    threads: 1
    resources:
        mem_mb=lambda wildcards: plan.cluster.prediction_memory_mb(wildcards.world),
        slurm_extra=lambda wildcards: plan.cluster.prediction_options(wildcards.world),
    params:
        made=made("predict_drives"),
        options=plan.driving.rollout_words,
    shell:
        recorded(
            "python -m trainer.predict_drives --weights {input.weights} --truth {input.truth} {params.options}"
            " --threads {threads} --out {output} > {log} 2>&1"
        )


rule score_drives:
    input:
        rollouts="results/{drives}/{entry}.drives.rollouts.npz",
        truth=truth_of_drives,
    output:
        "results/{drives}/{entry}.drives.json",
    log:
        "logs/score_drives/{drives}/{entry}.log",
    benchmark:
        "logs/benchmarks/score_drives/{drives}/{entry}.tsv"
    params:
        made=made("score_drives"),
    shell:
        recorded(
            "python -m eval drives-score --rollouts {input.rollouts} --truth {input.truth} --out {output} > {log} 2>&1"
        )


rule draw_drives:
    input:
        rollouts="results/{drives}/{world}.drives.rollouts.npz",
        truth=truth_of_drives,
    output:
        sheet="results/{drives}/{world}.drives.png",
        film="results/{drives}/{world}.drives.mp4",
    log:
        "logs/draw_drives/{drives}/{world}.log",
    benchmark:
        "logs/benchmarks/draw_drives/{drives}/{world}.tsv"
    params:
        made=made("draw_drives"),
    shell:
        recorded(
            "python -m eval drives-sheet --rollouts {input.rollouts} --truth {input.truth} --out {output.sheet}"
            " --film {output.film} > {log} 2>&1"
        )


rule drives_table:
    input:
        lambda wildcards: plan.driving.files(wildcards.drives, "json"),
    output:
        markdown="results/{drives}/table.md",
        csv="results/{drives}/table.csv",
    log:
        "logs/drives_table/{drives}.log",
    benchmark:
        "logs/benchmarks/drives_table/{drives}.tsv"
    params:
        made=made("drives_table"),
    shell:
        recorded(
            "python -m eval drives-table {input} --out {output.markdown} > {log} 2>&1"
        )


# The report of driving worlds alone: it waits for no tracker.
rule vista_page:
    input:
        scores=files_of_driving("json"),
        sheets=files_of_driving("png"),
        curves=of_stages_of_driving("metrics.jsonl"),
        recipes=of_stages_of_driving("recipe.yaml"),
    output:
        "results/vista.html",
    log:
        "logs/vista_page.log",
    benchmark:
        "logs/benchmarks/vista_page.tsv"
    params:
        made=made("vista_page"),
    shell:
        recorded(
            "python -m eval report --title Vista --driving-scores {input.scores} --driving-sheets {input.sheets}"
            " --curves {input.curves} --recipe {input.recipes} --out {output} > {log} 2>&1"
        )
