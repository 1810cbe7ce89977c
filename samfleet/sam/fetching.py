"""Fetching official weights: once, checked against their digest, never half a file."""

import hashlib
import os
import shutil
from pathlib import Path
from urllib.parse import urljoin

import pooch

from samfleet.errors import UserError
from samfleet.sam.weights import OFFICIAL_WEIGHTS, OfficialWeights


class FetchError(UserError):
    """An official weights file could not be fetched; the message says how to get it by hand."""


def fetch_weights(
    model: str,
    destination: str | os.PathLike,
    *,
    base_url: str | None = None,
    official: OfficialWeights | None = None,
    progress: bool = True,
) -> Path:
    """Fetch an official weights file, unless a good copy is there already.

    The file is downloaded beside its destination, checked and renamed into place, so that an
    interrupted or concurrent call leaves either nothing or a whole file.

    Args:
        model: ``vit_b``, ``vit_l`` or ``vit_h``.
        destination: Path of the file to write (its folder is made).
        base_url: A mirror's folder that holds files of the official names.
        official: Facts of another file than the model's own (tests use a small one).
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
                f"no official weights for {model!r}; there are some for {', '.join(OFFICIAL_WEIGHTS)}"
            )
        official = OFFICIAL_WEIGHTS[model]
    url = official.url
    if base_url is not None:
        url = urljoin(base_url.rstrip("/") + "/", official.file_name)
    destination = Path(os.path.expanduser(destination))
    if _is_whole(destination, official):
        return destination
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _check_room(destination.parent, official)
        _download(url, destination, official, progress)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise FetchError(_by_hand(error, url, destination, official)) from error
    return destination


def _is_whole(path: Path, official: OfficialWeights) -> bool:
    """Whether the file is there with the expected length and digest."""
    if not path.is_file() or path.stat().st_size != official.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == official.sha256


def _check_room(folder: Path, official: OfficialWeights) -> None:
    free = shutil.disk_usage(folder).free
    if free < official.size:
        raise OSError(f"{folder} has {free:,} bytes free and the file needs {official.size:,}")


def _download(url: str, destination: Path, official: OfficialWeights, progress: bool) -> None:
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=60)
    pooch.retrieve(
        url,
        known_hash=f"sha256:{official.sha256}",
        fname=destination.name,
        path=destination.parent,
        downloader=downloader,
    )


def _by_hand(error: Exception, url: str, destination: Path, official: OfficialWeights) -> str:
    reason = str(error).strip() or type(error).__name__
    return (
        f"cannot fetch {official.file_name} from {url}: {reason}\n"
        f"On a machine without internet, fetch that address elsewhere and put the file at\n"
        f"  {destination}\n"
        f"It has {official.size:,} bytes and SHA-256 {official.sha256}.\n"
        f"A file that lies elsewhere can be named in the configuration as sam.checkpoint."
    )
