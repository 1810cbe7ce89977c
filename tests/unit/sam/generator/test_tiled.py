"""What is found in tiles, with a stand-in for the model that sees every bright region of a tile."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samfleet.resources import ROOT
from samfleet.sam.generator.candidates import Chosen, Seen, View
from samfleet.sam.generator.pictures import WholePicture
from samfleet.sam.generator.tiled import find_in_tiles
from samfleet.sam.masks.records import FoundMasks, TileReport, surviving_masks
from samfleet.sam.tiles import Tiles
from tests.builders import disc
from tests.examples import examples
from tests.eye import INPUT, Eye, drawn, search_with


def masks_of(image: np.ndarray, chosen: Chosen, report: TileReport) -> list[np.ndarray]:
    """The masks as they would be stored, in frames of the image, without the background's."""
    found = FoundMasks(
        size=image.shape[:2],
        boxes=chosen.candidates.boxes.numpy(),
        predicted_iou=chosen.candidates.predicted_iou.numpy(),
        stability=chosen.candidates.stability.numpy(),
        points=chosen.candidates.points.numpy(),
        crops=chosen.crops,
        masks=chosen.masks,
        min_mask_region_area=0,
        nms_thresh=0.7,
        reductions=chosen.reductions,
        tiles=report,
    )
    frames = []
    for mask in surviving_masks(found):
        frame = np.zeros(image.shape[:2], bool)
        frame[mask.pixels.window] = mask.pixels.region()
        if image[frame].mean() > 100:
            frames.append(frame)
    return frames


def spots(seed: int, size: tuple[int, int], radius: float, count: int) -> list[tuple]:
    """Discs that do not touch."""
    random = np.random.default_rng(seed)
    placed: list[tuple] = []
    for _ in range(20 * count):
        y, x = random.uniform(0, size[0]), random.uniform(0, size[1])
        if all(np.hypot(y - a, x - b) > 2 * radius + 3 for a, b, _ in placed):
            placed.append((y, x, radius))
    return placed[:count]


@examples(12, deadline=None)
@given(st.integers(0, 10**6), st.integers(64, 128), st.booleans())
def test_every_object_is_found_once_and_whole(seed, tile, whole_image):
    """Anywhere in the image, also at its edges and under the edges of tiles."""
    tiles = Tiles(tile, whole_image=whole_image)
    radius = (tile // 4 - 6) / 2 - 1  # the overlap without both margins
    image = drawn((200, 250), *spots(seed, (200, 250), radius, 20))
    chosen, report, _ = find_in_tiles(WholePicture(image), tiles, search_with(Eye(), image))
    found = masks_of(image, chosen, report)
    count, labels = cv2.connectedComponents((image[..., 0] > 100).astype(np.uint8))
    assert len(found) == count - 1
    assert np.array_equal(
        sum(frame.astype(int) for frame in found) if found else 0 * labels, labels > 0
    )
    assert report.cut == 0 and report.size == tile


def test_a_mosaic_slid_by_a_third_of_a_tile_gives_the_same_objects():
    """Nuclei as people have outlined them, each a little apart from the others."""
    labels = []
    for path in sorted((ROOT / "resources" / "demo" / "labels").rglob("*.png"))[:9]:
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:256, :256]
        edges = cv2.dilate(label, np.ones((3, 3))) != cv2.erode(label, np.ones((3, 3)))
        labels.append(np.where((label > 0) & ~edges, 200, 10).astype(np.uint8))
    labels = [label for label in labels if label.shape == (256, 256)][:4]
    mosaic = np.block([labels[:2], labels[2:]])
    side, slide = 420, 50  # a third of a tile
    found = []
    for corner in (0, slide):
        image = np.repeat(mosaic[corner : corner + side, corner : corner + side, None], 3, axis=2)
        chosen, report, _ = find_in_tiles(
            WholePicture(image), Tiles(150), search_with(Eye(), image)
        )
        begin = slide - corner
        shared = (slice(begin, begin + side - slide),) * 2
        masks = masks_of(image, chosen, report)
        inside = [mask[shared] for mask in masks if mask[shared].sum() == mask.sum()]
        edge = np.pad(np.zeros((side - slide - 2,) * 2, bool), 1, constant_values=True)
        found.append(sorted(m.tobytes() for m in inside if not (m & edge).any()))
    assert len(found[0]) >= 20 and len(set(found[0])) == len(found[0])
    assert found[0] == found[1]


def test_no_mask_runs_along_the_edge_of_a_tile():
    """A region that fills the image is cut by every tile."""
    image = drawn((300, 300))
    image[20:280, 20:280] = 200
    chosen, report, _ = find_in_tiles(WholePicture(image), Tiles(100), search_with(Eye(), image))
    (square,) = masks_of(image, chosen, report)
    assert np.array_equal(square, image[..., 0] > 100)
    assert chosen.crops.tolist() == [[0, 0, 300, 300]] * len(chosen.masks)
    assert report.cut == 0


@pytest.mark.parametrize("centres", [[(150, 150)], [(90, 90), (230, 250)]])
def test_large_objects_are_left_to_the_whole_image_or_counted(centres):
    image = drawn((320, 340), *[(y, x, 40) for y, x in centres], (30, 300, 8))
    eye = Eye()
    chosen, report, _ = find_in_tiles(WholePicture(image), Tiles(100), search_with(eye, image))
    assert report.cut == 0 and len(masks_of(image, chosen, report)) == len(centres) + 1
    assert eye.views[-1] == [0, 0, 340, 320]
    chosen, report, _ = find_in_tiles(
        WholePicture(image), Tiles(100, whole_image=False), search_with(Eye(), image)
    )
    assert report.cut == len(centres) and len(masks_of(image, chosen, report)) == 1


def test_what_one_tile_alone_shows_as_cut_is_not_larger_than_what_tiles_share():
    """Two discs that the first tile takes for one, and that its neighbour misses."""

    class Joining(Eye):
        def look(self, view: View) -> Seen:
            rgb = view.rgb.copy()
            if view.box[0] == 0:
                rgb = cv2.dilate(rgb, np.ones((9, 9), np.uint8))
            else:
                rgb[:, : 120 - view.box[0]] = 10
            return super().look(View(rgb, view.box, view.points, view.cut, view.keeps_cut))

    image = drawn((100, 340), (50, 78, 8), (50, 98, 8))
    tiles = Tiles(100, whole_image=False)
    eye = Joining(sees_background=False)
    _, report, _ = find_in_tiles(WholePicture(image), tiles, search_with(eye, image))
    assert report.cut == 0 and len(eye.views) > 1


def test_the_whole_image_adds_nothing_that_a_tile_holds():
    """Its blurred view of small objects would compete with that of the tiles."""

    class Merging(Eye):
        def look(self, view: View) -> Seen:
            if view.box != [0, 0, 340, 320]:
                return super().look(view)
            rgb = cv2.dilate(view.rgb, np.ones((9, 9), np.uint8))
            return super().look(View(rgb, view.box, view.points))

    image = drawn((320, 340), (100, 100, 8), (100, 124, 8), (220, 220, 60))
    chosen, report, _ = find_in_tiles(
        WholePicture(image), Tiles(100), search_with(Merging(), image)
    )
    assert sorted(int(frame.sum()) for frame in masks_of(image, chosen, report))[:2] == [197, 197]


def test_the_background_is_no_object_that_was_cut():
    image = drawn((320, 340), *spots(3, (320, 340), 6, 50))
    for whole_image in (True, False):
        tiles = Tiles(100, whole_image=whole_image)
        _, report, _ = find_in_tiles(WholePicture(image), tiles, search_with(Eye(), image))
        assert report.cut == 0


@pytest.mark.parametrize("skip_background", [True, False])
def test_tiles_without_foreground_are_left_out(skip_background):
    image = drawn((100, 1000), (50, 60, 10))
    if skip_background:  # noise is background, too, but only then
        image = np.clip(image + np.random.default_rng(0).normal(0, 2, image.shape), 0, 255)
        image = image.astype(np.uint8)
    eye = Eye(sees_background=False)
    search = search_with(eye, image, skip_background=skip_background)
    _, report, _ = find_in_tiles(WholePicture(image), Tiles(100, whole_image=False), search)
    assert len(eye.views) == report.done == 1 and report.left_out >= 10


def test_an_image_no_larger_than_a_tile_is_looked_at_without_tiles():
    image = drawn((100, 115), (50, 60, 30))
    eye = Eye()
    chosen, report, _ = find_in_tiles(WholePicture(image), Tiles(100), search_with(eye, image))
    assert eye.views == [[0, 0, 115, 100]] and report == TileReport(100, 1, 0, 0)
    assert len(masks_of(image, chosen, report)) == 1


@pytest.mark.parametrize(
    ("radius", "looks"), [(4, [INPUT, INPUT // 2]), (9, [INPUT]), (0, [INPUT])]
)
def test_small_objects_are_looked_at_again_enlarged(radius, looks):
    """The median decides: two large discs among many change nothing."""
    discs = spots(5, (300, 300), radius, 40) if radius else []
    image = drawn((300, 300), *discs)
    eye = Eye(sees_background=False)
    tiles = Tiles(INPUT, enough=12.0)
    _, report, _ = find_in_tiles(WholePicture(image), tiles, search_with(eye, image))
    sides = {box[2] - box[0] for box in eye.views if box[2] - box[0] < 300}
    assert report.size == looks[-1] and len(sides) == (len(looks) if radius else 0)
    if radius:
        assert report.done == len([box for box in eye.views if box != [0, 0, 300, 300]])


def test_only_where_objects_are_small_is_looked_at_closer():
    """Half of the image has small discs, the other half large ones, of which there are fewer."""
    small = [(y, x, 3) for y, x, _ in spots(1, (300, 130), 4, 60)]
    large = [(y, x + 170, 9) for y, x, _ in spots(2, (300, 120), 9, 40)]
    image = drawn((300, 300), *small, *large)
    eye = Eye(sees_background=False)
    tiles = Tiles(INPUT, enough=12.0)
    chosen, report, _ = find_in_tiles(WholePicture(image), tiles, search_with(eye, image))
    closer = [box for box in eye.views if box[2] - box[0] < INPUT]
    assert closer and report.size == INPUT // 2
    on_the_right = [box for box in closer if box[0] >= 170]  # under a tile with hardly an object
    assert len(on_the_right) < len(closer) / 3 and min(box[0] for box in closer) == 0
    every = {tuple(box) for box in tiles.half().lay((300, 300)).boxes}
    assert len(closer) < 0.7 * len(every) and report.done <= len(eye.views)
    found = masks_of(image, chosen, report)
    _, labels = cv2.connectedComponents((image[..., 0] > 100).astype(np.uint8))
    assert np.array_equal(sum(frame.astype(int) for frame in found), labels > 0)  # each once
    assert len(found) == labels.max()


def test_what_a_closer_look_does_not_find_is_kept_from_the_first():
    class Forgetful(Eye):
        """Sees a bit less of every disc when it is near, and no disc on the left."""

        def _regions(self, view):
            masks, points = super()._regions(view)
            if view.box[2] - view.box[0] >= INPUT:
                return masks, points
            kept = [n for n, (x, _) in enumerate(points) if view.box[0] + x > 150]
            shrunk = {n: cv2.erode(masks[n].astype(np.uint8), np.ones((2, 2))) > 0 for n in kept}
            kept = [n for n in kept if shrunk[n].any()]
            return [shrunk[n] for n in kept], [points[n] for n in kept]

    discs = spots(5, (300, 300), 4, 40)
    image = drawn((300, 300), *discs)
    eye = Forgetful(sees_background=False)
    tiles = Tiles(INPUT, enough=12.0)
    chosen, report, _ = find_in_tiles(WholePicture(image), tiles, search_with(eye, image))
    areas = {True: [], False: []}
    for frame in masks_of(image, chosen, report):
        areas[bool(np.nonzero(frame)[1].mean() > 160)].append(frame.sum())
    assert len(areas[True]) + len(areas[False]) == len(discs)
    whole = disc(20, 20, 10, 10, 4).sum()
    assert np.median(areas[False]) > 0.9 * whole > np.median(areas[True])


def test_a_small_image_is_enlarged_again_too():
    """Shown at its whole, what is 8 pixels wide is 9 pixels of the input."""
    image = drawn((56, 56), (20, 20, 4), (40, 30, 4))
    eye = Eye(sees_background=False)
    _, report, _ = find_in_tiles(
        WholePicture(image), Tiles(INPUT, enough=12.0), search_with(eye, image)
    )
    assert report.size == INPUT // 2 and len(eye.views) > 4
    eye = Eye(sees_background=False)
    tiny = image[10:40, 10:40]  # half a tile, which shows all of it
    _, report, _ = find_in_tiles(
        WholePicture(tiny), Tiles(INPUT, enough=50.0), search_with(eye, tiny)
    )
    assert report.size == INPUT and len(eye.views) == 1


def test_masks_of_a_reduced_copy_lie_where_the_objects_are():
    size = (1300, 1100)  # more than eight inputs: shown at a third
    image = drawn(size, (400, 500, 200), (1200, 1000, 95))
    chosen, report, _ = find_in_tiles(WholePicture(image), Tiles(128), search_with(Eye(), image))
    found = masks_of(image, chosen, report)
    assert len(found) == 2 and report.cut == 0
    for (y, x, radius), mask in zip([(400, 500, 200), (1200, 1000, 95)], found, strict=True):
        true = disc(*size, y, x, radius)
        assert (mask & true).sum() / (mask | true).sum() > 0.98
    assert set(chosen.reductions.tolist()) == {3}


def test_a_strip_that_the_model_cannot_be_shown_is_found_in_tiles_alone():
    image = drawn((3, 900), (1, 300, 5))
    eye = Eye(sees_background=False)
    chosen, *_ = find_in_tiles(WholePicture(image), Tiles(64), search_with(eye, image))
    assert len(chosen.masks) == 1 and all(box[2] - box[0] < 900 for box in eye.views)
