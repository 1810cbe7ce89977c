"""Look into a weights file without torch, so that a wrong one is known before anything is planned.

Only names and shapes are read: the header of a safetensors file, or the pickle of a PyTorch file, of
which nothing is run. Standard library only, since the Snakefile imports this.
"""

import errno
import io
import json
import os
import pickle
import stat
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from samfleet.sam.layout import EMBEDDING, check_variant, damaged, model_entries, no_weights

_LARGEST_HEADER = 100_000_000  # bytes, the limit of the format's own library
_LARGEST_PICKLE = 16_000_000  # bytes; those of vit_h take 100,000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # of PyTorch before 1.6, torch.serialization


def check_weights(model: str, path: Path) -> None:
    """Check what can be known of a weights file without reading its numbers.

    Raises:
        CheckpointError: it is no weights file, cut off, or for another model than `model`.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block for ever
        raise OSError(errno.EINVAL, "not a file")
    with path.open("rb") as file:
        start = file.read(9)
    if is_safetensors(start):
        content = _safetensors_shapes(path)
    elif start[:2] == b"PK" or start[:1] == b"\x80":
        content = _pickled_shapes(path, start)
    else:
        raise no_weights(path)
    if content is not None:  # else the job tells, when torch reads the file
        shape = model_entries(content, path)[EMBEDDING]
        if isinstance(shape, tuple):
            check_variant(model, shape, path)


def is_safetensors(start: bytes) -> bool:
    """Whether these are the first nine bytes of a safetensors file: a length, then JSON."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LARGEST_HEADER


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length)
        size = os.fstat(file.fileno()).st_size
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise damaged(path, "its header cannot be read") from error
    if size != end:
        raise damaged(path, f"{size:,} of {end:,} bytes")
    return shapes


def _pickled_shapes(path: Path, start: bytes) -> Any:
    """What a PyTorch file holds, with tensors replaced by their shapes; None if that is not plain."""
    try:
        if start[:2] == b"PK":
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
                with archive.open(name) as file:
                    return _Shapes(io.BytesIO(file.read(_LARGEST_PICKLE))).load()
        with path.open("rb") as file:
            pickles = io.BytesIO(file.read(_LARGEST_PICKLE))
        content = _Shapes(pickles).load()
        if content == _LEGACY_MAGIC:  # then follow version, system and content
            content = [_Shapes(pickles).load() for _ in range(3)][-1]
        return content
    except zipfile.BadZipFile as error:
        raise damaged(path, str(error)) from error
    except OSError:
        raise
    except Exception:  # a pickle that is damaged or odd raises anything; torch has the last word
        return None


class _Inert:
    """Takes the place of whatever a pickle names, and does nothing."""

    def __init__(self, *_: object, **__: object):
        pass

    def __setstate__(self, _: object) -> None:
        pass


class _Shapes(pickle.Unpickler):
    """Reads a pickle in which every tensor becomes its shape; no function that it names is called."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file, encoding="utf-8")

    def find_class(self, module: str, name: str) -> Any:
        """What a name of the pickle stands for."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, *rest: tuple(size)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *rest: data
        return _Inert

    def persistent_load(self, _: object) -> None:
        """The numbers of a tensor, which are not read."""
