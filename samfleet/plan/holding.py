"""What files hold: described when they are hashed, and added up for the log."""

import logging
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

from samfleet.files import escape_name
from samfleet.images.formats.image import ImageError, MissingReader
from samfleet.images.sources import joined, source
from samfleet.plan.collection import Collection
from samfleet.plan.manifest import EVERYTHING, KnownFile, ManifestRow, images_of_file, only_image
from samfleet.planes import PROJECTIONS, Description, Scene, Selection, ending_of
from samfleet.wording import counted, some_of

logger = logging.getLogger(__name__)


def describe_content(paths: list[Path], names: list[str]) -> str:
    """What a file holds, or joined files, as text; empty if that is one image.

    What cannot be described is an image of its own, whose status and reason are found when it is read.

    Raises:
        ImportError: it cannot be told here, since the package that reads it is missing.
        MemoryError: it cannot be told now.
    """
    try:
        found = joined.describe(paths, names) if names else source.describe(paths[0])
    except MissingReader as error:
        raise ImportError(error.reason) from error
    except ImageError as error:
        found = Description((Scene(),), problem=f"{error.status}: {error.reason}")
        return found.to_json()
    return "" if found.is_one_image else found.to_json()


class Holding:
    """Which images files hold, added up for the log."""

    def __init__(self) -> None:
        self._kinds: Counter = Counter()
        self._images = self._files = self._left_out = self._projected = self._without = 0
        self._is_any_known = False
        self._again: dict[str, None] = {}  # images that several rows of the table select
        self._most = {"scenes": 1, "times": 1, "slices": 1}  # in a file
        self._names: dict[str, None] = {}  # of scenes

    def images_of(
        self, file: KnownFile, collection: Collection, selection: Selection
    ) -> list[ManifestRow]:
        """The images of a file that are wanted, given what the configuration selects."""
        if not file.description and not collection.rows and selection == EVERYTHING:
            return [only_image(file)]
        selections = collection.selections(file.path, selection)
        rows, selected = images_of_file(file, selections)
        if collection.columns:
            self._again |= {file.path + ending_of(cells): None for cells in selected.again}
        description = Description.of_json(file.description) if file.description else None
        if file.problem or (description and description.problem):
            return rows
        self._is_any_known = True
        if description:
            self._count(description)
            self._files += 1
            self._images += len(rows)
            self._kinds[description.images] += 1
            self._without += not rows
            self._left_out += selected.left_out
            self._projected += selected.projected
        return rows

    def _count(self, description: Description) -> None:
        scenes, most = description.scenes, self._most
        most["scenes"] = max(most["scenes"], len(scenes))
        most["times"] = max([most["times"], *(scene.times for scene in scenes)])
        most["slices"] = max([most["slices"], *(scene.slices for scene in scenes)])
        self._names |= {scene.name: None for scene in scenes if scene.name}

    def _lacking(self, selection: Selection) -> Iterator[str]:
        """For each key of the selection the entries that match nothing in any file, and what there is."""
        for key, chosen in (
            ("scenes", selection.scenes),
            ("times", selection.times),
            ("slices", selection.slices),
        ):
            if chosen == "all" or (key == "slices" and chosen in PROJECTIONS):
                continue
            names = self._names if key == "scenes" else {}
            most = self._most[key]
            entries = chosen if isinstance(chosen, tuple) else (chosen,)
            lacking = [str(each) for each in entries if not _is_among(each, most, names)]
            if lacking:
                there = f"numbers 0 to {most - 1}" if most > 1 else "only number 0"
                called = f", and names {some_of([*map(escape_name, names)])}" if names else ""
                asked = some_of([*map(escape_name, lacking)])
                yield f"image.{key}: {asked} (known: {there}{called})"

    def report(self, selection: Selection) -> None:
        """Say how many files hold how many images, what of them is left out, and what is asked for in vain."""
        if self._is_any_known and (lacking := " and ".join(self._lacking(selection))):
            logger.warning("nothing in the files that can be read matches %s", lacking)
        if self._again:
            logger.warning(
                "several rows of the table select the same image, which has the columns of the first: %s",
                some_of([*map(escape_name, self._again)]),
            )
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


def _is_among(entry: int | str, most: int, names: Container[str]) -> bool:
    """Whether a scene is so called, or a scene, time or slice has this number."""
    return entry in names or ((isinstance(entry, int) or entry.isdecimal()) and int(entry) < most)


def _hold(files: int) -> str:
    return "1 file holds" if files == 1 else f"{files} files hold"
