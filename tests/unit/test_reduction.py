"""Copies of images on a smaller scale."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import pytest

from samfleet.reduction import fitted, reduced


class Counted:
    """An image in memory that counts the pixels that it gives at once."""

    def __init__(self, rgb: np.ndarray):
        self._rgb, self.most = rgb, 0

    @property
    def size(self) -> tuple[int, int]:
        height, width, _ = self._rgb.shape
        return height, width

    def parts(self, boxes: Iterable[tuple[int, int, int, int]]) -> Iterator[np.ndarray]:
        for x0, y0, x1, y1 in boxes:
            self.most = max(self.most, (y1 - y0) * (x1 - x0))
            yield self._rgb[y0:y1, x0:x1]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("factor", [1, 2, 7])
def test_a_reduced_copy_is_the_mean_of_blocks(factor):
    image = noise(45, 61)
    height, width = 45 // factor, 61 // factor
    blocks = image[: height * factor, : width * factor].astype(float)
    blocks = blocks.reshape(height, factor, width, factor, 3).mean((1, 3))
    assert np.abs(reduced(Counted(image), factor) - blocks).max() <= 0.5


def test_a_fitted_copy_shows_all_of_the_image_at_the_size_that_was_asked_for():
    smooth = cv2.GaussianBlur(noise(600, 1000), (0, 0), 12)
    for longest in (1000, 999, 640, 500, 130, 7):
        copy = fitted(Counted(smooth), longest)
        assert copy.shape == (round(0.6 * longest), longest, 3)
        at_once = cv2.resize(smooth, copy.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(copy.astype(int) - at_once).max() <= 4  # of 255, by the two steps
    assert (fitted(Counted(smooth), 2000) == smooth).all()


def test_a_large_image_is_fitted_part_by_part():
    image = Counted(noise(6000, 4000))
    assert fitted(image, 300).shape == (300, 200, 3)
    assert image.most < 6000 * 4000 / 4


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 4000)])
def test_a_strip_keeps_a_row(size):
    assert min(fitted(Counted(noise(*size)), 100).shape[:2]) == 1
