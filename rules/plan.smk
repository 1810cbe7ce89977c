# Needs the pictures. Leaves results/manifest.tsv and, in results/plan/, the shard lists of what the
# store does not hold yet. The stamp says when all this is out of date.
checkpoint plan:
    input:
        stamp=lambda wildcards: plan_stamp(),
    output:
        plan="results/plan/plan.json",
    log:
        "results/logs/plan.log",
    resources:
        mem_mb=4000,
        runtime=240,
    conda:
        "../envs/plan.yaml"
    script:
        "../scripts/plan.py"
