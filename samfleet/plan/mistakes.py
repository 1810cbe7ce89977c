"""Mistakes that no other attempt would mend: a job notes one, and Snakemake starts no job again.

Standard library only, since the Snakefile imports this.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from samfleet.errors import PermanentError
from samfleet.files import write_atomic
from samfleet.plan.record import read_plan
from samfleet.results import mistake_file, plan_file


@contextlib.contextmanager
def noted_mistakes(results: str | Path, plan_id: str) -> Iterator[None]:
    """A block of a plan's job; a `PermanentError` that ends it is noted for the Snakefile."""
    try:
        yield
    except PermanentError as error:
        with contextlib.suppress(OSError):
            write_atomic(mistake_file(results, plan_id), f"{error}\n")
        raise


class Retries(int):
    """How often a job that failed is started again: no more once a mistake of its plan is noted.

    Snakemake 9.27 takes a number and no function for this. It compares the number with that of the attempts
    whenever a job has failed.

    Args:
        number: how often.
        results: the folder of the results.
    """

    results: Path

    def __new__(cls, number: int, results: str | Path = "results") -> "Retries":
        """The number, with the folder that the plan is in."""
        retries = super().__new__(cls, number)
        retries.results = Path(results)
        return retries

    def __gt__(self, attempts: int) -> bool:
        plan = read_plan(plan_file(self.results))
        mistaken = plan is not None and mistake_file(self.results, plan.id).exists()
        return not mistaken and super().__gt__(attempts)
