"""Where the weights of each model are. Standard library only, since the Snakefile imports this."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from samfleet.config.settings import SamSettings
from samfleet.errors import PermanentError
from samfleet.resources import TINY_WEIGHTS

MODEL_NAMES = ("tiny", "vit_b", "vit_l", "vit_h")
"""The values of `sam.model`, from the smallest model to the largest."""

OFFICIAL_BASE_URL = "https://dl.fbaipublicfiles.com/segment_anything/"


class CheckpointError(PermanentError):
    """A weights file is missing, damaged or for another model; the message says what to do."""


@dataclass(frozen=True)
class OfficialWeights:
    """One weights file published by the authors of Segment Anything.

    Args:
        file_name: Its published name, e.g. ``sam_vit_b_01ec64.pth``.
        url: Where it is published.
        size: Length in bytes.
        sha256: Digest of its bytes, 64 lower-case hexadecimal digits.

    Raises:
        ValueError: if a field is invalid.
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
"""The three released files of Segment Anything, by model name."""


def default_cache_folder() -> Path:
    """The folder for fetched weights: ``$XDG_CACHE_HOME/samfleet`` or ``~/.cache/samfleet``."""
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG Base Directory Specification says to ignore relative paths.
    root = Path(base) if base and os.path.isabs(base) else Path.home() / ".cache"
    return root / "samfleet"


def cache_folder(configured: str | os.PathLike) -> Path:
    """The folder of what is fetched or made once: the configured one, by default `default_cache_folder()`."""
    return Path(os.path.expanduser(configured)) if configured else default_cache_folder()


def weights_path(
    model: str, checkpoint: str | os.PathLike = "", folder: str | os.PathLike = ""
) -> Path:
    """The path of a model's weights; the file need not exist yet.

    Args:
        model: One of `MODEL_NAMES`.
        checkpoint: The user's own file, or empty for the standard weights of the model.
        folder: The folder of official files; by default `default_cache_folder()`.

    Raises:
        ValueError: if the model is unknown.
    """
    if model not in MODEL_NAMES:
        raise ValueError(f"unknown model {model!r}; known are {', '.join(MODEL_NAMES)}")
    if os.fspath(checkpoint):
        return Path(os.path.expanduser(checkpoint))
    if model == "tiny":
        return TINY_WEIGHTS
    return cache_folder(folder) / OFFICIAL_WEIGHTS[model].file_name


def configured_weights(sam: SamSettings) -> Path:
    """The weights file that a configuration means."""
    return weights_path(sam.model, sam.checkpoint, sam.cache_folder)


def configured_decoder(sam: SamSettings) -> Path | None:
    """The file of the decoder that gives prompts; None if none does, or if it is in the model's file."""
    if sam.prompts != "decoder" or not sam.decoder:
        return None
    return Path(os.path.expanduser(sam.decoder))
