"""Automatic mask generation with any ``segment_anything`` ``Sam``, as COCO RLE records."""

from samfleet.sam.generator.generator import MaskGenerator
from samfleet.sam.generator.precision import PRECISIONS

__all__ = ["PRECISIONS", "MaskGenerator"]
