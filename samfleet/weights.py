"""Where each model's weights lie, and how the official ones are fetched.

Only the standard library is imported at the top: the Snakefile uses this module at parse time.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

MODEL_NAMES = ("tiny", "vit_b", "vit_l", "vit_h")
"""Every value that `sam.model` may take, from the smallest model to the largest."""

TINY_WEIGHTS = Path(__file__).resolve().parent.parent / "resources" / "tiny" / "sam_tiny.pth"
"""The weights of `tiny` that come with the repository."""

OFFICIAL_BASE_URL = "https://dl.fbaipublicfiles.com/segment_anything/"


class CheckpointError(RuntimeError):
    """A weights file is missing, damaged or of another model; the message says what to do."""


class FetchError(RuntimeError):
    """An official weights file could not be fetched; the message says how to get it by hand."""


@dataclass(frozen=True)
class OfficialWeights:
    """One weights file published by the authors of Segment Anything.

    Args:
        file_name: Name under which it is published, e.g. ``sam_vit_b_01ec64.pth``.
        url: Where it is published.
        size: Length in bytes.
        sha256: Digest of its bytes, 64 lower-case hexadecimal digits.

    Raises:
        ValueError: if a field cannot be what it says.
    """

    file_name: str
    url: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not self.file_name or Path(self.file_name).name != self.file_name:
            raise ValueError(f"file_name must be a bare file name, not {self.file_name!r}")
        if not self.url.startswith(("https://", "http://")):
            raise ValueError(f"url must be an http(s) address, not {self.url!r}")
        if self.size <= 0:
            raise ValueError(f"size must be positive, not {self.size}")
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError(f"sha256 must be 64 lower-case hex digits, not {self.sha256!r}")


def _official(file_name: str, size: int, sha256: str) -> OfficialWeights:
    return OfficialWeights(file_name, urljoin(OFFICIAL_BASE_URL, file_name), size, sha256)


OFFICIAL_WEIGHTS = {
    "vit_b": _official(
        "sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "vit_l": _official(
        "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "vit_h": _official(
        "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
}
"""The three files of Segment Anything's release, by model name."""


def default_cache_folder() -> Path:
    """Folder for fetched weights: ``$XDG_CACHE_HOME/samfleet``, else ``~/.cache/samfleet``."""
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG base directory specification has relative paths ignored.
    root = Path(base) if base and os.path.isabs(base) else Path.home() / ".cache"
    return root / "samfleet"


def weights_path(
    model: str, checkpoint: str | os.PathLike = "", cache_folder: str | os.PathLike | None = None
) -> Path:
    """Path of the weights that a configuration means; the file need not exist yet.

    Args:
        model: One of `MODEL_NAMES`.
        checkpoint: The user's own file, or empty for the model's standard weights.
        cache_folder: Where official files are kept; by default `default_cache_folder()`.

    Raises:
        ValueError: if the model is unknown.
    """
    if model not in MODEL_NAMES:
        raise ValueError(f"unknown model {model!r}; known are {', '.join(MODEL_NAMES)}")
    if os.fspath(checkpoint):
        return Path(checkpoint).expanduser()
    if model == "tiny":
        return TINY_WEIGHTS
    folder = Path(cache_folder).expanduser() if cache_folder else default_cache_folder()
    return folder / OFFICIAL_WEIGHTS[model].file_name


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
    destination = Path(destination).expanduser()
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
    # Imported here: a run whose weights are there needs neither pooch nor requests.
    import pooch

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
