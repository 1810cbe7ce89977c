# A stage whose outputs were not made from what they should be made from asks for a stamp that does not
# exist. It holds the number of GPUs, a resource so that another number is no reason to make it again.
rule stamp:
    output:
        "results/plan/{stage}.{number}.stamp",
    log:
        "results/plan/{stage}.{number}.log",
    localrule: True
    conda:
        "../envs/plan.yaml"
    resources:
        gpus_to_plan_for=gpu_count(),
    shell:
        "echo {resources.gpus_to_plan_for} > {output:q} 2> {log:q}"


# Needs the images. Leaves results/manifest.tsv and, in results/plan/, lists of the images that the
# store does not hold yet, the shards.
checkpoint plan:
    input:
        stamp=lambda wildcards: stamp("plan", number_of_plan_stamp),
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
