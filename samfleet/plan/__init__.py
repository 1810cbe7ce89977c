"""Which images there are, which are pending, and how they are cut into shards.

Everything but `planning` uses the standard library alone: the Snakefile imports it.
"""
