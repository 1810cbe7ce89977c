"""What a store holds of large images that are not finished: a folder of parts for each, by image id.

No reader of segments looks there, so an image is in the tables when all of it is, or not at all. Standard library
only: what the parts hold is known to `samfleet.detection.unfinished`.
"""

import contextlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from samfleet.results import unfinished_folder
from samfleet.statuses import Status
from samfleet.store.index import StoredImage


def remove_unfinished(store: Path, image_id: str) -> None:
    """Remove the parts of an image, which is finished or cannot be."""
    folder = unfinished_folder(store)
    shutil.rmtree(folder / image_id, ignore_errors=True)
    with contextlib.suppress(OSError):  # parts of other images are in it, or it is not there
        folder.rmdir()


def remove_needless(store: Path, stored: Mapping[str, StoredImage], older_than: float) -> None:
    """Remove the parts of images that are detected by now, and of those that nobody went on with.

    Args:
        store: a store's folder.
        stored: the images that it holds.
        older_than: seconds since a part was last added.
    """
    for folder in unfinished_folder(store).glob("*"):
        image = stored.get(folder.name)
        detected = image is not None and image.status == Status.OK
        if detected or time.time() - folder.stat().st_mtime > older_than:
            remove_unfinished(store, folder.name)
