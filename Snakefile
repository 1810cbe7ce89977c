from snakemake.utils import min_version

min_version("9.27")

# a configuration that the user names stands alone, without the demo's values
if not workflow.overwrite_configfiles:

    configfile: workflow.source_path("config/config.yaml")


include: "rules/common.smk"
include: "rules/plan.smk"
include: "rules/detect.smk"
include: "rules/summary.smk"
include: "rules/evaluate.smk"


rule all:
    input:
        final_results(),
    localrule: True
