"""Files of real microscopes, where they lie beside the repository. Imports no more than a reader of CZIs needs."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from samfleet.images.formats.image import ImageError, Limits
from samfleet.images.sources.source import Reading, describe, open_source, plane_windows, read_plane
from samfleet.planes import Plane
from samfleet.resources import ROOT

FORMATS = ROOT.parent / "shared" / "data" / "formats"
ANY = Reading(Limits(1 << 40))


def planes_of(path: Path) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    """(scene, time, slice) and pixels of each plane, as read; windows of it are compared on the way."""
    source = open_source(path, ANY)
    for number, scene in enumerate(source.description.scenes):
        for time, slice in np.ndindex(scene.times, scene.slices):
            plane = Plane(number, time, str(slice))
            pixels = read_plane(source, plane).pixels
            if (windows := plane_windows(source, plane, False)) is not None:
                height, width = pixels.shape[:2]
                part = height // 3, height // 2 + 1, width // 5, width // 2 + 1
                found = np.atleast_3d(windows.read(*part))
                np.testing.assert_array_equal(found, pixels[part[0] : part[1], part[2] : part[3]])
            yield (number, time, slice), pixels
    source.close()


def planes_or_reasons(path: Path) -> dict[tuple[int, int, int], np.ndarray | str]:
    """The pixels of each plane that a file says it has, or why they cannot be read."""
    found: dict[tuple[int, int, int], np.ndarray | str] = {}
    try:
        scenes = describe(path).scenes
        source = open_source(path, ANY)
    except ImageError as error:
        return {(0, 0, 0): error.reason}
    try:
        for number, scene in enumerate(scenes):
            for time, slice in np.ndindex(scene.times, scene.slices):
                try:
                    read = read_plane(source, Plane(number, time, str(slice)))
                    found[number, time, slice] = read.pixels
                except ImageError as error:
                    found[number, time, slice] = error.reason
    finally:
        source.close()
    return found


def longest_and_metadata(folder: Path) -> list[Path]:
    """The largest chunk of a Zarr, and what it says of itself."""
    named = {".zattrs", ".zgroup", ".zarray", "zarr.json"}
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    chunks = sorted((f for f in files if f.name not in named), key=lambda f: f.stat().st_size)
    return [*chunks[-1:], *(f for f in files if f.parent == folder and f.name in named)]


@contextmanager
def in_time(seconds: int) -> Iterator[None]:
    """What lasts longer fails."""

    def too_long(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@in_time(60)
def check_cut_short(path: Path, folder: Path) -> None:
    """A file that is cut short gives errors or the planes that it gave, and does so within a minute."""
    whole = planes_or_reasons(path)
    copy = folder / path.name
    if path.is_dir():
        shutil.copytree(path, copy, copy_function=shutil.copyfile)
        copy.chmod(0o755)
    cut = longest_and_metadata(copy) if path.is_dir() else [copy]
    for file in cut:
        data = (path / file.relative_to(copy)).read_bytes()
        for share in (0.1, 0.5, 0.9):
            file.write_bytes(data[: int(len(data) * share)])
            found = planes_or_reasons(copy)
            assert found
            for plane, pixels in found.items():
                if isinstance(pixels, str):
                    assert pixels
                else:
                    np.testing.assert_array_equal(pixels, whole[plane], f"{file.name} at {share}")
        file.write_bytes(data)
