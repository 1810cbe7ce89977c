"""Snakemake that asks Slurm every two seconds.

Its plugin waits ten seconds longer after each time that no job has ended, which no option changes.
"""

import sys

import snakemake_executor_plugin_slurm
from snakemake.cli import main

snakemake_executor_plugin_slurm.Executor.next_seconds_between_status_checks = property(
    lambda executor: 2, lambda executor, seconds: None
)

if __name__ == "__main__":
    sys.exit(main())
