"""What files hold: described when they are hashed, and added up for the log."""

import logging
from collections import Counter
from pathlib import Path

from samfleet.images.formats.image import ImageError, MissingReader
from samfleet.images.sources import joined, source
from samfleet.plan.collection import Collection
from samfleet.plan.manifest import EVERYTHING, KnownFile, ManifestRow, images_of_file, only_image
from samfleet.planes import Description, Selection
from samfleet.wording import counted

logger = logging.getLogger(__name__)


def describe_content(paths: list[Path], names: list[str]) -> str:
    """What a file holds, or joined files, as text; empty if that is one image, or cannot be told.

    What cannot be described is an image of its own, whose status and reason are found when it is read.

    Raises:
        ImportError: it cannot be told here, since the package that reads it is missing.
        MemoryError: it cannot be told now.
    """
    try:
        found = joined.describe(paths, names) if names else source.describe(paths[0])
    except MissingReader as error:
        raise ImportError(error.reason) from error
    except ImageError:
        return ""
    return "" if found.is_one_image else found.to_json()


class Holding:
    """Which images files hold, added up for the log."""

    def __init__(self) -> None:
        self._kinds: Counter = Counter()
        self._images = self._files = self._left_out = self._projected = self._without = 0

    def images_of(
        self, file: KnownFile, collection: Collection, selection: Selection
    ) -> list[ManifestRow]:
        """The images of a file that are wanted, given what the configuration selects."""
        if not file.description and not collection.rows and selection == EVERYTHING:
            return [only_image(file)]
        selections = collection.selections(file.path, selection)
        rows, selected = images_of_file(file, selections)
        if file.description:
            self._files += 1
            self._images += len(rows)
            self._kinds[Description.of_json(file.description).images] += 1
            self._without += not rows
            self._left_out += selected.left_out
            self._projected += selected.projected
        return rows

    def report(self, selection: Selection) -> None:
        """Say how many files hold how many images, and what of them is left out."""
        if not self._files:
            return
        kinds = ", ".join(f"{n} of {kind}" for kind, n in self._kinds.most_common(5))
        held = counted(self._images, "image")
        logger.info("%s several planes: %s (%s)", _hold(self._files), held, kinds)
        if self._without:
            logger.info(
                "%s no image of its own: what it has belongs to another file of its set",
                "1 file has" if self._without == 1 else f"{self._without} files have",
            )
        if self._projected:
            logger.warning(
                "%s of Z are seen only in a projection (image.slices: %s); `all` makes each an image",
                counted(self._projected, "slice"),
                selection.slices,
            )
        if self._left_out:
            logger.warning(
                "%s left out by image.scenes, image.times or image.slices, or by the table",
                "1 plane is" if self._left_out == 1 else f"{self._left_out} planes are",
            )


def _hold(files: int) -> str:
    return "1 file holds" if files == 1 else f"{files} files hold"
