"""Fetch official weights once and check them against their digest."""

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from urllib.parse import urljoin

import pooch
import requests
from tqdm import tqdm

from samfleet.errors import UserError, explanation
from samfleet.sam.weights import OFFICIAL_WEIGHTS, OfficialWeights

_CONNECT_SECONDS, _READ_SECONDS = 30, 60
_SLOWEST = 50_000
"""Bytes a second on average, below which a transfer is given up; vit_h may take 14 hours."""
_CHUNK = 1 << 16
_PART = ".part"
_ABANDONED_SECONDS = 86400


class FetchError(UserError):
    """Official weights could not be fetched; the message says how to get them manually."""


def fetch_weights(
    model: str,
    destination: str | os.PathLike,
    *,
    base_url: str | None = None,
    official: OfficialWeights | None = None,
    progress: bool = True,
) -> Path:
    """Fetch an official weights file unless an intact copy exists already.

    The file is downloaded beside its destination, checked and renamed into place, so that an
    interrupted or concurrent call leaves either no file or a complete one.

    Args:
        model: ``vit_b``, ``vit_l`` or ``vit_h``.
        destination: Path of the file to write; its folder is created.
        base_url: The folder of a mirror that has the files under their official names.
        official: The file to fetch instead of the model's own; tests use a small one.
        progress: Whether to show a progress bar on stderr.

    Returns:
        `destination` as a path.

    Raises:
        ValueError: if the model has no official weights.
        FetchError: if the file cannot be fetched or does not have the expected digest.
    """
    if official is None:
        if model not in OFFICIAL_WEIGHTS:
            raise ValueError(
                f"there are no official weights for {model!r}, only for {', '.join(OFFICIAL_WEIGHTS)}"
            )
        official = OFFICIAL_WEIGHTS[model]
    url = official.url
    if base_url is not None:
        url = urljoin(base_url.rstrip("/") + "/", official.file_name)
    destination = Path(os.path.expanduser(destination))
    if _is_intact(destination, official):
        return destination
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _check_space(destination.parent, official)
        _download(url, destination, official, progress)
    except (OSError, ValueError) as error:  # the errors of requests are OSErrors without a number
        if words := explanation(error):
            raise FetchError(
                f"sam.cache_folder: {destination.parent} cannot be used: {words}"
            ) from error
        raise FetchError(_how_to_fetch(error, url, destination, official)) from error
    return destination


def _is_intact(path: Path, official: OfficialWeights) -> bool:
    """Whether the file exists and has the expected size and digest."""
    if not path.is_file() or path.stat().st_size != official.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == official.sha256


def _check_space(folder: Path, official: OfficialWeights) -> None:
    free = shutil.disk_usage(folder).free
    if free < official.size:
        needed = f"it has {free:,} bytes free, but the file needs {official.size:,}"
        raise OSError(errno.ENOSPC, needed)


def _download(url: str, destination: Path, official: OfficialWeights, progress: bool) -> None:
    _remove_abandoned(destination)
    # a folder of its own, so that what a killed process leaves has a name that can be recognised
    with tempfile.TemporaryDirectory(
        prefix=f".{destination.name}.", suffix=_PART, dir=destination.parent
    ) as folder:
        fetched = pooch.retrieve(
            url,
            known_hash=f"sha256:{official.sha256}",
            fname=destination.name,
            path=folder,
            downloader=_Downloader(official.size, progress),
        )
        os.replace(fetched, destination)


def _remove_abandoned(destination: Path) -> None:
    """Remove what processes that were killed had fetched, unless it is so young that one may be at work."""
    for folder in destination.parent.glob(f".{glob.escape(destination.name)}.*{_PART}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


class _Downloader:
    """What pooch calls to download a file of a known size.

    Args:
        size: bytes; a server that sends more or fewer is left at once.
        progress: whether to show a progress bar on stderr.
    """

    def __init__(self, size: int, progress: bool):
        self._size, self._progress = size, progress

    def __call__(self, url: str, output_file: str, _: object) -> None:
        """Download.

        Raises:
            OSError: the server does not answer, stalls, is too slow, or sends a file of another size.
        """
        deadline = time.monotonic() + _READ_SECONDS + self._size / _SLOWEST
        with (
            requests.get(
                url,
                stream=True,
                timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                headers={"Accept-Encoding": "identity"},
            ) as response,
            open(output_file, "wb") as file,
            tqdm(total=self._size, unit="B", unit_scale=True, disable=not self._progress) as bar,
        ):
            response.raise_for_status()
            self._check_size(int(response.headers.get("Content-Length", self._size)))
            try:
                while chunk := response.raw.read1(_CHUNK):
                    bar.update(file.write(chunk))
                    if file.tell() > self._size:
                        self._check_size(file.tell())
                    if time.monotonic() > deadline:
                        raise OSError(f"slower than {_SLOWEST:,} bytes a second")
            except OSError:
                raise
            except Exception as error:  # of urllib3, whose errors are no OSErrors
                raise OSError(str(error)) from error
            self._check_size(file.tell())

    def _check_size(self, size: int) -> None:
        if size != self._size:
            raise OSError(f"the server sends {size:,} bytes or more, but it must be {self._size:,}")


def _how_to_fetch(error: Exception, url: str, destination: Path, official: OfficialWeights) -> str:
    reason = str(error).strip() or type(error).__name__
    return (
        f"cannot fetch {official.file_name} from {url}: {reason}\n"
        f"If this machine has no internet access, download the file elsewhere and copy it to\n"
        f"  {destination}\n"
        f"Its size is {official.size:,} bytes and its SHA-256 is {official.sha256}.\n"
        f"If the file is somewhere else, set sam.checkpoint to its path."
    )
