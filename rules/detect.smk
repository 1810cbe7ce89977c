# Needs a list of the plan. Leaves segments in results/store/, one after the other, and at the end a
# record that this job found nothing more to do. Each job holds one GPU and draws its work: the chunks of its
# shard, then those that other jobs have not come to.
rule fetch_weights:
    output:
        weights="results/plan/{plan}/weights.txt",
    log:
        "results/logs/fetch_weights/{plan}.log",
    localrule: True
    conda:
        "../envs/fetch_weights.yaml"
    script:
        "../scripts/fetch_weights.py"


rule detect:
    input:
        **detect_input(),
    output:
        done="results/plan/{plan}/{shard}.done",
    log:
        "results/logs/detect/{plan}-{shard}.log",
    benchmark:
        "results/benchmarks/detect/{plan}-{shard}.tsv"
    retries: detect_retries()
    conda:
        "../envs/detect.yaml"
    threads: detect_threads()
    resources:
        gpu=1,
        mem_mb=detect_memory,
        runtime=shard_runtime,
    script:
        "../scripts/detect.py"
