"""Read a picture from the bytes of its file, exactly or not at all."""

from samfleet.picture.tiff import (
    BYTES_PER_PIXEL,
    MAX_PIXELS,
    Picture,
    PictureError,
    read_picture,
)

__all__ = ["BYTES_PER_PIXEL", "MAX_PIXELS", "Picture", "PictureError", "read_picture"]
