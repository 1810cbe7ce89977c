"""The stages that an image passes through, by themselves."""

from collections.abc import Iterator

import numpy as np
import pytest

from samfleet.detection.pipeline import Detection, ReadAhead, measure_images
from samfleet.detection.workers import Task
from samfleet.images.reading import ReadImage
from samfleet.plan.shards import ShardImage
from tests.builders import make_settings


class TwoWorkers:
    """Measures at once, but for one image, which keeps a worker busy until it is told to finish."""

    count = 2

    def __init__(self, heavy: str) -> None:
        self._heavy = heavy
        self.at_heavy = Task()

    def submit(self, function, windows, is_color, found, only_largest_part, times=1) -> Task:
        if found == self._heavy:
            return self.at_heavy
        task = Task()
        task.future.set_result((({"width": 1}, []), 0.5))
        return task

    def result(self, task: Task):
        return task.future.result()


def test_an_image_that_is_measured_for_long_does_not_keep_the_device_from_others():
    names = [f"{number}.png" for number in range(40)]
    workers = TwoWorkers(names[3])
    given = []

    def found() -> Iterator[Detection]:
        pixels = np.zeros((4, 5, 1), np.uint8)
        for name in names:
            given.append(name)
            read = ReadImage(name, pixels, np.zeros((4, 5, 3), np.uint8), False, "", "", 0.0)
            ledger = {"seconds_waiting": 0.0}
            yield Detection(ShardImage(name, 1, name), read, found=name, ledger=ledger)
        workers.at_heavy.future.set_result((({"width": 1}, []), 60.0))

    measured = []
    for detection in measure_images(make_settings("x"), found(), workers):
        assert detection is not None  # which would say that the stage waits
        measured.append(detection.planned.name)
        # what the device has found goes on at once, so no more than the heavy image is behind
        assert len(given) - len(measured) <= 1
    assert measured == [*names[:3], *names[4:], names[3]]
    assert detection.ledger["seconds_measuring"] == 60


def read_as(name: str) -> Detection:
    pixels = np.full((4, 5, 3), len(name), np.uint8)
    return Detection(ShardImage(name, 1, name), ReadImage(name, pixels, pixels, True, "", "", 0.0))


def test_the_next_image_can_be_seen_before_it_is_taken_unless_it_would_have_to_be_waited_for():
    images = [read_as("a"), None, read_as("bb")]
    ready = [True]
    ahead = ReadAhead(images, lambda: ready[0])
    assert ahead.following() is images[0].read.rgb
    assert ahead.following() is images[0].read.rgb
    taken = iter(ahead)
    assert next(taken) is images[0]
    assert ahead.following() is None  # nothing was ready for a second
    assert next(taken) is None
    ready[0] = False
    assert ahead.following() is None
    ready[0] = True
    assert ahead.following() is images[2].read.rgb
    assert list(taken) == [images[2]]
    assert ahead.following() is None


def test_an_error_of_what_comes_next_is_not_that_of_the_image_before():
    def broken() -> Iterator[Detection]:
        yield read_as("a")
        raise OSError("claims cannot be written")

    ahead = ReadAhead(broken(), lambda: True)
    taken = iter(ahead)
    next(taken)
    assert ahead.following() is None
    with pytest.raises(OSError, match="claims"):
        next(taken)
