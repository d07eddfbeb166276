# Has no output, so it always runs: what is there already is not sent again. Reads the sidecars, so that nothing goes out that
# changed since it was made.
rule publish:
    input:
        files_to_publish,
    log:
        "logs/publish.log",
    params:
        url=lambda wildcards: quote([plan.publish]),
    shell:
        "python -m workflow.provenance --made publish --inputs {input:q} --"
        " python -m shards send {params.url} {input:q} 2>&1 | tee {log}"
