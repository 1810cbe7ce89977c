"""The model key: the name under which the results of a model and its settings are stored.

Standard library only, since the Snakefile imports this.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from samfleet.config.settings import Settings, in_micrometres, key_settings
from samfleet.digests import digest_of
from samfleet.files import write_atomic
from samfleet.results import weights_digest_file
from samfleet.sam.peek import check_weights
from samfleet.sam.weights import (
    OFFICIAL_WEIGHTS,
    CheckpointError,
    configured_decoder,
    configured_weights,
)
from samfleet.wording import looked_for

ALGORITHM_VERSION = 2
"""Raise this when a change of the code changes what is stored for an image; golden masks notice it."""


_OF_DECODER = ("decoder_statistics", "seeds", "refine_with_boxes", "refine_with_maps")

PRECISION_VERSIONS = {"bf16": 3}
"""Like `ALGORITHM_VERSION`, for precisions whose own arithmetic changed; all others are at 1."""

REFINEMENT_VERSION = 2
"""Like `ALGORITHM_VERSION`, for what `sam.refine_with_maps` does alone."""


def model_settings(settings: Settings, weights: str, decoder: str = "") -> dict[str, object]:
    """Everything that can change a candidate, and nothing else.

    Args:
        settings: the configuration.
        weights: SHA-256 of the weights file.
        decoder: SHA-256 of the file of the decoder that gives prompts, if it is another file.
    """
    version = PRECISION_VERSIONS.get(settings.sam.precision)
    sam = key_settings(settings.sam)
    idle = [] if settings.sam.prompts == "decoder" else [*_OF_DECODER]
    if settings.sam.mask_nms_thresh is None:
        idle.append("mask_nms_of")
    sam = {name: value for name, value in sam.items() if name not in idle}
    refined = settings.sam.prompts == "decoder" and settings.sam.refine_with_maps
    size = settings.image.pixel_size_um
    by_pixel_size = in_micrometres(settings.sam.object_diameter) is not None
    return {
        "algorithm_version": ALGORITHM_VERSION,
        **({"precision_version": version} if version else {}),
        **({"refinement_version": REFINEMENT_VERSION} if refined else {}),
        "weights": weights,
        **({"decoder": decoder} if decoder else {}),
        "sam": sam,
        "display": key_settings(settings.display),
        **key_settings(settings.image),
        **({"pixel_size_um": size} if by_pixel_size and size else {}),
        **key_settings(settings.fluorescence),
    }


def model_key(settings: dict[str, object]) -> str:
    """The name under which the results of these `model_settings` are stored, 16 digits."""
    return digest_of(settings)[:16]


def differing_settings(settings: Settings, explained: Mapping[str, object]) -> list[str]:
    """The settings in which a configuration differs from stored results, by names such as "sam.model".

    Args:
        settings: the configuration.
        explained: the `model_settings` of the stored results, as they were read from JSON. Their
            weights are not compared.
    """
    wanted = model_settings(settings, str(explained.get("weights")))
    found = [_flat(json.loads(json.dumps(wanted))), _flat(explained)]
    names = sorted(set().union(*found) - {"model"})
    return [name for name in names if found[0].get(name) != found[1].get(name)]


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        inner = value.items() if isinstance(value, dict) else ()
        flat |= {f"{name}.{key}": each for key, each in inner} or {name: value}
    return flat


def configured_model_settings(settings: Settings, results: Path) -> dict[str, object]:
    """The `model_settings` of a configuration; an official weights file need not exist yet.

    Raises:
        CheckpointError: the file `sam.checkpoint` cannot be read.
    """
    sam = settings.sam
    if not sam.checkpoint and sam.model in OFFICIAL_WEIGHTS:
        official = OFFICIAL_WEIGHTS[sam.model].sha256
        return model_settings(settings, official, _decoder_digest(settings, results))
    return present_model_settings(settings, results)


def configured_model_key(settings: Settings, results: Path) -> str:
    """The model key of a configuration; an official weights file need not exist yet.

    Raises:
        CheckpointError: the file `sam.checkpoint` cannot be read.
    """
    return model_key(configured_model_settings(settings, results))


def present_model_settings(settings: Settings, results: Path) -> dict[str, object]:
    """The `model_settings` of a configuration, with the weights that are on the disk now.

    Raises:
        CheckpointError: the weights file cannot be read, or is seen to be for another model.
    """
    path = configured_weights(settings.sam)
    try:
        if settings.sam.checkpoint:
            check_weights(settings.sam.model, path)
        digest = weights_digest(path, weights_digest_file(results))
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror}){looked_for(path)}"
        raise CheckpointError(
            f"sam.checkpoint: {reason}; correct the path, or leave the key out for the standard weights"
            if settings.sam.checkpoint
            else f"sam.cache_folder: {reason}; every machine that detects must see this folder"
        ) from error
    except CheckpointError as error:
        raise CheckpointError(f"sam.checkpoint: {error}") from error
    return model_settings(settings, digest, _decoder_digest(settings, results))


def _decoder_digest(settings: Settings, results: Path) -> str:
    path = configured_decoder(settings.sam)
    if path is None:
        return ""
    try:
        return weights_digest(path, weights_digest_file(results))
    except OSError as error:
        raise CheckpointError(
            f"sam.decoder: {path} cannot be read ({error.strerror}){looked_for(path)}; correct the path"
        ) from error


def weights_digest(path: str | Path, cache: str | Path) -> str:
    """SHA-256 of a weights file, cached in the JSON file `cache` until the size or time of it changes.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    stat = Path(path).stat()
    key = f"{Path(path).absolute()} {stat.st_size} {stat.st_mtime_ns}"
    try:
        known = dict(json.loads(Path(cache).read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        known = {}
    if key not in known:
        with open(path, "rb") as file:
            known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        # without the cache it is only slower; a folder that is full or closed is named by what follows
        with contextlib.suppress(OSError):
            write_atomic(cache, json.dumps(known, indent=1))
    return known[key]
