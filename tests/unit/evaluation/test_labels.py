"""Label images: which file is one, what it holds, and what is never taken for one."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from samfleet.digests import image_id
from samfleet.evaluation.evaluation import evaluate, write_evaluation
from samfleet.evaluation.labels import (
    LabelError,
    binary_remark,
    find_label_image,
    own_label_name,
    read_label_image,
)
from tests.builders import disc, make_settings, rle_counts, write_files

HEIGHT, WIDTH = 40, 50
DISCS = [disc(HEIGHT, WIDTH, *place) for place in ((10, 10, 6), (28, 15, 7), (20, 38, 8))]
LABELS = sum(number * mask for number, mask in enumerate(DISCS, 1)).astype(np.uint16)
PICTURE = np.where(LABELS > 0, 60 + 40 * LABELS, 20).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def tiff(folder: Path, pixels: np.ndarray, **options) -> bytes:
    path = folder / "temporary"
    tifffile.imwrite(path, pixels, **options)
    content = path.read_bytes()
    path.unlink()
    return content


def images_of(*names: str, contents: dict[str, bytes] | None = None) -> pd.DataFrame:
    """Detected images in the summary's terms; without contents each has an id of its own."""
    ids = [image_id((contents or {}).get(name, name.encode())) for name in names]
    return pd.DataFrame({"image": names, "image_id": ids, "width": WIDTH, "height": HEIGHT})


def objects_of(*names: str) -> pd.DataFrame:
    rows = [{"image": name, "rle": rle_counts(mask)} for name in names for mask in DISCS]
    return pd.DataFrame(rows, columns=["image", "rle"])


def scores(labels: Path, *names: str, contents: dict[str, bytes] | None = None) -> pd.DataFrame:
    rows, _ = evaluate(objects_of(*names), labels, images_of(*names, contents=contents))
    return rows.set_index("image")


# which file is the label image


def linked(folder: Path) -> None:
    (folder / "labels").symlink_to("images")


def linked_one(folder: Path) -> None:
    (folder / "labels").mkdir()
    (folder / "labels" / "a.tif").symlink_to(folder / "images" / "a.png")


def hard_linked(folder: Path) -> None:
    (folder / "labels").mkdir()
    os.link(folder / "images" / "a.png", folder / "labels" / "a.png")


def copied(folder: Path) -> None:
    write_files(folder / "labels", {"a.png.tif": (folder / "images" / "a.png").read_bytes()})


def empty(folder: Path) -> None:
    (folder / "labels").mkdir()


@pytest.mark.parametrize("name", ["a.png", "../images/a.png", "{}/images/a.png", "x/../a.png"])
@pytest.mark.parametrize("labelled", [linked, linked_one, hard_linked, copied, empty])
def test_an_image_is_never_its_own_label_image(tmp_path, name, labelled):
    write_files(tmp_path, {"images/a.png": png(PICTURE)})
    labelled(tmp_path)
    with pytest.raises(LabelError, match="no label image"):
        find_label_image(
            name.format(tmp_path),
            tmp_path / "labels",
            {image_id(png(PICTURE)): ["first.png", name.format(tmp_path)]},
        )


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../images/a.png", "a.tif"),
        ("../images/a.png", "images/a.png"),
        ("../../b/images/a.png", "b/images/a.tiff"),
        ("/far/images/a.png", "a.png"),
        ("/far/images/a.png", "images/a.png.tif"),
        ("sub/../images/a.png", "images/a.tif"),
        ("images/scan.01", "images/scan.01.tif"),
        ("images/cells.png", "images/cells_masks.tif"),
        ("images/cells.tif", "images/cells_cp_masks.png"),
        ("images/cells.jpg", "images/cells_label.tiff"),
        ("images/cells.jpg", "images/cells.TIF"),
        ("images/cells.jpg", "images/cells.Tif"),
        ("images/cells.jpg", "images/cells_mask.Png"),
        ("images/cells.jpg", "images/cells_mask.ome.tif"),
        ("images/cells.ome.tif", "images/cells.tif"),
        ("images/cells.ome.tif", "images/cells_mask.ome.tif"),
        ("images/cells.OME.TIF", "images/cells_labels.png"),
        ("images/cells.ome.tif", "images/cells.ome_masks.tif"),
    ],
)
def test_the_label_image_of_an_image_wherever_that_one_is(tmp_path, name, label):
    write_files(tmp_path / "labels", {label: b"", "far.tif": b"", "images/other.png": b""})
    assert find_label_image(name, tmp_path / "labels").path == tmp_path / "labels" / label


def test_of_a_path_that_leads_out_the_longest_part_that_fits_counts(tmp_path):
    write_files(tmp_path, {"a.tif": b"", "well/a.tif": b"", "images/well/a.tif": b""})
    assert find_label_image("../p/well/a.png", tmp_path).path == tmp_path / "well" / "a.tif"
    # a path within the collection's folder is not shortened
    with pytest.raises(LabelError):
        find_label_image("p/well/a.png", tmp_path)


def test_a_preview_in_a_lossy_format_is_passed_over(tmp_path):
    write_files(tmp_path, {"a.jpg": lossy(tmp_path), "a.tif": tiff(tmp_path, LABELS)})
    assert find_label_image("a.jpg", tmp_path).path == tmp_path / "a.tif"
    (tmp_path / "a.tif").unlink()
    with pytest.raises(LabelError, match=r"no label image: a\.jpg is neither a PNG nor a TIFF"):
        find_label_image("a.jpg", tmp_path)


def test_labels_beside_the_images_are_told_by_their_names_and_other_images_are_none(
    tmp_path, caplog
):
    contents = {
        "cells.png": png(PICTURE),
        "cells.tif": tiff(tmp_path, PICTURE + 1),
        "cells_masks.tif": tiff(tmp_path, LABELS),
        "lonely.png": png(PICTURE + 2),
    }
    write_files(tmp_path, contents)
    names = ["cells.png", "cells_masks.tif", "lonely.png"]
    # cells.tif would come first by its name, but it is another image of the collection
    images, collection = (images_of(*n, contents=contents) for n in (names, list(contents)))
    rows, _ = evaluate(objects_of(*names), tmp_path, images, collection=collection)
    found = rows.set_index("image")
    assert found.loc["cells.png", "n_labelled"] == 3
    assert found.loc["cells.png", "f1_75"] == 1
    for name in ("cells_masks.tif", "lonely.png"):
        assert found.loc[name, "problem"] == f"no label image: {name} is an image of the collection"
    assert "1 image whose label image was segmented" in caplog.text


def test_label_images_in_a_folder_within_the_collection_are_what_they_are_meant_for(tmp_path):
    contents = {
        "a.png": png(PICTURE),
        "b.png": png(PICTURE + 1),
        "labels/a.tif": tiff(tmp_path, LABELS),
        "labels/b.png": png(PICTURE + 1),  # a copy of the image itself
    }
    write_files(tmp_path, contents)
    found = scores(tmp_path / "labels", *contents, contents=contents)
    assert found["n_labelled"].tolist()[:2] == [3, pytest.approx(np.nan, nan_ok=True)]
    assert found.loc["b.png", "problem"] == "no label image: b.png is an image of the collection"
    assert found.loc["labels/a.tif", "problem"] == "no label image"


def test_an_image_that_a_link_calls_anothers_label_image_is_none(tmp_path):
    contents = {"a.png": png(PICTURE), "b.png": png(PICTURE + 1)}
    write_files(tmp_path / "images", contents)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.png").symlink_to(tmp_path / "images" / "b.png")
    with pytest.raises(LabelError, match=r"a\.png: no label image: a\.png is an image of"):
        scores(tmp_path / "labels", *contents, contents=contents)


def test_a_black_image_and_its_label_image_may_be_the_same_bytes(tmp_path):
    black = png(np.zeros((HEIGHT, WIDTH), np.uint8))
    write_files(tmp_path, {"a.png": black})
    rows, _ = evaluate(objects_of(), tmp_path, images_of("a.png", contents={"a.png": black}))
    assert rows.loc[0, ["problem", "n_labelled", "f1_50"]].tolist() == ["", 0, 1]


@pytest.mark.parametrize(
    ("names", "label", "own"),
    [
        (["scan.01", "scan.02"], "scan.tif", ["scan.01.tif", "scan.02.tif"]),
        (["a.jpg", "a.png"], "a.tif", ["a.jpg.tif", "a.png.tif"]),
        (["/p/a.png", "/q/a.png"], "a.png", ["p/a.png.tif", "q/a.png.tif"]),
        (["../p/a.png", "p/a.png"], "p/a.tif", ["p/a.png.tif", "p/a.png.tif"]),
    ],
)
def test_a_label_image_that_two_images_would_share_is_used_for_neither(tmp_path, names, label, own):
    write_files(tmp_path, {label: tiff(tmp_path, LABELS), "other.tif": tiff(tmp_path, LABELS)})
    found = scores(tmp_path, *names, "other.png")
    assert found.loc[[*names, "other.png"], "n_labelled"].isna().tolist() == [True, True, False]
    for name, other, wanted in zip(names, names[::-1], own, strict=True):
        assert f"is found for {other} as well" in found.loc[name, "problem"]
        assert found.loc[name, "problem"].endswith(own_label_name(name))
        assert own_label_name(name) == wanted


def test_a_label_image_belongs_to_the_image_of_its_name_and_to_copies_of_it(tmp_path):
    write_files(tmp_path, {"a.tif": tiff(tmp_path, LABELS)})
    found = scores(tmp_path, "a.tif", "a.png", contents={"a.tif": b"1", "a.png": b"2"})
    assert found.loc[["a.tif", "a.png"], "n_labelled"].isna().tolist() == [False, True]
    copies = scores(tmp_path, "a.jpg", "a.png", contents={"a.jpg": b"1", "a.png": b"1"})
    assert copies["n_labelled"].tolist() == [3, 3]


# what it holds


def truncated_strips(folder: Path) -> bytes:
    return tiff(folder, LABELS, rowsperstrip=8)[:-400]


def deflated(folder: Path) -> bytes:
    content = tiff(folder, LABELS, compression="zlib")
    return content[: len(content) * 3 // 4]


def flipped_bit(folder: Path) -> bytes:
    content = bytearray(png(LABELS))
    content[content.index(b"IDAT") + 20] ^= 4
    return bytes(content)


def half_a_png(folder: Path) -> bytes:
    return png(LABELS)[:-30]


def lossy(folder: Path) -> bytes:
    return cv2.imencode(".jpg", LABELS.astype(np.uint8))[1].tobytes()


def a_text(folder: Path) -> bytes:
    return b"labels"


def in_color(folder: Path) -> bytes:
    return png(np.dstack([LABELS] * 3))


def two_pages(folder: Path) -> bytes:
    return tiff(folder, np.stack([LABELS, LABELS]))


def endless(folder: Path) -> bytes:
    return tiff(folder, np.where(LABELS > 2, np.inf, LABELS))


def huge(folder: Path) -> bytes:
    return tiff(folder, np.where(LABELS > 2, np.uint64(2**63), LABELS))


@pytest.mark.parametrize(
    "damage",
    [truncated_strips, deflated, flipped_bit, half_a_png, lossy, a_text, in_color, two_pages, endless, huge],
)  # fmt: skip
def test_an_unusable_label_image_costs_its_own_row_and_no_other(tmp_path, damage):
    write_files(tmp_path, {"a.tif": tiff(tmp_path, LABELS), "b.tif": damage(tmp_path)})
    found = scores(tmp_path, "a.png", "b.png")
    assert found.loc["a.png", ["problem", "n_labelled", "f1_75"]].tolist() == ["", 3, 1]
    assert found.loc["b.png", "problem"].startswith("b.tif ")
    assert found.loc["b.png", "n_labelled":].isna().all()


def with_exif_orientation(content: bytes, orientation: int) -> bytes:
    """A PNG with an eXIf chunk, as PNG's third edition defines it."""
    exif = b"MM\x00*\x00\x00\x00\x08\x00\x01" + struct.pack(">HHIHH", 274, 3, 1, orientation, 0)
    chunk = b"eXIf" + exif + bytes(4)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:33] + chunk + content[33:]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [(3, LABELS[::-1, ::-1]), (6, LABELS.T[::-1]), (8, LABELS.T[:, ::-1]), (2, LABELS[:, ::-1])],
)
def test_label_images_are_turned_upright_as_images_are(tmp_path, suffix, orientation, stored):
    if suffix == ".png":
        content = with_exif_orientation(png(np.ascontiguousarray(stored)), orientation)
    else:
        content = tiff(tmp_path, stored, extratags=[(274, 3, 1, orientation, False)])
    write_files(tmp_path, {f"a{suffix}": content})
    assert np.array_equal(read_label_image(tmp_path / f"a{suffix}"), LABELS)


def indexed_png(indices: np.ndarray, palette: bytes) -> bytes:
    """A PNG of colour type 3, written by hand, since OpenCV writes none."""
    chunks = [
        b"IHDR" + struct.pack(">IIBBBBB", indices.shape[1], indices.shape[0], 8, 3, 0, 0, 0),
        b"PLTE" + palette,
        b"IDAT" + zlib.compress(b"".join(b"\x00" + row.tobytes() for row in indices)),
        b"IEND",
    ]
    parts = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


GREY = bytes(v for n in range(4) for v in [255 - n] * 3)
COLORS = bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 255, 0, 0])  # 1 and 3 look the same


def palette_of(colors: bytes) -> np.ndarray:
    table = np.zeros((3, 256), np.uint16)
    table[:, :4] = np.frombuffer(colors, np.uint8).reshape(4, 3).T
    return table * 257


@pytest.mark.parametrize("colors", [GREY, COLORS], ids=["grey", "colors"])
def test_a_palette_changes_how_labels_look_and_not_what_they_are(tmp_path, colors):
    indices = LABELS.astype(np.uint8)
    contents = {
        "a.png": indexed_png(indices, colors),
        "b.tif": tiff(tmp_path, indices, photometric="palette", colormap=palette_of(colors)),
        "c.tif": tiff(tmp_path, indices, photometric="miniswhite"),
    }
    write_files(tmp_path, contents)
    for name in contents:
        assert np.array_equal(read_label_image(tmp_path / name), LABELS), name


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ((LABELS > 0) * 255, "255 is its only value, so its 3 parts"),
        ((LABELS > 0) * 1, "1 is its only value, so its 3 parts"),
        ((LABELS == 1) * 255, "255 is its only value, so its 1 part"),
        ((LABELS == 2) * 7, ""),
        ((LABELS == 2) * 1, ""),
        (LABELS * 80, ""),
        (LABELS * 0, ""),
    ],
)
def test_a_binary_mask_is_scored_with_a_remark(tmp_path, labels, words, suffix, caplog):
    pixels = labels.astype(np.uint8)
    content = png(pixels) if suffix == ".png" else tiff(tmp_path, pixels)
    write_files(tmp_path, {f"a{suffix}": content})
    found = scores(tmp_path, "a.jpg")
    assert words in found.loc["a.jpg", "problem"]
    assert bool(words) == bool(found.loc["a.jpg", "problem"])
    assert found.loc["a.jpg", "n_labelled"] == len(np.unique(labels)) - 1
    assert ("binary mask" in caplog.text) == bool(words)


def test_masks_of_one_bit_are_binary(tmp_path):
    write_files(tmp_path, {"a.tif": tiff(tmp_path, LABELS > 0, photometric="minisblack")})
    assert "3 parts" in binary_remark(read_label_image(tmp_path / "a.tif"))


SQUARES = np.zeros((60, 80), np.uint8)
SQUARES[8:30, 10:40] = SQUARES[35:55, 45:70] = 255
ROUND = np.where(disc(60, 80, 20, 20, 12) | disc(60, 80, 40, 55, 14), 255, 0).astype(np.uint8)


def with_soft_edges(mask: np.ndarray) -> np.ndarray:
    """0 and 253, 254, 255 alone: the outer pixels are a little darker, some more than others."""
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8))
    darker = 1 + np.indices(mask.shape).sum(0) % 2
    return np.where((mask > 0) & (inner == 0), mask - darker, mask).astype(np.uint8)


def resized(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_LINEAR)


def doubled(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)


def smoothed(mask: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(mask, (0, 0), 0.8)


def wide(mask: np.ndarray) -> np.ndarray:
    return doubled(mask.astype(np.uint16) * 257)


def compressed(mask: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", mask)[1], cv2.IMREAD_UNCHANGED)


def compressed_labels(mask: np.ndarray) -> np.ndarray:
    numbers = cv2.connectedComponents(mask)[1] * 40
    return compressed(numbers.astype(np.uint8))


@pytest.mark.parametrize("mask", [SQUARES, ROUND], ids=["squares", "round"])
@pytest.mark.parametrize(
    "treated",
    [with_soft_edges, resized, doubled, smoothed, wide, compressed, compressed_labels],
)
def test_a_mask_that_was_interpolated_or_compressed_gets_a_remark(treated, mask):
    pixels = treated(
        np.roll(mask, 3, (0, 1))
    )  # squares on a grid of 8 pixels lose nothing in a JPEG
    assert "interpolated or compressed with losses" in binary_remark(pixels.astype(np.int64))


def few(labels: np.ndarray) -> np.ndarray:
    labels[disc(60, 80, 20, 20, 10)] = 7
    labels[disc(60, 80, 25, 38, 12)] = 200
    return labels


def pierced(labels: np.ndarray) -> np.ndarray:
    labels = few(labels)
    labels[22, 5:75] = 90  # a fibre over two cells
    return labels


def speckled(labels: np.ndarray) -> np.ndarray:
    labels = few(labels)
    labels[[12, 20, 25], [22, 33, 31]] = [200, 7, 7]  # single pixels on the wrong side
    return labels


def to_white(labels: np.ndarray) -> np.ndarray:
    return np.where(pierced(labels) == 200, 255, labels)


def fibres(labels: np.ndarray) -> np.ndarray:
    for number, row in enumerate(range(5, 55, 4), 1):
        cv2.line(labels, (5, row), (70, 59 - row), number, 1)
    return labels


def a_mosaic(labels: np.ndarray) -> np.ndarray:
    seeds = np.random.default_rng(0).uniform(0, [60, 80], (40, 2))
    place = np.indices((60, 80))[:, None]
    return 1 + ((place - seeds.T[:, :, None, None]) ** 2).sum(0).argmin(0)


def crowded_dots(labels: np.ndarray) -> np.ndarray:
    for number, (y, x) in enumerate(np.ndindex(13, 17), 1):
        labels[disc(60, 80, 4 + 4 * y, 4 + 4 * x, 2)] = number
    return labels


def points(labels: np.ndarray) -> np.ndarray:
    labels[::5, ::5] = 1 + np.arange(12 * 16).reshape(12, 16)
    return labels


@pytest.mark.parametrize(
    "drawn", [few, pierced, speckled, to_white, fibres, a_mosaic, crowded_dots, points]
)
@pytest.mark.parametrize("zoom", [1, 2])
def test_numbered_objects_get_no_remark_however_thin_small_or_crowded(drawn, zoom):
    labels = drawn(np.zeros((60, 80), np.int32)).astype(np.int64)
    assert binary_remark(np.kron(labels, np.ones((zoom, zoom), np.int64))) == ""


# the whole evaluation


def test_a_label_image_of_another_size_is_named_also_for_an_image_without_objects(tmp_path):
    write_files(tmp_path, {"a.tif": tiff(tmp_path, LABELS), "b.tif": tiff(tmp_path, LABELS[1:])})
    rows, _ = evaluate(objects_of("a.png"), tmp_path, images_of("a.png", "b.png"))
    assert rows["problem"].tolist() == ["", "b.tif has 50 × 39 pixels, the image 50 × 40"]


def test_without_any_usable_label_image_the_key_and_the_folder_are_named(tmp_path):
    write_files(tmp_path, {"b.tif": b"damaged"})
    with pytest.raises(LabelError) as error:
        scores(tmp_path, "a.png", "b.png")
    assert f"evaluation.labels: no image has a usable label image in {tmp_path}" in str(error.value)
    assert "a.png: no label image\n  b.png: b.tif cannot be read" in str(error.value)


@pytest.fixture
def results(tmp_path):
    """The tables of two images with odd names, one of which has objects, and label images of both."""
    images = pd.concat([images_of("'=1+1.png", "@'=b.png"), images_of("failed.png")])
    images["status"] = ["ok", "empty", "error"]
    images.loc[images["status"] == "error", ["width", "height"]] = None
    images["image"] = images["image"].str.replace("^(?='=|@)", "'", regex=True)  # as tables have it
    (tmp_path / "results").mkdir()
    images[["width", "height"]] = images[["width", "height"]].astype("Int64")
    images.to_csv(tmp_path / "results" / "summary.csv", index=False)
    objects_of("'=1+1.png").to_parquet(tmp_path / "results" / "objects.parquet")
    content = tiff(tmp_path, LABELS)
    write_files(tmp_path / "labels", {"'=1+1.tif": content, "@'=b.tif": content})
    return tmp_path / "results"


@pytest.mark.parametrize("bom", [False, True])
def test_names_that_look_like_formulas_are_evaluated_and_written_as_they_are_read(results, bom):
    evaluation = {"labels": str(results.parent / "labels")}
    write_evaluation(make_settings(evaluation=evaluation, tables={"bom": bom}), results)
    written = (results / "evaluation.csv").read_bytes()
    assert written.startswith(b"\xef\xbb\xbfimage," if bom else b"image,")
    table = pd.read_csv(results / "evaluation.csv")
    assert table["image"].tolist() == ["''=1+1.png", "'@'=b.png"]
    assert table["recall_75"].tolist() == [1, 0]
    assert table["n_labelled"].tolist() == [3, 3]
