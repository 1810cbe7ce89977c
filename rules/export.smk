# Needs the tables of the summary, and for some kinds the images. In the DAG only for the kinds that `exports`
# names. Leaves files for other programs in results/exports/, and makes only those anew whose objects changed.
rule export:
    input:
        stamp=export_input,
        summary="results/summary.csv",
        objects="results/objects.parquet",
    output:
        list="results/exports/{kind}.csv",
    log:
        "results/logs/export/{kind}.log",
    conda:
        "../envs/export.yaml"
    threads: 4
    resources:
        mem_mb=8000,
        runtime=240,
    script:
        "../scripts/export.py"
