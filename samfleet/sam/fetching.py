"""Fetch official weights once and check them against their digest."""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from urllib.parse import urljoin

import pooch

from samfleet.errors import UserError, explanation
from samfleet.sam.weights import OFFICIAL_WEIGHTS, OfficialWeights


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
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=60)
    pooch.retrieve(
        url,
        known_hash=f"sha256:{official.sha256}",
        fname=destination.name,
        path=destination.parent,
        downloader=downloader,
    )


def _how_to_fetch(error: Exception, url: str, destination: Path, official: OfficialWeights) -> str:
    reason = str(error).strip() or type(error).__name__
    return (
        f"cannot fetch {official.file_name} from {url}: {reason}\n"
        f"If this machine has no internet access, download the file elsewhere and copy it to\n"
        f"  {destination}\n"
        f"Its size is {official.size:,} bytes and its SHA-256 is {official.sha256}.\n"
        f"If the file is somewhere else, set sam.checkpoint to its path."
    )
