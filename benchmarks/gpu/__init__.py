"""What to run when a GPU is at hand: one command for each part, each says in its last line how it went.

``python -m benchmarks.gpu.PART``, where PART is ``environment``, ``parts``, ``exactness``, ``job``,
``synchronisations`` or ``speed``. Each needs torch, torchvision and what ``requirements.in`` lists for
detection, but not Snakemake. With ``--device cpu`` a part shows at a small size that it works.
"""
