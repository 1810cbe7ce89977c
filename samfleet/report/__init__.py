"""The report: one page that shows what a run found, and in which thresholds are chosen by eye."""
