# Needs the images. Leaves results/manifest.tsv and, in results/plan/, lists of the images that the
# store does not hold yet, the shards. The stamp says when all this is out of date.
checkpoint plan:
    input:
        stamp=lambda wildcards: plan_stamp(),
    output:
        plan="results/plan/plan.json",
    log:
        "results/logs/plan.log",
    conda:
        "../envs/plan.yaml"
    resources:
        mem_mb=4000,
        runtime=240,
    script:
        "../scripts/plan.py"
