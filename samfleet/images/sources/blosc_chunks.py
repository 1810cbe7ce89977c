"""Chunks of a Zarr that blosc has compressed, of which none may be cut short; imported only with `zarr`."""

from zarr import Array
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

_LENGTH = slice(12, 16)
_METADATA = (".zarray", ".zattrs", ".zgroup", "zarr.json")


class BloscChunks(WrapperStore[LocalStore]):
    """A folder that gives chunks only if they are as long as they say.

    Blosc reads on behind the end of a chunk that was cut short, and gives whatever memory holds there. Each chunk
    has its length in its header (c-blosc, README_CHUNK_FORMAT: bytes 12 to 15, little-endian).
    """

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes of a chunk, or of a file of metadata; raises ValueError if a chunk is not as long as it says."""
        found = await super().get(key, prototype, byte_range)
        if found is None or byte_range is not None or key.rpartition("/")[2] in _METADATA:
            return found
        said = int.from_bytes(found[_LENGTH].to_bytes(), "little")
        if said != len(found):
            raise ValueError(f"chunk {key} has {len(found)} bytes, and says that it has {said}")
        return found


def is_blosc(array: Array) -> bool:
    """Whether blosc comes last where chunks of an array are written, and each is a file of its own."""
    last = [type(each).__name__ for each in array.compressors][-1:]
    return array.shards is None and last in (["Blosc"], ["BloscCodec"])
