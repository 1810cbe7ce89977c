# Needs the store. Leaves the tables of the run, without reading images, decoding masks or using a GPU.
rule summary:
    input:
        unpack(summary_input),
    output:
        **objects_csv(),
        summary=report("results/summary.csv", caption="../captions/summary.rst", category="Tables"),
        objects="results/objects.parquet",
        filtering=report(
            "results/filtering.csv", caption="../captions/filtering.rst", category="Tables"
        ),
        ledger="results/ledger.csv",
        run="results/run.json",
    log:
        "results/logs/summary.log",
    conda:
        "../envs/summary.yaml"
    resources:
        mem_mb=8000,
        runtime=240,
    script:
        "../scripts/summary.py"


# In the DAG only with `on_error: fail`.
rule verify:
    input:
        stamp=verification_input,
        summary="results/summary.csv",
    output:
        verified="results/logs/verified.txt",
    log:
        "results/logs/verify.log",
    localrule: True
    conda:
        "../envs/summary.yaml"
    script:
        "../scripts/verify.py"
