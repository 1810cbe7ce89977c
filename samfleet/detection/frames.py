"""Which images SAM can be shown."""

from segment_anything.utils.amg import generate_crop_boxes
from segment_anything.utils.transforms import ResizeLongestSide


def why_not_shown(
    height: int, width: int, input_size: int, crop_n_layers: int, crop_overlap_ratio: float
) -> str:
    """Why SAM cannot be shown an image, in words; empty when it can.

    Args:
        height, width: of the image in pixels.
        input_size: pixels to which SAM scales the longer side of the image and of its crops.
        crop_n_layers, crop_overlap_ratio: as in the configuration's `sam`.
    """
    size = f"{width} x {height} pixels are too"
    boxes, _ = generate_crop_boxes((height, width), crop_n_layers, crop_overlap_ratio)
    for left, top, right, bottom in boxes:
        if left >= right or top >= bottom:
            return f"{size} few for sam.crop_n_layers ({crop_n_layers}): a crop would be empty"
        scaled = ResizeLongestSide.get_preprocess_shape(bottom - top, right - left, input_size)
        if min(scaled) < 1:
            return f"{size} narrow: SAM scales the longer side to {input_size}, the other to 0"
    return ""
