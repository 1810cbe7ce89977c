"""Scores of found objects against label images."""

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from samfleet.evaluation import matching
from samfleet.evaluation.evaluation import evaluate
from samfleet.evaluation.labels import LabelError, find_label_image, read_label_image
from samfleet.evaluation.matching import THRESHOLDS, Counts, Matches, match_objects, score
from samfleet.results import EVALUATION_COLUMNS
from tests.examples import examples

MAPS = arrays(np.uint8, (6, 7), elements=st.integers(0, 5))


def _rle(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def _boxes(*boxes: tuple[int, int, int, int], shape=(20, 30)) -> list[np.ndarray]:
    masks = []
    for top, left, height, width in boxes:
        mask = np.zeros(shape, bool)
        mask[top : top + height, left : left + width] = True
        masks.append(mask)
    return masks


def _label_map(masks: list[np.ndarray]) -> np.ndarray:
    labels = np.zeros(masks[0].shape, np.uint16)
    for number, mask in enumerate(masks, 1):
        labels[mask] = number
    return labels


@pytest.fixture
def truth() -> np.ndarray:
    """Three boxes of 10 × 10, 4 × 5 and 2 × 2 pixels, with ids that leave gaps."""
    labels = _label_map(_boxes((0, 0, 10, 10), (12, 2, 4, 5), (15, 20, 2, 2)))
    return np.array([0, 7, 300, 12], np.int32)[labels]


# --- overlaps -------------------------------------------------------------------------------


def test_overlaps_of_masks_by_hand(truth):
    # 60 of the first box's 100 pixels; the second box and 20 pixels more; nothing.
    masks = _boxes((0, 0, 6, 10), (12, 2, 4, 10), (0, 20, 5, 5))
    matches = match_objects(truth, masks)
    assert sorted(matches.truth_areas.tolist()) == [4, 20, 100]
    assert matches.predicted_areas.tolist() == [60, 40, 25]
    assert sorted(matches.iou.tolist()) == [0.5, 0.6]
    assert [matches.true_positives(t) for t in (0.5, 0.55, 0.6, 0.65)] == [2, 1, 1, 0]
    assert sorted(matches.best_ious().tolist()) == [0.0, 0.5, 0.6]


def test_masks_run_lengths_and_label_maps_agree(truth):
    masks = _boxes((0, 0, 6, 10), (12, 2, 4, 10))
    encoded = [_rle(mask) for mask in masks]
    as_text = [rle | {"counts": rle["counts"].decode()} for rle in encoded]
    plain = [{"size": [20, 30], "counts": _plain_counts(mask)} for mask in masks]
    expected = match_objects(truth, masks)
    for predicted in (encoded, as_text, plain, _label_map(masks), np.stack(masks)):
        matches = match_objects(truth, predicted)
        assert np.array_equal(np.sort(matches.iou), np.sort(expected.iou))
        assert matches.predicted_areas.tolist() == [60, 40]


def _plain_counts(mask: np.ndarray) -> list[int]:
    """Uncompressed COCO counts: runs down the columns, the first of zeros."""
    column = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], column, [False]]).astype(int)))
    runs = np.diff(np.concatenate([[0], edges, [column.size]])).tolist()
    return runs if runs[-1] or len(runs) == 1 else runs[:-1]


def test_many_labels_take_the_other_way_round_with_the_same_result():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 80, (40, 40))
    labels = rng.integers(0, 70, (40, 40))
    fast = match_objects(truth, labels)
    slow = match_objects(truth, [labels == k for k in range(1, 70)])
    for field in ("truth_areas", "predicted_areas", "truth", "predicted", "shared"):
        assert np.array_equal(getattr(fast, field), getattr(slow, field)), field


@examples(60)
@given(MAPS, st.lists(arrays(bool, (6, 7)), max_size=5))
def test_overlaps_are_those_of_plain_counting(truth, masks):
    matches = match_objects(truth, masks)
    objects = [truth == k for k in np.unique(truth[truth > 0])]
    shared = np.zeros((len(objects), len(masks)), int)
    shared[matches.truth, matches.predicted] = matches.shared
    assert shared.tolist() == [[int((o & m).sum()) for m in masks] for o in objects]
    assert matches.truth_areas.tolist() == [int(o.sum()) for o in objects]


@examples(40)
@given(MAPS)
def test_a_map_scores_1_against_itself(truth):
    scores = score(match_objects(truth, truth))
    assert scores["f1_75"] == scores["average_precision"] == scores["mean_best_iou"] == 1


@examples(60)
@given(MAPS, st.lists(arrays(bool, (6, 7)), max_size=4), st.permutations(range(6)))
def test_order_and_ids_do_not_matter(truth, masks, ids):
    renamed = np.array([0, *(10 + np.array(ids[:5]))])[truth]
    assert score(match_objects(truth, masks)) == pytest.approx(
        score(match_objects(renamed, masks[::-1]))
    )


@examples(60)
@given(MAPS, st.lists(arrays(bool, (6, 7)), max_size=6))
def test_stricter_thresholds_find_no_more(truth, masks):
    counts = Counts.of(match_objects(truth, masks))
    assert list(counts.true_positives) == sorted(counts.true_positives, reverse=True)


def test_an_object_is_matched_once():
    truth = _label_map(_boxes((0, 0, 10, 10)))
    twice = _boxes((0, 0, 10, 10), (0, 0, 9, 10))
    matches = match_objects(truth, twice)
    assert matches.true_positives(0.5) == 1
    assert score(matches)["precision_50"] == 0.5


def test_matching_is_the_largest_possible():
    # The middle prediction suits both objects, the other one only the first: both are found.
    matches = Matches(
        truth_areas=np.array([10, 10]),
        predicted_areas=np.array([10, 10, 5]),
        truth=np.array([0, 0, 1]),
        predicted=np.array([0, 1, 0]),
        shared=np.array([9, 7, 8]),
    )
    assert matches.true_positives(0.5) == 2
    # Two objects that want one prediction: one of them is found.
    shares = np.array([0, 0])
    matches = Matches(np.array([5, 5]), np.array([10]), np.array([0, 1]), shares, np.array([5, 5]))
    assert matches.true_positives(0.5) == 1


def test_pixels_without_background_count():
    labels = np.array([[1, 1, 2, 2]])
    assert match_objects(labels, labels).truth_areas.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("truth", "predicted", "what"),
    [
        (np.zeros((2, 2)), [], "integers"),
        (np.zeros((2, 2, 3), int), [], "2-D"),
        (np.full((2, 2), -1), [], "negative"),
        (np.zeros((2, 2), int), np.zeros((2, 3), int), r"\(2, 3\)"),
        (np.zeros((2, 2), int), [np.zeros((2, 3), bool)], r"\(2, 3\)"),
        (np.zeros((2, 2), int), [np.zeros((2, 2))], "float64"),
    ],
)
def test_what_does_not_fit_is_refused(truth, predicted, what):
    with pytest.raises(ValueError, match=what):
        match_objects(truth, predicted)


def test_records_refuse_what_cannot_be():
    one, two = np.ones(1, int), np.ones(2, int)
    with pytest.raises(ValueError, match="one entry for each pair"):
        Matches(one, one, one, two, one)
    with pytest.raises(ValueError, match="at least one pixel"):
        Matches(one, one, one * 0, one * 0, one * 0)
    with pytest.raises(ValueError, match="10 numbers"):
        Counts(1, 1, (1,), 1.0)
    with pytest.raises(ValueError, match="more right predictions"):
        Counts(1, 5, (2,) * 10, 1.0)
    with pytest.raises(ValueError, match="threshold"):
        Matches(one, one, one * 0, one * 0, one).true_positives(0)


# --- scores ---------------------------------------------------------------------------------


def test_scores_by_hand():
    hits = tuple(3 if t <= 0.6 else 2 if t <= 0.75 else 0 for t in THRESHOLDS)
    scores = score(Counts(labelled=5, predicted=4, true_positives=hits, best_iou_sum=3.5))
    assert (scores["tp_50"], scores["fp_50"], scores["fn_50"]) == (3, 1, 2)
    assert scores["precision_50"] == 3 / 4
    assert scores["recall_50"] == 3 / 5
    assert scores["f1_50"] == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))
    assert scores["f1_75"] == pytest.approx(2 * 0.5 * 0.4 / (0.5 + 0.4))
    # TP / (TP + FP + FN): 3 of 6 three times, 2 of 7 three times, 0 of 9 four times.
    assert scores["average_precision"] == pytest.approx((3 * 3 / 6 + 3 * 2 / 7) / 10)
    assert scores["mean_best_iou"] == 0.7


def test_scores_of_nothing():
    nothing, none = (0,) * 10, 0.0
    assert score(Counts(0, 0, nothing, none))["average_precision"] == 1
    assert score(Counts(0, 0, nothing, none))["f1_50"] == 1
    for counts in (Counts(0, 3, nothing, none), Counts(3, 0, nothing, none)):
        scores = score(counts)
        assert scores["f1_50"] == scores["average_precision"] == scores["mean_best_iou"] == 0


def test_sparse_labels_give_recall_alone(truth):
    scores = score(match_objects(truth, _boxes((0, 0, 10, 10))), sparse=True)
    assert scores["recall_50"] == scores["recall_75"] == 1 / 3
    assert scores["mean_best_iou"] == 1 / 3
    for name in ("precision_50", "f1_75", "fp_50", "average_precision"):
        assert np.isnan(scores[name]), name


def test_thresholds_are_those_of_the_field():
    assert THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


# --- tables ---------------------------------------------------------------------------------


def _objects(**found: list[np.ndarray]) -> pd.DataFrame:
    rows = [
        {
            "image": name.replace("__", "/") + ".jpg",
            "image_id": "id-" + name,
            "width": mask.shape[1],
            "height": mask.shape[0],
            "rle": _rle(mask)["counts"].decode(),
        }
        for name, masks in found.items()
        for mask in masks
    ]
    return pd.DataFrame(rows, columns=["image", "image_id", "width", "height", "rle"])


def _images(objects: pd.DataFrame) -> pd.DataFrame:
    return objects[["image", "image_id", "width", "height"]].drop_duplicates()


def _write(folder, name: str, labels: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        path.write_bytes(cv2.imencode(".png", labels)[1].tobytes())
    else:
        tifffile.imwrite(path, labels)


@pytest.fixture
def tables(tmp_path):
    """Tables of four images: two with labels, one with labels of another size, one without."""
    left, right = _boxes((0, 0, 10, 10), (5, 15, 10, 10))
    _write(tmp_path, "a.png", _label_map([left, right]))
    _write(tmp_path, "sub/b.tif", _label_map([left]))
    _write(tmp_path, "c.tiff", np.zeros((5, 5), np.uint16))
    objects = _objects(a=[left], sub__b=[left, right], c=[left], d=[left])
    return evaluate(objects, tmp_path, _images(objects))


def test_table_of_images(tables):
    images = tables[0].set_index("image")
    assert list(tables[0].columns) == list(EVALUATION_COLUMNS)
    assert list(images.index) == ["a.jpg", "c.jpg", "d.jpg", "sub/b.jpg"]
    assert images.loc["a.jpg", ["n_labelled", "n_objects", "tp_50", "fn_50"]].tolist() == [
        2,
        1,
        1,
        1,
    ]
    assert images.loc["a.jpg", "average_precision"] == 0.5
    assert images.loc["sub/b.jpg", ["recall_50", "precision_50"]].tolist() == [1, 0.5]
    assert images.loc["sub/b.jpg", "image_id"] == "id-sub__b"
    assert images.loc["d.jpg", "problem"] == "no label image"
    assert images.loc["c.jpg", "problem"] == "c.tiff has 5 × 5 pixels, the image 30 × 20"
    assert images.loc[["c.jpg", "d.jpg"], "f1_50"].isna().all()


def test_total_is_pooled_over_objects(tables):
    total = tables[1].iloc[0]
    assert (total["n_images"], total["n_evaluated"]) == (4, 2)
    assert (total["tp_50"], total["fp_50"], total["fn_50"]) == (2, 1, 1)
    assert total["f1_50"] == pytest.approx(2 / 3)
    assert total["average_precision"] == 0.5
    assert total["mean_average_precision"] == 0.5


def test_images_without_objects_count(tmp_path):
    (mask,) = _boxes((0, 0, 10, 10))
    _write(tmp_path, "full.png", _label_map([mask]))
    _write(tmp_path, "empty.png", np.zeros((20, 30), np.uint8))
    names = ["empty.png", "full.png"]
    images = pd.DataFrame({"image": names, "image_id": ["1", "2"], "width": 30, "height": 20})
    rows, total = evaluate(_objects(), tmp_path, images)
    assert rows["average_precision"].tolist() == [1, 0]
    assert total.loc[0, "fn_50"] == 1
    assert total.loc[0, "mean_average_precision"] == 0.5


def test_sparse_tables(tmp_path):
    left, right = _boxes((0, 0, 10, 10), (5, 15, 10, 10))
    _write(tmp_path, "a.png", _label_map([left]))
    objects = _objects(a=[left, right])
    rows, total = evaluate(objects, tmp_path, _images(objects), sparse=True)
    assert rows.loc[0, "recall_50"] == total.loc[0, "recall_50"] == 1
    assert np.isnan(rows.loc[0, "precision_50"]) and np.isnan(total.loc[0, "average_precision"])


def test_nothing_to_evaluate(tmp_path):
    rows, total = evaluate(_objects(), tmp_path, _images(_objects()))
    assert len(rows) == 0 and total.loc[0, "n_evaluated"] == 0
    with pytest.raises(LabelError, match=r"evaluation\.labels: .*nowhere"):
        evaluate(_objects(), tmp_path / "nowhere", _images(_objects()))


def test_label_image_is_found_by_path(tmp_path):
    for name in ("x/a.tif", "a.png", "odd\n.png"):
        _write(tmp_path, name, np.zeros((2, 2), np.uint8))
    for image, label in (
        ("x/a.jpg", "x/a.tif"),
        ("x/a.tif", "x/a.tif"),
        ("a.png", "a.png"),
        ("odd\\u000a.jpg", "odd\n.png"),
    ):
        assert find_label_image(image, tmp_path).path == tmp_path / label
    with pytest.raises(LabelError, match="no label image"):
        find_label_image("b.png", tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
def test_label_images_of_any_type_are_read(tmp_path, dtype):
    labels = np.array([[0, 1], [7, 7]], dtype)
    _write(tmp_path, "a.tif", labels)
    assert read_label_image(tmp_path / "a.tif").tolist() == [[0, 1], [7, 7]]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.tif", np.array([[0.5, 1]]), "values that are not labels"),
        ("a.tif", np.array([[-1, 1]]), "values that are not labels"),
        ("a.tif", np.array([[np.nan, 1]]), "values that are not labels"),
        ("a.png", np.zeros((2, 2, 3), np.uint8), "a single plane"),
        ("a.tif", np.zeros((2, 5, 5), np.uint8), "a single plane"),
        ("a.png", b"", "cannot be read"),
        ("a.png", b"text", "cannot be read"),
        ("a.tif", b"II*\x00", "cannot be read"),
    ],
)
def test_unusable_label_images_are_named(tmp_path, name, content, what):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        _write(tmp_path, name, content)
    with pytest.raises(LabelError, match=f"{name}.*{what}"):
        read_label_image(tmp_path / name)


# many objects in large images


@examples(60, deadline=None)
@given(st.integers(0, 10**6))
def test_run_lengths_are_matched_without_a_frame(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 30, 2)
    truth = cv2.blur(random.integers(0, 5, (height, width)).astype(np.uint8), (3, 3)).astype(
        np.uint16
    )
    truth = truth.reshape(height, width) * 7  # not consecutive
    masks = [random.random((height, width)) < part for part in (0.0, 0.2, 0.7, 1.0)]
    expected = match_objects(truth, masks)
    for predicted in (
        [_rle(mask) for mask in masks],
        [{**_rle(mask), "counts": _rle(mask)["counts"].decode()} for mask in masks],
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matching, "_AT_ONCE", 10)  # some rows at a time
            found = match_objects(truth, predicted)
        for name in ("truth_areas", "predicted_areas", "truth", "predicted", "shared"):
            assert getattr(found, name).tolist() == getattr(expected, name).tolist()


def test_labels_that_leave_out_ids_or_have_large_ones_count_the_same(monkeypatch):
    labels = np.array([[0, 3, 3], [9, 9, 0]], np.int32)
    areas = match_objects(labels, labels).truth_areas.tolist()
    monkeypatch.setattr(matching, "_MOST_IDS", 5)
    assert match_objects(labels, labels).truth_areas.tolist() == areas == [2, 2]


@pytest.mark.parametrize("size", [(3, 4), (4, 3)])
def test_run_lengths_of_another_frame_are_refused(size):
    rle = {"size": [4, 4], "counts": _rle(np.ones((4, 4), bool))["counts"]}
    with pytest.raises(ValueError, match="must fill"):
        match_objects(np.ones(size, np.uint8), [rle])


def test_a_hundred_thousand_pairs_that_compete_take_no_table_of_all_of_them():
    """Each labelled object shares its pixels with two predictions, each prediction with two labels."""
    count = 100_000
    truth = np.repeat(np.arange(count), 2)
    predicted = (truth + np.tile([0, 1], count)) % count
    areas = np.full(count, 3)
    shared = np.full(2 * count, 2)  # an IoU of 1/2
    assert Matches(areas, areas, truth, predicted, shared).true_positives(0.5) == count
