"""Read an image from the bytes of its file, exactly or not at all.

The decoder is chosen by what the bytes are, never by a file name. Every reader checks the size in
the header before it decodes, and that the data are complete: OpenCV, libjpeg and tifffile fill up
what is missing in silence.

Imports point one way: `reading` -> `formats` -> a module for each format -> `record`.
"""

from samfleet.images.formats.decoding import decode_image
from samfleet.images.formats.image import BYTES_PER_PIXEL, MAX_PIXELS, Image, ImageError

__all__ = ["BYTES_PER_PIXEL", "MAX_PIXELS", "Image", "ImageError", "decode_image"]
