"""The tables of a run, opened again: images, objects, masks, outlines and pixels."""
