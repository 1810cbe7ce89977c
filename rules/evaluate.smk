# Needs the tables of the summary and label images. In the DAG only if `evaluation.labels` is set.
# Leaves the scores of each image and of all images together.
rule evaluate:
    input:
        stamp=evaluation_input,
        summary="results/summary.csv",
        objects="results/objects.parquet",
    output:
        images="results/evaluation.csv",
        total="results/evaluation_total.csv",
    log:
        "results/logs/evaluate.log",
    conda:
        "../envs/evaluate.yaml"
    resources:
        mem_mb=8000,
        runtime=240,
    script:
        "../scripts/evaluate.py"
