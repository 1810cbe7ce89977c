"""The files of a collection, read again as they were detected."""

from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.content import recent_stat
from samfleet.files import escape_name, unescape_name
from samfleet.images.reading import (
    THE_FILE,
    Failure,
    OpenedImage,
    ReadImage,
    Wish,
    open_image,
    path_of,
    read_image,
)
from samfleet.opened.tables import TableImage
from samfleet.plan.collection import collection_root
from samfleet.plan.manifest import (
    ManifestRow,
    digests_of_companions,
    read_known_files,
    read_manifest,
)
from samfleet.results import descriptions_file, manifest_file
from samfleet.sam.tiles import are_configured
from samfleet.statuses import Status

CHANGED = "the file has changed since it was detected; run the workflow again"


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
            (escape_name(row.path), *row.cells): row
            for row in read_manifest(manifest_file(results))
        }
        self._companions = digests_of_companions(read_known_files(descriptions_file(results)))

    def state(self, image: TableImage) -> list[list[int] | None]:
        """Size and time of each file or folder of an image; None for one that is not there."""
        return [_state(path) for path in self._paths(image)]

    def read(self, image: TableImage) -> ReadImage | OpenedImage | str:
        """An image as it was detected; or why it is not that any more."""
        size = (image.height, image.width)
        planned = self._planned.get(image.place)
        companions = self._companions.get(planned.path, "") if planned else ""
        return read_as_detected(
            self._settings, image.file, image.image_id, size, planned, companions
        )

    def _paths(self, image: TableImage) -> list[Path]:
        return _paths_of(self._root, image.file, self._planned.get(image.place))


def read_as_detected(
    settings: Settings,
    file: str,
    image_id: str,
    size: tuple[int, int],
    planned: ManifestRow | None,
    companions: str = "",
) -> ReadImage | OpenedImage | str:
    """An image of the summary as it was detected; or why it is not that any more.

    What stayed in its file then does so now.

    Args:
        settings: the configuration.
        file: the path of its file, as the tables write it.
        image_id: of what was detected.
        size: (height, width) that it was detected with.
        planned: the image in the manifest, which says how it is read; None for the only one of a file.
        companions: digest of the other files of its file's set when it was planned; empty if there are none.
    """
    root = collection_root(settings.images)
    # reading a pipe would never end
    if gone := [p for p in _paths_of(root, file, planned) if not (p.is_file() or p.is_dir())]:
        return f"there is no file {gone[0]}"
    wish = THE_FILE
    if planned is not None:
        channels = tuple((name, path_of(root, joined)) for name, joined in planned.channels)
        wish = Wish(
            planned.plane, planned.image_id, planned.size, planned.mtime_ns, channels, companions
        )
    path = path_of(root, unescape_name(file))
    read_or_open = open_image if are_configured(settings.sam) else read_image
    read = read_or_open(path, settings.image, settings.display, wish)
    if (read.image_id and read.image_id != image_id) or (
        isinstance(read, Failure) and read.status == Status.CHANGED
    ):
        return CHANGED
    if isinstance(read, Failure):
        return read.reason
    if read.size != size:
        (height, width), (now_high, now_wide) = size, read.size
        return f"it was detected with {width} × {height} pixels, and is read with {now_wide} × {now_high}"
    return read


def _paths_of(root: Path, file: str, planned: ManifestRow | None) -> list[Path]:
    joined = [path for _, path in planned.channels] if planned else []
    return [path_of(root, path) for path in joined or [unescape_name(file)]]


def _state(path: Path) -> list[int] | None:
    try:
        size, mtime_ns, _ = recent_stat([path])
    except OSError:
        return None
    return [size, mtime_ns]
