"""Read a picture from the bytes of its file, exactly or not at all.

The decoder is chosen by what the bytes are, never by a file name. Every reader checks the size in
the header before it decodes, and that the data are complete: OpenCV, libjpeg and tifffile fill up
what is missing in silence.
"""

from __future__ import annotations

import io
import itertools
import logging
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

import cv2
import imagecodecs
import numpy as np
import tifffile

MAX_PIXELS = 268_435_456
BYTES_PER_PIXEL = 8  # what a picture of max_pixels may take: four 16-bit channels

_in_read_picture: ContextVar[bool] = ContextVar("_in_read_picture", default=False)
# tifffile logs what it cannot make sense of; a damaged file becomes a PictureError here instead.
logging.getLogger("tifffile").addFilter(lambda record: not _in_read_picture.get())


class PictureError(Exception):
    """A picture that cannot be read.

    Attributes:
        status: "unreadable" (damaged, incomplete), "unsupported" (a kind that is not read) or
            "too_large" (more pixels or memory than allowed).
        reason: why, in plain words, on one line.
    """

    def __init__(self, status: str, reason: str) -> None:
        reason = "".join(c if c.isprintable() else " " for c in reason)
        reason = " ".join(reason.split())
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: (height, width, channels), C-contiguous, native byte order, in the values and the
            dtype of the file (see docs/pictures.md for the few exceptions).
        is_color: the channels are red, green, blue, in this order.
        plane: what was read of a file with several pages or planes, in words; else "".
    """

    pixels: np.ndarray
    is_color: bool
    plane: str


@dataclass(frozen=True)
class _Limits:
    max_pixels: int

    def check(self, height: int, width: int, channels: int, itemsize: int) -> None:
        """Raise too_large when the picture is larger than allowed, unreadable when it is empty."""
        if height < 1 or width < 1 or channels < 1:
            raise _unreadable(f"the picture is empty: {width} x {height} pixels")
        if height * width > self.max_pixels:
            raise PictureError(
                "too_large",
                f"{width} x {height} pixels are more than image.max_pixels ({self.max_pixels})",
            )
        needed = height * width * channels * itemsize
        if needed > self.max_pixels * BYTES_PER_PIXEL:
            raise PictureError(
                "too_large",
                f"{width} x {height} pixels of {channels} channels take {needed} bytes, more than "
                f"{BYTES_PER_PIXEL} times image.max_pixels ({self.max_pixels})",
            )


def read_picture(data: bytes, *, page: int = 0, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a picture from the bytes of its file.

    Args:
        data: the whole file.
        page: which page, frame or plane (Z, T, ...) of a file with several, from 0.
        max_pixels: largest height x width; memory is bounded by 8 bytes for each such pixel.

    Raises:
        PictureError: whatever is wrong with the bytes, and nothing else.
    """
    if page < 0:
        raise ValueError(f"page must be 0 or more, not {page}")
    data = bytes(data)
    token = _in_read_picture.set(True)
    try:
        pixels, is_color, plane = _reader(data)(data, page, _Limits(max_pixels))
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError("too_large", "decoding needs more memory than there is") from error
    except Exception as error:  # decoders raise whatever they like on damaged data
        raise _unreadable(
            f"the data are damaged ({type(error).__name__}: {error})"[:300]
        ) from error
    finally:
        _in_read_picture.reset(token)
    return Picture(_native(pixels), is_color, plane)


def _unreadable(reason: str) -> PictureError:
    return PictureError("unreadable", reason)


def _unsupported(reason: str) -> PictureError:
    return PictureError("unsupported", reason)


def _native(pixels: np.ndarray) -> np.ndarray:
    """(height, width[, channels]) in native byte order, C-contiguous, without float16 and bool."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    dtype = np.dtype(np.float32) if pixels.dtype == np.float16 else pixels.dtype.newbyteorder("=")
    return np.require(pixels, dtype, ["C", "W", "O"])


# --- which format ---------------------------------------------------------------------------

_Reader = Callable[[bytes, int, _Limits], tuple[np.ndarray, bool, str]]

# What is recognised in order to be refused with its name.
_OTHER_FORMATS = (
    (b"ZISRAWFILE", "a Zeiss CZI file; export it as OME-TIFF"),
    (b"\xda\xce\xbe\x0a", "a Nikon ND2 file; export it as OME-TIFF"),
    (b"\x70\x00\x00\x00", "a Leica LIF file; export it as OME-TIFF"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE2 file (OIB, ZVI, ...); export it as OME-TIFF"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (IMS, H5, ...)"),
    (b"SIMPLE  =", "a FITS file"),
    (b"NRRD0", "an NRRD file"),
    (b"%PDF-", "a PDF file"),
    (b"%!PS", "a PostScript file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xfd7zXZ\x00", "an XZ archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"8BPS", "a Photoshop file"),
    (b"gimp xcf", "a GIMP file"),
    (b"\x76\x2f\x31\x01", "an OpenEXR file"),
    (b"#?R", "a Radiance HDR file"),
    (b"DDS ", "a DirectDraw surface"),
    (b"\xff\x0a", "a JPEG XL file"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL file"),
    (b"II\xbc\x01", "a JPEG XR file"),
    (b"\x00\x00\x01\x00", "a Windows icon"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x59\xa6\x6a\x95", "a Sun raster file"),
    (b"<?xml", "an XML file"),
    (b"<svg", "an SVG drawing"),
    (b"<!DOCTYPE", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"\x7fELF", "a program"),
)


def _reader(data: bytes) -> _Reader:
    """The function that reads these bytes; raises PictureError when there is none."""
    if not data:
        raise _unreadable("the file is empty")
    for signature, reader in (
        (b"\x89PNG\r\n\x1a\n", _read_png),
        (b"\xff\xd8\xff", _read_jpeg),
        (b"II*\x00", _read_tiff),
        (b"MM\x00*", _read_tiff),
        (b"II+\x00", _read_tiff),
        (b"MM\x00+", _read_tiff),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", _read_jpeg2000),
        (b"\xff\x4f\xff\x51", _read_jpeg2000),
        (b"GIF87a", _read_gif),
        (b"GIF89a", _read_gif),
        (b"BM", _read_bmp),
    ):
        if data.startswith(signature):
            return reader
        if signature.startswith(data):
            raise _unreadable(f"the file ends after {len(data)} bytes")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp
    raise _not_a_picture(data)


def _not_a_picture(data: bytes) -> PictureError:
    for signature, name in _OTHER_FORMATS:
        if data.startswith(signature):
            return _unsupported(f"the content is {name}")
    if data[4:8] == b"ftyp":
        return _unsupported("the content is an AVIF, HEIC or MP4 file")
    if data[128:132] == b"DICM":
        return _unsupported("the content is a DICOM file")
    if re.match(rb"P[1-7fF]\s", data):
        return _unsupported("the content is a Netpbm file (PBM, PGM, PPM, PAM, PFM)")
    start = data[:16]
    if not any(data):
        return _unreadable(f"all {len(data)} bytes are zero")
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data[:512]):
        return _unsupported(f"not a picture but text that begins {start!r:.60}")
    return _unsupported(f"no known picture format; the first bytes are {start.hex(' ')}")


def _only_page(page: int, what: str, pages: int = 1) -> None:
    if page >= pages:
        count = "1 page" if pages == 1 else f"{pages} pages"
        raise _unsupported(f"page {page} was asked for, counted from 0, but {what} has {count}")


# --- orientation ----------------------------------------------------------------------------


def _exif_orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block (which is a TIFF); 1 when there is none."""
    exif = exif.removeprefix(b"Exif\x00\x00")
    try:
        with tifffile.TiffFile(io.BytesIO(exif)) as tiff:
            return _orientation_tag(tiff.pages.first)
    except Exception:  # damaged EXIF says nothing about the picture
        return 1


def _orientation_tag(page: tifffile.TiffPage) -> int:
    value = page.tags.valueof(274, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (height, width, ...) as EXIF and TIFF orientations 1 to 8 ask for."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


# --- PNG ------------------------------------------------------------------------------------

_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples per pixel of each colour type
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # fmt: skip


def _read_png(data: bytes, page: int, limits: _Limits) -> tuple[np.ndarray, bool, str]:
    chunks = _png_chunks(data)
    kind, header, whole = next(chunks)
    if kind != b"IHDR" or len(header) != 13:
        raise _unreadable("the PNG has no header")
    width, height, depth, color, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)  # fmt: skip
    if depth not in _PNG_DEPTHS.get(color, ()) or compression or filtering or interlace > 1:
        raise _unreadable("the header of the PNG is not valid")
    limits.check(height, width, 4, max(1, depth // 8))
    _only_page(page, "a PNG")
    # Decoded without transparency, gamma, profiles and animation: these change no stored value.
    kept, idat, palette, orientation, frames = [data[:8], whole], [], b"", 1, 0
    for kind, body, whole in chunks:
        if kind in (b"PLTE", b"IDAT", b"IEND"):
            kept.append(whole)
        if kind == b"IDAT":
            idat.append(body)
        elif kind == b"PLTE":
            palette = bytes(body)
        elif kind == b"eXIf":
            orientation = _exif_orientation(bytes(body))
        elif kind == b"acTL" and len(body) == 8:
            frames = int.from_bytes(body[:4], "big")
    _check_png_data(idat, _png_data_size(width, height, depth * _PNG_SAMPLES[color], interlace))
    pixels = _decode_with_opencv(b"".join(kept), height, width)
    grey_palette = color == 3 and palette[0::3] == palette[1::3] == palette[2::3]
    is_color = color in (2, 3, 6) and not grey_palette
    pixels = _rgb_from_bgr(pixels) if is_color else pixels.reshape(height, width, -1)[:, :, :1]
    plane = f"the still picture of an animation of {frames} frames" if frames else ""
    return _upright(pixels, orientation), is_color, plane


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """Kind, body and whole of each chunk up to the end chunk.

    Raises unreadable when one is cut off or, if it is critical, damaged.
    """
    view = memoryview(data)
    position = 8
    while True:
        if position + 12 > len(data):
            raise _unreadable("the PNG is truncated")
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            raise _unreadable("the PNG is truncated")
        intact = zlib.crc32(view[position + 4 : end]) == struct.unpack_from(">I", data, end)[0]
        if not intact and not kind[0] & 0x20:
            raise _unreadable(f"a chunk of the PNG is damaged ({kind!r:.20} checksum)")
        if intact:
            yield kind, view[position + 8 : end], view[position : end + 4]
        if kind == b"IEND":
            return
        position = end + 4


def _png_data_size(width: int, height: int, bits: int, interlace: int) -> int:
    """Bytes of the filtered rows before compression."""
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    size = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            size += rows * (1 + (columns * bits + 7) // 8)
    return size


def _check_png_data(idat: list[memoryview], expected: int) -> None:
    """Raise unreadable unless the data inflate to the expected size."""
    inflate = zlib.decompressobj()
    size = 0
    try:
        for body in idat:
            pending: bytes | memoryview = body
            while len(pending) and size < expected:
                size += len(inflate.decompress(pending, 1 << 20))
                pending = inflate.unconsumed_tail
        while size < expected and (rest := inflate.decompress(inflate.unconsumed_tail, 1 << 20)):
            size += len(rest)
    except zlib.error as error:
        raise _unreadable(f"the data of the PNG are damaged ({error})") from error
    if size < expected:
        raise _unreadable(f"the PNG is incomplete: {size} of {expected} bytes")


def _decode_with_opencv(data: bytes, height: int, width: int) -> np.ndarray:
    """Decode as stored, blue before red; raises unreadable."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _unreadable(f"OpenCV: {error.err}") from error
    if pixels is None or pixels.shape[:2] != (height, width):
        raise _unreadable("the data are damaged")
    return pixels


def _rgb_from_bgr(pixels: np.ndarray) -> np.ndarray:
    """Three channels, red first, of (height, width), BGR or BGRA."""
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    return pixels[:, :, 2::-1]


# --- JPEG -----------------------------------------------------------------------------------

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_JPEG_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
_JPEG_ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
# Varied and long enough to change something where it is decoded; without 0xff.
_FILLER = bytes((37 * i + 91) % 251 for i in range(32))


@dataclass(frozen=True)
class _Jpeg:
    height: int
    width: int
    components: int
    precision: int
    orientation: int
    filled: bytes | None  # with filler after the data of every scan; None if that proves nothing
    complete: bool  # ends with an end marker


def _read_jpeg(data: bytes, page: int, limits: _Limits) -> tuple[np.ndarray, bool, str]:
    jpeg = _parse_jpeg(data, limits)
    _only_page(page, "a JPEG")
    if not jpeg.complete:
        raise _unreadable("the JPEG is truncated")
    if jpeg.components not in (1, 3):
        raise _unsupported(_words_for_components(jpeg.components))
    pixels = imagecodecs.jpeg_decode(data)
    _check_jpeg_data(jpeg, pixels, imagecodecs.jpeg_decode)
    if pixels.shape[:2] != (jpeg.height, jpeg.width):
        raise _unreadable("the JPEG has another size than its header says")
    return _upright(pixels, jpeg.orientation), jpeg.components == 3, ""


def _words_for_components(components: int) -> str:
    if components == 4:
        return "CMYK (printing inks) is not read; convert the picture to RGB"
    return f"a JPEG of {components} components is not read"


def _check_jpeg_data(
    jpeg: _Jpeg, pixels: np.ndarray, decode: Callable[[bytes], np.ndarray]
) -> None:
    """Raise unreadable if the data of a scan end early.

    libjpeg fills up in silence, so decode again with something else after the data: a picture
    that is complete does not depend on it.
    """
    if jpeg.filled is None:
        return
    filled = decode(jpeg.filled)
    if not np.array_equal(filled, pixels):
        raise _unreadable("the JPEG is incomplete: its data end before the picture does")


def _parse_jpeg(data: bytes, limits: _Limits) -> _Jpeg:
    """Walk the markers of a JPEG, or of a strip in a TIFF, checking the size on the way."""
    frame: tuple[int, int, int, int] | None = None
    orientation, arithmetic, restarts, complete = 1, False, False, False
    parts: list[bytes] = []
    position = copied = 2
    while (match := _JPEG_MARKER.search(data, position)) is not None:
        marker, position = match[1][0], match.end()
        if marker == 0xD9:
            complete = True
            break
        if marker in (0x01, 0xD8):
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        body = data[position + 2 : position + length]
        if length < 2 or len(body) != length - 2:
            break
        position += length
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if len(body) < 6:
                raise _unreadable("the header of the JPEG is damaged")
            frame = struct.unpack_from(">BHHB", body)
            precision, height, width, components = frame
            if height == 0:
                raise _unsupported("a JPEG that does not state its height (DNL) is not read")
            limits.check(height, width, components, 1 if precision <= 8 else 2)
            arithmetic = marker in _JPEG_ARITHMETIC
        elif marker == 0xE1 and body[:6] == b"Exif\x00\x00":
            orientation = _exif_orientation(body)
        elif marker == 0xDA:
            after = _JPEG_MARKER.search(data, position)
            end = after.start() if after else len(data)
            parts += [data[copied:position], _filled_scan(data[position:end], restarts)]
            position = copied = end
        elif marker == 0xDD:
            restarts = any(body)
    if frame is None or not parts:
        raise _unreadable("the JPEG is truncated: no picture data")
    tail = data[copied:] if complete else b"\xff\xd9"
    filled = None if arithmetic else b"".join([data[:2], *parts, tail])
    precision, height, width, components = frame
    return _Jpeg(height, width, components, precision, orientation, filled, complete)


def _filled_scan(scan: bytes, restarts: bool) -> bytes:
    """Entropy-coded data with filler wherever they could end too early."""
    if not restarts:
        return scan + _FILLER
    count = 0
    for count, found in enumerate(_JPEG_RESTART.finditer(scan), 1):
        if found[1][0] & 7 != (count - 1) & 7:
            raise _unreadable("the JPEG is incomplete: a part between restart markers is missing")
    scan = _JPEG_RESTART.sub(lambda found: _FILLER + found[0], scan)
    # A decoder that lacks whole intervals takes this one; otherwise it is skipped.
    return scan + _FILLER + bytes((0xFF, 0xD0 | count & 7)) + _FILLER


# --- JPEG 2000, WebP, GIF, BMP --------------------------------------------------------------


def _read_jpeg2000(data: bytes, page: int, limits: _Limits) -> tuple[np.ndarray, bool, str]:
    start, components = _parse_jpeg2000(data, limits)
    _only_page(page, "a JPEG 2000")
    has_alpha = b"cdef" in data[:start]
    if components not in ((2, 4) if has_alpha else (1, 3)):
        raise _unsupported(f"a JPEG 2000 of {components} components is not read")
    pixels = imagecodecs.jpeg2k_decode(data, numthreads=1)  # refuses truncated data by itself
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    channels = 1 if pixels.shape[2] < 3 else 3
    return pixels[:, :, :channels], channels == 3, ""


def _parse_jpeg2000(data: bytes, limits: _Limits) -> tuple[int, int]:
    """Where the codestream starts and how many components it has; checks the size."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        raise _unreadable("the JPEG 2000 is truncated: no codestream")
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    limits.check(bottom - top, right - left, components, 2)
    return start, components


def _read_webp(data: bytes, page: int, limits: _Limits) -> tuple[np.ndarray, bool, str]:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise _unreadable("the WebP is truncated")
    orientation, frames = 1, 0
    position = 12
    while position + 8 <= size + 8:
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")  # fmt: skip
        body = data[position + 8 : position + 8 + length]
        if kind in (b"VP8X", b"VP8 ", b"VP8L"):
            limits.check(*_webp_size(kind, body), 4, 1)
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF":
            orientation = _exif_orientation(body)
        position += 8 + length + length % 2
    _only_page(page, "a WebP")
    pixels = imagecodecs.webp_decode(data, index=0)
    plane = f"frame 0 of an animation of {frames}" if frames else ""
    return _upright(pixels[:, :, :3], orientation), True, plane


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    """Height and width from the header of a WebP chunk."""
    if len(body) < 10:
        raise _unreadable("the WebP is truncated")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[7:10], "little"), 1 + int.from_bytes(body[4:7], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    width, height = struct.unpack_from("<HH", body, 6)
    return height & 0x3FFF, width & 0x3FFF


def _read_gif(data: bytes, page: int, limits: _Limits) -> tuple[np.ndarray, bool, str]:
    if len(data) < 13:
        raise _unreadable("the GIF is truncated")
    width, height = struct.unpack_from("<HH", data, 6)
    limits.check(height, width, 3, 1)
    frames = _count_gif_frames(data, limits)
    if page:
        raise _unsupported(f"page {page} was asked for, but only frame 0 of a GIF is read")
    pixels = imagecodecs.gif_decode(data, index=0)
    plane = f"frame 0 of {frames}" if frames > 1 else ""
    return pixels[:, :, :3], True, plane


def _count_gif_frames(data: bytes, limits: _Limits) -> int:
    """Walk the blocks of a GIF up to its trailer; raises unreadable when they end before.

    The size of all frames is checked, since the decoder decodes them all.
    """
    frames = pixels = 0
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while position < len(data) and data[position] != 0x3B:
        block = data[position]
        if block == 0x21:
            position += 2
        elif block == 0x2C and position + 10 < len(data):
            width, height, flags = struct.unpack_from("<HHB", data, position + 5)
            pixels += width * height
            if pixels > limits.max_pixels * BYTES_PER_PIXEL:
                raise PictureError("too_large", "the GIF has more frames than memory is allowed")
            position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
            frames += 1
        else:
            raise _unreadable("the GIF is damaged")
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
    if position >= len(data):
        raise _unreadable("the GIF is truncated")
    if not frames:
        raise _unreadable("the GIF has no picture")
    return frames


_BMP_MASKS = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)  # red, green, blue


def _read_bmp(data: bytes, page: int, limits: _Limits) -> tuple[np.ndarray, bool, str]:
    if len(data) < 18:
        raise _unreadable("the BMP is truncated")
    offset, header = struct.unpack_from("<II", data, 10)
    if not 40 <= header <= 124:
        raise _unsupported("not a picture, or a BMP of a version that is not read")
    if len(data) < max(14 + header, 66):
        raise _unreadable("the BMP is truncated")
    width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    limits.check(height, width, 4, 1)
    _only_page(page, "a BMP")
    plain = compression == 0 and depth in (1, 4, 8, 24, 32)
    if not plain and not (compression == 3 and depth == 32 and data[54:66] == _BMP_MASKS):
        raise _unsupported(f"a BMP of {depth} bits and compression {compression} is not read")
    if offset + (width * depth + 31) // 32 * 4 * height > len(data):
        raise _unreadable("the BMP is truncated")
    pixels = _decode_with_opencv(data, height, width)
    is_color = pixels.ndim == 3 and pixels.shape[2] >= 3
    return _rgb_from_bgr(pixels) if is_color else pixels, is_color, ""


# --- TIFF -----------------------------------------------------------------------------------

_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 2, 3, 5, 6
_PHOTOMETRIC_WORDS = {
    4: "a transparency mask",
    5: "CMYK (printing inks)",
    8: "CIE Lab colour",
    9: "ICC Lab colour",
    10: "ITU Lab colour",
    32803: "a raw colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
_JPEG_COMPRESSIONS = {7, 33007}
_LARGEST_JPEG = 65500
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # fmt: skip
# Layout, colours, and what the metadata say of planes and channels.
_TAGS_THAT_MATTER = {*range(254, 280), 284, 317, *range(320, 326), 330, 338, 339, 347, 530, 532, 32997, 32998, 33628, 33629, 34412}  # fmt: skip
_MOST_TAGS = 4096  # tifffile takes more for damage
_MOST_PAGES = 1_000_000
_JPEG2000_COMPRESSIONS = {33003, 33004, 33005, 34712}
_ALPHA = {1, 2}  # associated (premultiplied) and unassociated
_COPY_OR_MASK = 1 | 4  # bits of NewSubfileType: at reduced resolution, transparency mask


@dataclass(frozen=True)
class _Plane:
    """One plane of a TIFF: arrays to stack along the channel axis, with their axes."""

    keyframe: tifffile.TiffPage
    parts: list[Callable[[], np.ndarray]]
    axes: str  # of each part: Y, X and channels
    words: str
    samples: bool  # the channels are samples of one page, to which its colour model applies


def _read_tiff(data: bytes, page: int, limits: _Limits) -> tuple[np.ndarray, bool, str]:
    data = _with_finite_page_list(data)
    try:
        tiff = tifffile.TiffFile(io.BytesIO(data))
    except (tifffile.TiffFileError, struct.error) as error:
        raise _unreadable(f"the TIFF is damaged or truncated ({error})") from error
    with tiff:
        if not len(tiff.pages):
            raise _unreadable("the TIFF has no page")
        plane = _tiff_plane(tiff, data, page, limits)
        keyframe = plane.keyframe
        parts = [_height_width_channels(part(), plane.axes) for part in plane.parts]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        pixels, is_color = _tiff_colors(keyframe, pixels, plane.samples)
        return _upright(pixels, _orientation_tag(keyframe)), is_color, plane.words


def _with_finite_page_list(data: bytes) -> bytes:
    """The same bytes, with the list of pages ended where it would begin again.

    tifffile follows long loops for ever, and takes a tag that lies beyond the file for absent.
    Raises unreadable if the list or a tag that matters leads out of the file.
    """
    order = "<" if data.startswith(b"II") else ">"
    big = b"+" in data[2:4]
    count, entry, pointer = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    count, entry, pointer = order + count, order + entry, order + pointer
    position = 8 if big else 4
    seen: set[int] = set()
    try:
        while page := struct.unpack_from(pointer, data, position)[0]:
            if page in seen:
                end = position + struct.calcsize(pointer)
                return data[:position] + bytes(end - position) + data[end:]
            seen.add(page)
            (tags,) = struct.unpack_from(count, data, page)
            if tags > _MOST_TAGS or len(seen) > _MOST_PAGES:
                raise _unreadable("the list of pages of the TIFF is damaged")
            start = page + struct.calcsize(count)
            position = start + tags * struct.calcsize(entry)
            for tag in struct.iter_unpack(entry, data[start:position]):
                _check_tag(tag, struct.calcsize(pointer), len(data))
    except struct.error as error:
        raise _unreadable("the TIFF is truncated: a page lies beyond its end") from error
    return data


def _check_tag(tag: tuple[int, int, int, int], inline: int, end: int) -> None:
    """Raise unreadable if the value of a tag (code, type, count, place) lies beyond the file."""
    code, kind, count, place = tag
    size = count * _TYPE_SIZES.get(kind, 0)
    if size > inline and place + size > end and code in _TAGS_THAT_MATTER:
        raise _unreadable("the TIFF is truncated: part of its header lies beyond its end")


def _tiff_plane(tiff: tifffile.TiffFile, data: bytes, page: int, limits: _Limits) -> _Plane:
    """The plane that `page` selects, among those that the metadata or else the pages list."""
    series = _described_series(tiff)
    if not series:
        # Opened anew: looking for series leaves pages that took their layout from another.
        return _page_plane(tifffile.TiffFile(io.BytesIO(data)), page, limits)
    counts = [math.prod(_plane_sizes(one)) for one in series]
    _only_page(page, "the file", sum(counts))
    index = page
    for one, count in zip(series, counts, strict=True):
        if index < count:
            return _series_plane(one, index, page, sum(counts), limits)
        index -= count
    raise AssertionError("unreachable")


def _described_series(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """The series that the file's metadata describe; empty if it has none that can be trusted."""
    try:
        series = [one for one in tiff.series if math.prod(one.shape)]
    except Exception:  # metadata that make no sense: the pages themselves are still there
        return []
    series = [one for one in series if not one.keyframe.is_reduced] or series
    for one in series:
        if one.kind in ("uniform", "generic") or any(page is None for page in one.pages):
            return []
        if "Y" not in one.axes or "X" not in one.axes:
            return []
    return series


def _plane_sizes(series: tifffile.TiffPageSeries) -> tuple[int, ...]:
    """Lengths of the axes along which `page` counts: all but Y, X and channels."""
    return tuple(n for a, n in zip(series.axes, series.shape, strict=True) if a not in "YXCS")


def _series_plane(
    series: tifffile.TiffPageSeries, index: int, page: int, pages: int, limits: _Limits
) -> _Plane:
    """Plane `index` of a series, with all of its channels."""
    axes, shape, keyframe = series.axes, series.shape, series.keyframe
    channels = math.prod(n for a, n in zip(axes, shape, strict=True) if a in "CS")
    _check_tiff_page(keyframe, channels, limits)
    count = math.prod(shape) // math.prod(keyframe.shape)
    lead = 0  # axes along which the pages of the file run; the others lie within a page
    while math.prod(shape[:lead]) < count:
        lead += 1
    if math.prod(shape[:lead]) != count or set(axes[:lead]) & set("YX"):
        raise _unsupported(f"axes {axes} that are not a stack of pages are not read")
    place = iter(np.unravel_index(index, _plane_sizes(series) or (1,)))
    chosen = [None if a in "YXCS" else int(next(place)) for a in axes]
    numbers = [
        int(np.ravel_multi_index(at, shape[:lead])) if lead else 0
        for at in itertools.product(
            *(range(n) if at is None else [at] for at, n in zip(chosen[:lead], shape, strict=False))
        )
    ]
    inner = tuple(slice(None) if at is None else at for at in chosen[lead:])
    read = _page_reader(series, count, limits)
    parts = [lambda number=number: read(number).reshape(shape[lead:])[inner] for number in numbers]
    named = [f"{a}={at}" for a, at in zip(axes, chosen, strict=True) if at is not None]
    words = f"page {page} of {pages} ({', '.join(named)})" if named else f"page {page} of {pages}"
    rest = "".join(a for a, at in zip(axes[lead:], chosen[lead:], strict=True) if at is None)
    # LSM calls any three channels RGB.
    samples = len(parts) == 1 and series.kind != "lsm"
    return _Plane(keyframe, parts, rest, words if pages > 1 else "", samples)


def _page_reader(
    series: tifffile.TiffPageSeries, count: int, limits: _Limits
) -> Callable[[int], np.ndarray]:
    """A function that reads page `number` of a series that may have one header for all pages."""
    if len(series.pages) >= count:
        return lambda number: _read_tiff_page(series.pages[number], limits)
    keyframe = series.keyframe
    offset = series.dataoffset
    if offset is None or not keyframe.is_contiguous or keyframe.predictor != 1 or keyframe.fillorder != 1:  # fmt: skip
        raise _unreadable(f"the TIFF has {len(series.pages)} of {count} pages")
    return lambda number: _read_contiguous(keyframe, offset + number * keyframe.nbytes)


def _read_contiguous(keyframe: tifffile.TiffPage, offset: int) -> np.ndarray:
    filehandle = keyframe.parent.filehandle
    if offset + keyframe.nbytes > filehandle.size:
        raise _unreadable("the TIFF is truncated")
    filehandle.seek(offset)
    dtype = keyframe.parent.byteorder + keyframe.dtype.char
    return np.frombuffer(filehandle.read(keyframe.nbytes), dtype).reshape(keyframe.shape)


def _page_plane(tiff: tifffile.TiffFile, page: int, limits: _Limits) -> _Plane:
    """Page `page` of a file without metadata; smaller copies of a page are not counted."""
    pages = [one for one in tiff.pages if not one.subfiletype & _COPY_OR_MASK] or list(tiff.pages)
    count = sum(one.imagedepth for one in pages)
    _only_page(page, "the file", count)
    z = page  # a page may be a volume: its depths are counted one by one
    for chosen in pages:
        if z < chosen.imagedepth:
            break
        z -= chosen.imagedepth
    _check_tiff_page(chosen, chosen.samplesperpixel, limits)

    def read() -> np.ndarray:
        pixels = _read_tiff_page(chosen, limits)
        return pixels.take(z, axis=chosen.axes.index("Z")) if "Z" in chosen.axes else pixels

    words = f"page {page} of {count}" if count > 1 else ""
    if tiff.is_ome and "FileName=" in (tiff.ome_metadata or ""):
        words = f"page {page} of {count} in this file; its OME metadata name planes in other files"
    return _Plane(chosen, [read], chosen.axes.replace("Z", ""), words, samples=True)


def _check_tiff_page(page: tifffile.TiffPage, channels: int, limits: _Limits) -> None:
    """Raise PictureError for what is not read, or is too large, before it is decoded."""
    _check_tiff_kind(page)
    height, width = page.imagelength, page.imagewidth
    within = math.prod(page.shape) // max(1, height * width)  # samples and depths of one page
    limits.check(height, width, max(channels, within), page.dtype.itemsize)


def _check_tiff_kind(page: tifffile.TiffPage) -> None:
    """Raise unsupported for colour models, sample types and compressions that are not read."""
    photometric = page.photometric
    if photometric not in (_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _YCBCR):
        words = _PHOTOMETRIC_WORDS.get(int(photometric), f"photometric {int(photometric)}")
        raise _unsupported(f"{words} is not read; convert the picture to grey or RGB")
    if page.compression == 6:
        raise _unsupported("old-style JPEG in TIFF is not read; save the picture anew")
    if page.compression == 33003 or (
        photometric == _YCBCR
        and (page.planarconfig != 1 or page.compression not in _JPEG_COMPRESSIONS)
    ):
        raise _unsupported("YCbCr colour outside JPEG is not read; convert the picture to RGB")
    if page.dtype is None:
        raise _unsupported(
            f"samples of {page.bitspersample} bits and format {page.sampleformat} are not read"
        )
    if page.dtype.kind not in "buif":
        raise _unsupported(f"{page.dtype} samples are not read")


def _height_width_channels(pixels: np.ndarray, axes: str) -> np.ndarray:
    """Put Y and X first and flatten the channel axes into the last one."""
    order = [axes.index("Y"), axes.index("X")]
    order += [i for i in range(len(axes)) if i not in order]
    pixels = pixels.transpose(order)
    return pixels.reshape(*pixels.shape[:2], -1)


def _read_tiff_page(page: tifffile.TiffPage | tifffile.TiffFrame, limits: _Limits) -> np.ndarray:
    """Decode a page in its own shape; raises unreadable unless all of its data are there."""
    keyframe = page.keyframe
    if keyframe.jpegheader is not None:
        page = page.aspage()
        _check_ndpi_jpeg(page, limits)
    elif keyframe.is_contiguous:
        _check_within_file(page, page.dataoffsets[0] if page.dataoffsets else 0, keyframe.nbytes)
    else:
        _check_tiff_segments(page, limits)
    pixels = page.asarray(maxworkers=1)
    if pixels.shape != keyframe.shape:
        raise _unreadable("the TIFF is damaged: the data have another shape than the header says")
    return pixels


def _check_within_file(
    page: tifffile.TiffPage | tifffile.TiffFrame, offset: int, count: int
) -> None:
    if offset <= 0 or count <= 0:
        raise _unreadable("the TIFF is incomplete: a page, strip or tile is missing")
    if offset + count > page.parent.filehandle.size:
        raise _unreadable("the TIFF is truncated")


def _check_tiff_segments(page: tifffile.TiffPage | tifffile.TiffFrame, limits: _Limits) -> None:
    """Raise unreadable unless every strip or tile lies within the file and is complete."""
    compression = page.keyframe.compression
    filehandle = page.parent.filehandle
    expected = math.prod(page.keyframe.chunked)
    found = min(len(page.dataoffsets), len(page.databytecounts))
    if found < expected:
        raise _unreadable(f"the TIFF has {found} of {expected} strips or tiles")
    for index in range(expected):
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        _check_within_file(page, offset, count)
        if compression in _JPEG_COMPRESSIONS | _JPEG2000_COMPRESSIONS:
            filehandle.seek(offset)
            segment = filehandle.read(count)
            if compression in _JPEG_COMPRESSIONS:
                _check_tiff_jpeg(page, segment, index, limits)
            else:
                _parse_jpeg2000(segment, limits)


def _check_tiff_jpeg(
    page: tifffile.TiffPage | tifffile.TiffFrame, segment: bytes, index: int, limits: _Limits
) -> None:
    def decode(data: bytes) -> np.ndarray:
        return page.keyframe.decode(data, index, jpegtables=page.jpegtables)[0]

    _check_jpeg_data(_parse_jpeg(segment, limits), decode(segment), decode)


def _check_ndpi_jpeg(page: tifffile.TiffPage, limits: _Limits) -> None:
    """NDPI holds one JPEG, which tifffile shows as tiles and decodes in one piece."""
    if max(page.imagewidth, page.imagelength) > _LARGEST_JPEG:
        raise _unsupported(f"an NDPI of more than {_LARGEST_JPEG} pixels a side is not read")
    offset, count = page.tags.valueof(273)[0], page.tags.valueof(279)[0]
    _check_within_file(page, offset, count)
    page.parent.filehandle.seek(offset)
    data = page.parent.filehandle.read(count)
    jpeg = _parse_jpeg(data, limits)
    _check_jpeg_data(jpeg, imagecodecs.jpeg_decode(data), imagecodecs.jpeg_decode)


def _tiff_colors(
    page: tifffile.TiffPage, pixels: np.ndarray, samples: bool
) -> tuple[np.ndarray, bool]:
    """Apply the photometric interpretation to (height, width, channels) and drop alpha."""
    photometric = page.photometric
    if 262 not in page.tags:  # guessed as libtiff does
        photometric = _RGB if page.samplesperpixel - len(page.extrasamples) == 3 else _MINISBLACK
    samples = samples and pixels.shape[2] == page.samplesperpixel
    if samples:
        pixels = pixels[:, :, _colored_samples(page, photometric)]
    if photometric == _PALETTE and samples:
        return _apply_palette(page, pixels[:, :, 0])
    if photometric == _MINISWHITE:
        pixels = _inverted(pixels, page.bitspersample)
    is_color = photometric in (_RGB, _YCBCR) and samples and pixels.shape[2] == 3
    return _full_range(pixels, page.bitspersample), is_color


def _colored_samples(page: tifffile.TiffPage, photometric: int) -> list[int]:
    """Numbers of the samples that are not alpha."""
    samples = page.samplesperpixel
    extra = [int(value) for value in page.extrasamples or ()]
    if photometric == _RGB and samples == 4 and extra in ([], [0]):
        extra = [2]  # one unnamed sample beside red, green and blue: alpha to every other reader
    first = samples - len(extra)
    return [i for i in range(samples) if i < first or extra[i - first] not in _ALPHA]


def _apply_palette(page: tifffile.TiffPage, index: np.ndarray) -> tuple[np.ndarray, bool]:
    """Look the colours up; 8 bits if that loses nothing, one channel if all entries are grey."""
    palette = page.colormap
    if palette is None or palette.ndim != 2 or palette.shape[0] != 3:
        raise _unreadable("the TIFF has no palette")
    if index.dtype.kind not in "bu" or (index.size and int(index.max()) >= palette.shape[1]):
        raise _unreadable("the TIFF has pixels beyond its palette")
    index = index.astype(np.uint8) if index.dtype.kind == "b" else index
    high, low = palette >> 8, palette & 0xFF
    if not high.any():
        palette = low.astype(np.uint8)  # some writers put 8-bit values into the 16 bits
    elif not low.any() or np.array_equal(low, high):
        palette = high.astype(np.uint8)
    if (palette == palette[0]).all():
        return palette[0][index], False
    return palette.T[index], True


def _inverted(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Min-is-white to min-is-black within the range of the bits; floats have no range and stay."""
    if pixels.dtype.kind == "f":
        return pixels
    if pixels.dtype.kind == "u" and bits < 8 * pixels.dtype.itemsize:
        return pixels.dtype.type(2**bits - 1) - pixels
    return ~pixels


def _full_range(pixels: np.ndarray, bits: int) -> np.ndarray:
    """1, 2 and 4 bits to the full range of 8, as PNG readers do; other depths stay."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint8 and bits in (2, 4):
        return pixels * np.uint8(255 // (2**bits - 1))
    return pixels
