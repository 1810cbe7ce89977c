"""Read a picture from the bytes of its file, exactly or not at all.

The decoder is chosen by what the bytes are, never by a file name. Every reader checks the size in
the header before it decodes, and that the data are complete: OpenCV, libjpeg and tifffile fill up
what is missing in silence.

Imports point one way: `reading` -> `formats` -> a module for each format -> `record`.
"""

from samfleet.picture.reading import read_picture
from samfleet.picture.record import BYTES_PER_PIXEL, MAX_PIXELS, Picture, PictureError

__all__ = ["BYTES_PER_PIXEL", "MAX_PIXELS", "Picture", "PictureError", "read_picture"]
