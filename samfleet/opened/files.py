"""The files of a collection, read again as they were detected."""

from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.files import escape_name, unescape_name
from samfleet.images.reading import THE_FILE, Failure, ReadImage, Wish, path_of, read_image
from samfleet.opened.tables import TableImage
from samfleet.plan.collection import collection_root
from samfleet.plan.manifest import read_manifest
from samfleet.results import manifest_file
from samfleet.statuses import Status


class Files:
    """The files of a collection, to be read again.

    Args:
        settings: the configuration.
        results: the folder of the results, whose manifest says how each image is read.
    """

    def __init__(self, settings: Settings, results: Path):
        self._settings = settings
        self._root = collection_root(settings.images)
        self._planned = {
            (escape_name(row.path), *row.plane.cells): row
            for row in read_manifest(manifest_file(results))
        }

    def state(self, image: TableImage) -> list[list[int] | None]:
        """Size and time of each file of an image; None for one that is not there."""
        return [_state(path) for path in self._paths(image)]

    def read(self, image: TableImage) -> ReadImage | str:
        """An image as it was detected; or why it is not that any more."""
        paths = self._paths(image)
        # reading a pipe would never end
        if gone := [path for path in paths if not (path.is_file() or path.is_dir())]:
            return f"there is no file {gone[0]}"
        wish, planned = THE_FILE, self._planned.get(image.place)
        if planned is not None:
            channels = tuple((name, path_of(self._root, file)) for name, file in planned.channels)
            wish = Wish(planned.plane, planned.image_id, planned.size, planned.mtime_ns, channels)
        path = path_of(self._root, unescape_name(image.file))
        read = read_image(path, self._settings.image, self._settings.display, wish)
        if (read.image_id and read.image_id != image.image_id) or (
            isinstance(read, Failure) and read.status == Status.CHANGED
        ):
            return "the file has changed since it was detected; run the workflow again"
        if isinstance(read, Failure):
            return read.reason
        height, width = read.rgb.shape[:2]
        if (height, width) != (image.height, image.width):
            return f"it was detected with {image.width} × {image.height} pixels, and is read with {width} × {height}"
        return read

    def _paths(self, image: TableImage) -> list[Path]:
        planned = self._planned.get(image.place)
        joined = [file for _, file in planned.channels] if planned else []
        return [path_of(self._root, file) for file in joined or [unescape_name(image.file)]]


def _state(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]
