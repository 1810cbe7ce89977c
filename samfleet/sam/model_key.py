"""The model key: under which name the results of a model and its settings are stored.

Standard library only: the Snakefile imports this.
"""

import hashlib
import json
from pathlib import Path

from samfleet.digests import digest_of
from samfleet.files import write_atomic
from samfleet.sam.weights import OFFICIAL_WEIGHTS, CheckpointError, configured_weights

ALGORITHM_VERSION = 1
"""Raise by hand when the code changes what is stored for an image (held by golden masks)."""


def model_settings(config: dict, weights: str) -> dict:
    """Everything that can change a candidate, for the model key.

    Batch sizes, devices, shards, file names and the filters of `fluorescence` are left out:
    they change no candidate that is stored.

    Args:
        config: the completed configuration.
        weights: SHA-256 of the weights file.
    """
    neutral = {"checkpoint", "cache_folder", "points_per_batch"}
    return {
        "algorithm_version": ALGORITHM_VERSION,
        "weights": weights,
        "sam": {key: value for key, value in config["sam"].items() if key not in neutral},
        "display": config["display"],
        "page": config["image"]["page"],
    }


def model_key(settings: dict) -> str:
    """The name under which the results of these `model_settings` are stored, 16 digits."""
    return digest_of(settings)[:16]


def configured_model_key(config: dict, results: Path) -> str:
    """The model key of a configuration; an official file need not be there yet.

    Raises:
        CheckpointError: there is no file `sam.checkpoint`.
    """
    sam = config["sam"]
    if not sam["checkpoint"] and sam["model"] in OFFICIAL_WEIGHTS:
        return model_key(model_settings(config, OFFICIAL_WEIGHTS[sam["model"]].sha256))
    return present_model_key(config, results)


def present_model_key(config: dict, results: Path) -> str:
    """The model key of a configuration with the weights that lie on the disk now.

    Raises:
        CheckpointError: there is no such file.
    """
    path = configured_weights(config)
    try:
        digest = weights_digest(path, results / "plan" / "weights.json")
    except OSError as error:
        raise CheckpointError(
            f"sam.checkpoint: {path} cannot be read ({error.strerror}); correct the path, or leave "
            "the key out for the standard weights"
        ) from error
    return model_key(model_settings(config, digest))


def weights_digest(path: str | Path, cache: str | Path) -> str:
    """SHA-256 of a weights file, kept in the JSON file `cache` for as long as its stat holds.

    Raises:
        FileNotFoundError: there is no such file.
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
        write_atomic(cache, json.dumps(known, indent=1))
    return known[key]
