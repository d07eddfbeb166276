# Reads the index and never the tars: the index holds their digests, and the reader holds the tars against it.
# Validation cannot change the outputs that are declared: a newer benchmark trains nothing again, and best.safetensors,
# which is there where a stage is validated, is no output of the graph.
# Resumes by itself: runs/<stage>/<identity>/ is private and survives a job that was killed.
rule train_stage:
    input:
        clips=clips_of,
        init=first_weights,
        teachers=teachers_of,
        validation=ancient(validation_of),
    output:
        weights="results/{stage}/weights.safetensors",
        untrained="results/{stage}/untrained.safetensors",
        metrics="results/{stage}/metrics.jsonl",
        recipe="results/{stage}/recipe.yaml",
    log:
        "logs/train/{stage}.log",
    benchmark:
        "logs/benchmarks/train/{stage}.tsv"
    threads: lambda wildcards: plan.stages[wildcards.stage].processes
    params:
        made=made("train_stage"),
        model=lambda wildcards: plan.recipe_words(wildcards.stage, "model"),
        data=lambda wildcards: plan.recipe_words(wildcards.stage, "data"),
        optimizer=lambda wildcards: plan.recipe_words(wildcards.stage, "optimizer"),
        training=lambda wildcards: plan.recipe_words(wildcards.stage, "training"),
        processes=lambda wildcards: plan.stages[wildcards.stage].processes,
        launch=launch_words,
    shell:
        recorded(
            "python -m torch.distributed.run --standalone --nproc_per_node={params.processes}"
            " -m trainer.launch {params.launch} 2>&1 | tee {log}"
        )


rule curves:
    input:
        "results/{stage}/metrics.jsonl",
    output:
        "results/{stage}/curves.png",
    log:
        "logs/curves/{stage}.log",
    benchmark:
        "logs/benchmarks/curves/{stage}.tsv"
    params:
        made=made("curves"),
    shell:
        recorded("python -m eval curves {input} --out {output} > {log} 2>&1")
