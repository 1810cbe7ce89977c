"""Automatic mask generation with any ``segment_anything`` ``Sam``, as COCO RLE records."""

from samfleet.sam.generator.generator import PRECISIONS, MaskGenerator

__all__ = ["PRECISIONS", "MaskGenerator"]
