# Needs the tables of the summary, and label images or marks. In the DAG only if `evaluation.labels` or
# `evaluation.marks` is set. Leaves the scores of each image and of all images together.
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


rule evaluate_marks:
    input:
        stamp=marks_input,
        summary="results/summary.csv",
        objects="results/objects.parquet",
    output:
        marks="results/evaluation_marks.csv",
    log:
        "results/logs/evaluate_marks.log",
    localrule: True
    conda:
        "../envs/summary.yaml"
    script:
        "../scripts/evaluate_marks.py"
