# Needs the tables of the summary, the scores if there are any, the store and some of the images. In the
# DAG unless `report: false`. Leaves a page to look at and to choose thresholds in, and a few pictures.
rule report:
    input:
        stamp=report_input,
        summary="results/summary.csv",
        objects="results/objects.parquet",
        filtering="results/filtering.csv",
        ledger="results/ledger.csv",
        scores=label_scores(),
    output:
        page=report("results/report.html", caption="../captions/report.rst", category="Report"),
        pictures=report(
            directory("results/report"),
            patterns=["{picture}.jpg"],
            caption="../captions/picture.rst",
            category="Pictures",
        ),
    log:
        "results/logs/report.log",
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    script:
        "../scripts/report.py"
