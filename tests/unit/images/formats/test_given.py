"""decode_image: the shared test files, by their statistics or the reason why they are refused."""

from pathlib import Path

import numpy as np
import pytest

from samfleet.images.formats.decoding import decode_image
from samfleet.resources import ROOT
from tests.images import refused

GIVEN_DATA = ROOT.parent / "shared" / "data"

# File: shape, dtype, smallest, largest, mean, is_color, plane.
# fmt: off
NASTY = {
    "  leading space;semi&amp'quote.png": ((150, 162, 3), 'uint8', 0, 255, 14.477874, True, ''),
    '10ct_32bit_128.tiff': ((128, 128, 1), 'float32', -3.14093685, 3.14068413, 0.15691304, False, ''),
    '1_trns.png': ((64, 64, 1), 'uint8', 0, 255, 124.13818, False, ''),
    'Olympus μ Digital 800.JPG': ((768, 1024, 3), 'uint8', 0, 255, 100.25019, True, ''),
    'UPPER.PNG': ((10, 10, 1), 'uint8', 25, 250, 137.5, False, ''),
    'block.png': ((10, 10, 3), 'uint8', 0, 255, 79.893333, True, ''),
    'chessboard_GRAY_U16B.tif': ((200, 200, 1), 'uint16', 0, 255, 127.5, False, ''),
    'g4-multi.tiff': ((4677, 3307, 1), 'uint8', 0, 255, 254.9681, False, 'page 0 of 3'),
    'gradient-1c-32b-float.tiff': ((1, 256, 1), 'float32', 0.000893527642, 0.998265147, 0.50012469, False, ''),
    'gradient-1c-64b.tiff': ((1, 256, 1), 'uint64', 3837672, 4287516159, 2.1480192e+09, False, ''),
    'hopper_bigtiff.tif': ((128, 128, 3), 'uint8', 0, 255, 88.391134, True, ''),
    'hopper_lzma.tif': ((128, 128, 3), 'uint8', 0, 255, 88.391134, True, ''),
    'hopper_orientation_8.jpg': ((128, 128, 3), 'uint8', 0, 255, 88.362223, True, ''),
    'i_trns.png': ((64, 64, 1), 'uint16', 0, 255, 123.91162, False, ''),
    'int16.tif': ((64, 64, 1), 'int16', -5000, 4998, 86.522461, False, ''),
    'int8.tif': ((64, 64, 1), 'int8', -128, 127, 0.75952148, False, ''),
    'junk_jpeg_header.jpg': ((768, 1024, 3), 'uint8', 0, 255, 116.58105, True, ''),
    'miniswhite-1c-1b.tiff': ((151, 157, 1), 'uint8', 0, 255, 127.49462, False, ''),
    'multifile-Z1.ome.tiff': ((24, 18, 1), 'uint8', 0, 255, 218.99306, False, 'page 0 of 1 (Z=0)'),
    'multipage_out_of_order.tiff': ((10, 10, 3), 'uint8', 0, 128, 42.666667, True, 'page 0 of 3'),
    'multipage_single_frame_loop.tiff': ((10, 10, 3), 'uint8', 0, 128, 42.666667, True, ''),
    'orientation_rectangle.jpg': ((2, 1, 3), 'uint8', 0, 254, 84.666667, True, ''),
    'palette-1c-8b.tiff': ((151, 157, 3), 'uint16', 0, 59726, 28482.555, True, ''),
    'pil123p.png': ((150, 162, 3), 'uint8', 0, 254, 14.281591, True, ''),
    'png_named.jpg': ((150, 162, 3), 'uint8', 0, 255, 14.477874, True, ''),
    'random-fp16.tiff': ((16, 16, 1), 'float32', 0.384765625, 1.0, 0.83388805, False, ''),
    'shapes_hyper.tif': ((72, 128, 7), 'float32', 0.0, 1.0, 0.51591423, False, ''),
    'shapes_multi_color.tif': ((72, 128, 3), 'uint8', 0, 255, 213.46897, True, 'page 0 of 5'),
    'tiff_16bit_RGB.tiff': ((40, 100, 3), 'uint16', 0, 39661, 7995.4911, True, ''),
    'tiff_strip_planar_16bit_RGBa.tiff': ((40, 100, 3), 'uint16', 0, 39661, 7995.4911, True, ''),
    'time-series.ome.tif': ((167, 439, 1), 'int8', -1, 96, 47.525091, False, 'page 0 of 7 (T=0)'),
    'uncompressed_la.png': ((128, 128, 1), 'uint8', 0, 255, 46.728943, False, ''),
    'zellkerne µm β-actin (ü) 100%.png': ((150, 162, 3), 'uint8', 0, 255, 14.477874, True, ''),
}
NASTY_REFUSED = {
    "15-07-06_8_M1_A1Te3_67_H_61_4x1_Blaze[00 x 00]_C00.ome.tif": ("unreadable", "empty"),
    "broken_data_stream.png": ("unreadable", "damaged"),
    "crash-4f085cc12ece8cde18758d42608bed6a2a2cfb1c.tif": ("unreadable", "truncated"),
    "ojpeg-strip.tif": ("unsupported", "old-style JPEG"),
    "pil_sample_cmyk.jpg": ("unsupported", "CMYK"),
    "skimage_truncated.jpg": ("unreadable", "truncated"),
    "truncated_image.png": ("unreadable", "truncated"),
}
WITHOUT_GROUND_TRUTH = {
    '01_POS002_F.TIF': ((1006, 1000, 1), 'uint8', 2, 172, 10.185109, False, ''),
    '0_1_N_G.png': ((1040, 1392, 1), 'uint16', 23808, 65535, 36164.985, False, ''),
    '1-162hrh2ax2.tif': ((1000, 1200, 1), 'uint16', 628, 4095, 787.18449, False, ''),
    '101210OranePlt1_C16_w1_[9AA4D9EA-18E4-4354-8C7D-0202029A8048].tif': ((520, 696, 1), 'uint16', 90, 1709, 492.42104, False, ''),
    '101210OranePlt1_C16_w3_[E3E9B145-D9B7-49E1-8159-496F065708F7].tif': ((520, 696, 1), 'uint16', 105, 1052, 122.44706, False, ''),
    '30-2A1f.jpg': ((1200, 1600, 3), 'uint8', 0, 255, 1.0125658, True, ''),
    'AS_09125_050116030001_D03f00d0.tif': ((512, 512, 1), 'uint8', 7, 255, 17.29446, False, ''),
    'AS_09125_050116030001_D03f00d2.tif': ((512, 512, 1), 'uint8', 2, 255, 28.358097, False, ''),
    'BPAE_nuclei.tif': ((680, 1100, 1), 'float32', 210.0, 6193.0, 650.19304, False, ''),
    'Channel 2-01-A-01-00.tif': ((1024, 1360, 1), 'uint8', 5, 255, 14.434338, False, ''),
    'CometTails.tif': ((1040, 1388, 1), 'uint8', 0, 255, 3.7624148, False, ''),
    'FluorescentCells.jpg': ((193, 193, 3), 'uint8', 0, 255, 41.346819, True, ''),
    'NucleiDAPIconfocal.png': ((520, 502, 1), 'uint8', 5, 255, 94.648169, False, ''),
    'chromosomes.tif': ((1040, 1388, 3), 'uint8', 1, 254, 13.177307, True, ''),
    'hela-cells.tif': ((512, 672, 3), 'uint16', 0, 4095, 381.24733, True, ''),
    'membrane2d.tif': ((256, 256, 1), 'uint16', 277, 44092, 2505.8214, False, ''),
    'zebrafish-spinal-cord.png': ((1024, 1024, 1), 'uint16', 160, 2481, 326.36424, False, ''),
}
# fmt: on
needs_data = pytest.mark.skipif(not GIVEN_DATA.is_dir(), reason="no ../shared/data")


def check_statistics(file: Path, expected: tuple) -> None:
    image = decode_image(file.read_bytes())
    pixels = image.pixels
    shape, dtype, smallest, largest, mean, is_color, plane = expected
    assert (pixels.shape, pixels.dtype) == (shape, np.dtype(dtype))
    assert (image.is_color, image.plane) == (is_color, plane)
    assert (pixels.min(), pixels.max()) == pytest.approx((smallest, largest), rel=1e-6)
    assert float(pixels.mean(dtype=np.float64)) == pytest.approx(mean, rel=1e-5)


@needs_data
@pytest.mark.parametrize("name", NASTY)
def test_nasty_images(name):
    check_statistics(GIVEN_DATA / "nasty" / name, NASTY[name])


@needs_data
@pytest.mark.parametrize("name", NASTY_REFUSED)
def test_nasty_images_that_are_refused(name):
    refused((GIVEN_DATA / "nasty" / name).read_bytes(), *NASTY_REFUSED[name])


@needs_data
@pytest.mark.parametrize("name", WITHOUT_GROUND_TRUTH)
def test_images_without_ground_truth(name):
    check_statistics(GIVEN_DATA / "fluorescence" / "images_nogt" / name, WITHOUT_GROUND_TRUTH[name])


@needs_data
def test_no_given_file_is_forgotten():
    nasty = {file.name for file in (GIVEN_DATA / "nasty").iterdir()} - {"SOURCES.tsv"}
    assert nasty == {*NASTY, *NASTY_REFUSED}
    others = {file.name for file in (GIVEN_DATA / "fluorescence" / "images_nogt").iterdir()}
    assert others == {*WITHOUT_GROUND_TRUTH}
