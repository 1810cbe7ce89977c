from snakemake.utils import min_version

min_version("9.27")

# the demo's configuration, unless the user names a file or other images: those get the defaults
if not workflow.overwrite_configfiles and config.get("images", "demo") == "demo":

    configfile: workflow.source_path("config/config.yaml")


include: "rules/common.smk"
include: "rules/plan.smk"
include: "rules/detect.smk"
include: "rules/summary.smk"
include: "rules/evaluate.smk"
include: "rules/export.smk"
include: "rules/report.smk"


rule all:
    input:
        final_results(),
    localrule: True
