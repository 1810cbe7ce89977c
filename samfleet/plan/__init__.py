"""Which images there are, which are pending, and how they are divided into shards.

The Snakefile imports these modules, so all but `planning` and `holding` use nothing but the standard library.
"""
