"""samfleet: Segment Anything over a whole image collection, on every GPU at hand."""

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samfleet.opened.results import Results


def open_results(
    folder: str | PathLike[str] = "results", images: str | PathLike[str] | None = None
) -> "Results":
    """The results of a run: tables of images and objects, and the masks and pixels of each object.

    Args:
        folder: the folder of the results.
        images: the folder or table of the images, if it has moved since.

    Raises:
        UserError: there are no tables.
    """
    # in words, since no rule that imports a part of the package needs what this needs
    opened = import_module("samfleet.opened.results")
    results: Results = opened.Results(folder, images)
    return results
