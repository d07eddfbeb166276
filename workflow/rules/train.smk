# Only stages with training.strategy=deepspeed_zero2 ask for it: DeepSpeed would compile it in the training, without a word.
rule deepspeed_op:
    output:
        plan.deepspeed_op,
    log:
        "logs/deepspeed_op.log",
    benchmark:
        "logs/benchmarks/deepspeed_op.tsv"
    threads: 2
    params:
        made=made("deepspeed_op"),
    shell:
        recorded("python -m trainer.deepspeed_op --out data/deepspeed_op > {log} 2>&1")


# Reads the index and never the tars: the index holds their digests, and the reader holds the tars against it.
# Where the last weights are kept, validation cannot change the outputs that are declared: a newer benchmark trains nothing
# again, and best.safetensors, which is there where a stage is validated, is no output of the graph. Where the best ones are
# kept (training.keep), it decides.
# Resumes by itself: runs/<stage>/<identity>/ is private and survives a job that was killed.
rule train_stage:
    input:
        clips=clips_of,
        init=first_weights,
        published=published_of,
        teachers=teachers_of,
        validation=ancient(validation_of),
        deciding=deciding_validation_of,
        deepspeed_op=ancient(deepspeed_op_of),
        people=drawn_from,
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
    # Of a cluster; here they limit nothing. One launcher a node, which starts the processes there.
    resources:
        nodes=lambda wildcards: allocation(wildcards).num_nodes,
        tasks=lambda wildcards: allocation(wildcards).num_nodes,
        mpi=lambda wildcards: plan.cluster.launches_itself(wildcards.stage),
        cpus_per_task=lambda wildcards: allocation(wildcards).cpus_per_node,
        mem_mb=lambda wildcards: allocation(wildcards).memory_mb_per_node,
        runtime=lambda wildcards: allocation(wildcards).minutes,
        slurm_extra=lambda wildcards: plan.cluster.training_options(wildcards.stage),
    params:
        made=made("train_stage"),
        model=lambda wildcards: plan.recipe_words(wildcards.stage, "model"),
        data=lambda wildcards: plan.recipe_words(wildcards.stage, "data"),
        optimizer=lambda wildcards: plan.recipe_words(wildcards.stage, "optimizer"),
        training=lambda wildcards: plan.recipe_words(wildcards.stage, "training"),
        validation=lambda wildcards: plan.recipe_words(wildcards.stage, "validation"),
        processes=lambda wildcards: plan.stages[wildcards.stage].processes,
        launcher=launcher,
        launch=launch_words,
    shell:
        recorded(
            "python -m workflow.torchrun {params.launcher} -- -m trainer.launch {params.launch} 2>&1 | tee {log}"
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
