"""Every kind of export, read back by what its users would read it with."""

import json
import zipfile

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile
import zarr
from pycocotools.coco import COCO
from skimage.draw import polygon2mask
from skimage.measure import regionprops

from tests.builders import disc
from tests.detected import Detected, object_row

BALL = disc(60, 80, 20, 20, 10)
RING = disc(60, 80, 40, 55, 15) & ~disc(60, 80, 40, 55, 6)
PIECES = disc(60, 80, 5, 70, 4) | disc(60, 80, 20, 70, 3)


@pytest.fixture
def detected(tmp_path) -> Detected:
    detected = Detected(tmp_path)
    over = disc(60, 80, 20, 30, 10)  # half of it lies over the ball, and it is the better one
    objects = [
        object_row(BALL, 1, predicted_iou=0.8, solidity=0.97),
        object_row(RING, 2, predicted_iou=0.7, solidity=float("nan")),
        object_row(PIECES, 3, predicted_iou=0.9),
        object_row(over, 4, predicted_iou=0.95),
    ]
    pixels = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80)
    detected.add(
        "well/a.png", objects=objects, pixels=pixels, pixel_size_um="0.5", **{"dose/µM": "3"}
    )
    detected.add("well/b.png", "empty", pixels=pixels[:, :40], pixel_size_um="", **{"dose/µM": "4"})
    detected.add("broken.png", "unreadable", pixel_size_um="", **{"dose/µM": ""})
    return detected


def masks(detected: Detected) -> dict[int, np.ndarray]:
    over = disc(60, 80, 20, 30, 10)
    return {1: BALL, 2: RING, 3: PIECES, 4: over}


def filled(rings: list[np.ndarray]) -> np.ndarray:
    """The pixels whose centres lie in an odd number of rings of (x, y)."""
    inside = np.zeros((60, 80), bool)
    for ring in rings:
        inside ^= polygon2mask((60, 80), np.asarray(ring)[:, ::-1] - 0.5)
    return inside


def test_label_images_show_the_better_object_and_have_imagejs_metadata(detected):
    assert detected.export("labels").written == 2
    path = detected.folder / "out" / "well" / "a.png.tif"
    with tifffile.TiffFile(path) as file:
        labels = file.asarray()
        assert file.is_imagej
        assert file.imagej_metadata["unit"] == "micron"
        assert file.pages[0].tags["XResolution"].value == (2, 1)
        assert not file.pages[0].is_tiled  # which ImageJ would not open
    expected = np.zeros((60, 80), int)
    for number in (2, 1, 3, 4):  # from the worst to the best
        expected[masks(detected)[number]] = number
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), expected)
    areas = pd.read_csv(path.with_name("a.png.csv"), index_col=0)
    assert areas.index.name == "label"
    assert areas["area"].to_dict() == {n: m.sum() for n, m in masks(detected).items()}
    seen = {region.label: region.area for region in regionprops(labels)}
    assert areas["area_in_label_image"].to_dict() == seen
    assert areas.loc[1, "area_in_label_image"] < areas.loc[1, "area"]
    empty = tifffile.imread(detected.folder / "out" / "well" / "b.png.tif")
    assert empty.shape == (60, 40) and not empty.any()


def test_more_objects_than_16_bits_have_32(detected):
    last = object_row(BALL, 70_000)
    detected.add(
        "many.png", objects=[object_row(RING, 1), last], pixel_size_um="", **{"dose/µM": ""}
    )
    detected.export("labels", "many.png")
    labels = tifffile.imread(detected.folder / "out" / "many.png.tif")
    assert labels.dtype == np.uint32
    assert set(np.unique(labels)) == {0, 1, 70_000}


def test_a_large_label_image_is_written_in_strips(detected):
    mask = disc(3000, 2500, 1500, 1200, 1100)
    pixels = np.zeros(mask.shape, np.uint8)
    detected.add(
        "large.png",
        objects=[object_row(mask, 9)],
        pixels=pixels,
        pixel_size_um="",
        **{"dose/µM": ""},
    )
    detected.export("labels", "large.png")
    with tifffile.TiffFile(detected.folder / "out" / "large.png.tif") as file:
        assert len(file.pages[0].dataoffsets) > 3
        np.testing.assert_array_equal(file.asarray() == 9, mask)


def test_coco_is_loaded_by_pycocotools_with_the_very_pixels(detected):
    assert detected.export("coco").written == 2
    coco = COCO(detected.folder / "out" / "objects.json")
    images = {image["file_name"]: image["id"] for image in coco.loadImgs(coco.getImgIds())}
    assert set(images) == {"well/a.png", "well/b.png"}
    assert coco.getAnnIds(images["well/b.png"]) == []
    annotations = coco.loadAnns(coco.getAnnIds(images["well/a.png"]))
    for annotation, (number, mask) in zip(annotations, masks(detected).items(), strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        x, y, width, height = annotation["bbox"]
        assert mask[y : y + height, x : x + width].sum() == mask.sum()
        assert annotation["label"] == number
    assert annotations[0]["attributes"]["solidity"] == 0.97
    assert "solidity" not in annotations[1]["attributes"]  # NaN is no JSON
    assert coco.loadCats(coco.getCatIds())[0]["name"] == "object"


def test_geojson_encloses_the_pixels_of_each_object(detected):
    detected.export("geojson")
    text = (detected.folder / "out" / "well" / "a.png.geojson").read_text()
    features = json.loads(text, parse_constant=lambda name: pytest.fail(name))["features"]
    assert len({feature["id"] for feature in features}) == 4
    for feature, (number, mask) in zip(features, masks(detected).items(), strict=True):
        geometry, properties = feature["geometry"], feature["properties"]
        polygons = geometry["coordinates"]
        assert geometry["type"] == ("MultiPolygon" if number == 3 else "Polygon")
        polygons = polygons if number == 3 else [polygons]
        assert [len(polygon) for polygon in polygons] == {2: [2], 3: [1, 1]}.get(number, [1])
        rings = [np.array(ring) for polygon in polygons for ring in polygon]
        assert all((ring[0] == ring[-1]).all() for ring in rings)
        np.testing.assert_array_equal(filled(rings), mask)
        assert (properties["objectType"], properties["name"]) == ("detection", str(number))
        assert properties["measurements"]["area"] == mask.sum()
    assert json.loads((detected.folder / "out" / "well" / "b.png.geojson").read_text()) == {
        "type": "FeatureCollection",
        "features": [],
    }


def test_rois_enclose_the_pixels_of_each_object(detected):
    detected.export("rois")
    path = detected.folder / "out" / "well" / "a.png.zip"
    rois = roifile.roiread(path)
    assert [roi.name for roi in rois] == ["0001", "0002", "0003", "0004"]
    for roi, (number, mask) in zip(rois, masks(detected).items(), strict=True):
        assert roi.composite == (number in (2, 3))
        np.testing.assert_array_equal(filled(roi.coordinates(multi=True)), mask)
        rows, columns = np.nonzero(mask)
        assert (roi.left, roi.right) == (columns.min(), columns.max() + 1)
        assert (roi.top, roi.bottom) == (rows.min(), rows.max() + 1)
    assert zipfile.ZipFile(path).testzip() is None
    assert roifile.roiread(detected.folder / "out" / "well" / "b.png.zip") == []


def test_rois_beyond_imagejs_integers_have_floats(detected):
    mask = np.zeros((3, 40_000), bool)
    mask[1, 39_000:39_500] = True
    row = object_row(mask, 1)
    detected.add(
        "wide.png", objects=[row], pixels=mask.astype(np.uint8), pixel_size_um="", **{"dose/µM": ""}
    )
    detected.export("rois", "wide.png")
    (roi,) = [roifile.roiread(detected.folder / "out" / "wide.png.zip")]
    roi = roi[0] if isinstance(roi, list) else roi
    assert roi.coordinates().min(axis=0).tolist() == [39_000, 1]
    assert roi.coordinates().max(axis=0).tolist() == [39_500, 2]


def test_ome_zarr_holds_the_image_and_its_labels(detected):
    assert detected.export("zarr").written == 2
    group = zarr.open_group(detected.folder / "out" / "well" / "a.png.ome.zarr", mode="r")
    multiscale = group.attrs["multiscales"][0]
    assert [axis["name"] for axis in multiscale["axes"]] == ["c", "y", "x"]
    scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [1, 0.5, 0.5]
    pixels = np.arange(60 * 80, dtype=np.uint16).reshape(1, 60, 80)
    np.testing.assert_array_equal(group[multiscale["datasets"][0]["path"]], pixels)
    (channel,) = group.attrs["omero"]["channels"]
    assert (channel["label"], channel["color"]) == ("", "FFFFFF")
    assert channel["window"] == {"min": 0, "max": 4799, "start": 0, "end": 4799}
    assert group["labels"].attrs["labels"] == ["objects"]
    labels = group["labels/objects"]
    np.testing.assert_array_equal(np.unique(labels["0"][:]), [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(labels["0"][:] == 4, masks(detected)[4])
    properties = labels.attrs["image-label"]["properties"]
    assert [each["label-value"] for each in properties] == [1, 2, 3, 4]
    assert properties[0]["area"] == BALL.sum()
    detected.export("zarr", "well/b.png")
    empty = zarr.open_group(detected.folder / "out" / "well" / "b.png.ome.zarr", mode="r")
    assert empty["labels/objects/0"].shape == (60, 40)


def test_a_large_ome_zarr_has_levels_and_chunks(detected):
    mask = disc(1500, 2100, 700, 900, 300)
    pixels = np.random.default_rng(0).integers(0, 255, mask.shape, np.uint8)
    detected.add(
        "large.png",
        objects=[object_row(mask, 2)],
        pixels=pixels,
        pixel_size_um="",
        **{"dose/µM": ""},
    )
    detected.export("zarr", "large.png")
    group = zarr.open_group(detected.folder / "out" / "large.png.ome.zarr", mode="r")
    datasets = group.attrs["multiscales"][0]["datasets"]
    assert [group[each["path"]].shape for each in datasets] == [
        (1, 1500, 2100),
        (1, 750, 1050),
        (1, 375, 525),
    ]
    np.testing.assert_array_equal(group["0"][0], pixels)
    for step, level in ((1, "0"), (2, "1"), (4, "2")):
        np.testing.assert_array_equal(group["labels/objects"][level][:] == 2, mask[::step, ::step])


def test_anndata_holds_measurements_and_places(detected):
    detected.export("anndata")
    path = detected.folder / "out" / "objects.h5ad"
    with h5py.File(path) as file:
        variables = file["var/_index"].asstr()[:].tolist()
        assert file.attrs["encoding-type"] == "anndata"
        area = file["X"][:, variables.index("area")]
        assert area.tolist() == [mask.sum() for mask in masks(detected).values()]
        assert np.isnan(file["X"][1, variables.index("solidity")])
        assert file["obs/_index"].asstr()[0] == "well/a.png:1"
        assert file["obs/label"][:].tolist() == [1, 2, 3, 4]
        assert file["obs/dose_µM"].asstr()[:].tolist() == ["3"] * 4
        assert file["obsm/spatial"].shape == (4, 2)
    anndata = pytest.importorskip("anndata", reason="it asks for an older pandas than samfleet")
    table = anndata.read_h5ad(path)
    assert table.shape == (4, len(variables))
    assert table.obs["image"].tolist() == ["well/a.png"] * 4


def test_channels_have_their_measurements_wherever_measurements_are_exported(detected):
    """Names are those of microscopes; the second image lacks the second channel, and text is no measurement."""
    first, second = "intensity_mean_Alexa 568/5.1", "raw_ctcf_2"
    for number, row in enumerate(detected.objects["well/a.png"]):
        row |= {first: 10.5 + number, second: 3.0, "dose": "7"}
    lacking = object_row(BALL) | {first: 1.25, second: None}
    detected.add("c.png", objects=[lacking], grey=1, pixel_size_um="", **{"dose/µM": ""})
    for kind in ("geojson", "coco", "zarr", "anndata"):
        detected.export(kind, out=kind)

    def in_geojson(name: str) -> list[dict]:
        text = (detected.folder / "geojson" / f"{name}.geojson").read_text()
        return [each["properties"]["measurements"] for each in json.loads(text)["features"]]

    def in_zarr(name: str) -> list[dict]:
        group = zarr.open_group(detected.folder / "zarr" / f"{name}.ome.zarr", mode="r")
        return group["labels/objects"].attrs["image-label"]["properties"]

    coco = json.loads((detected.folder / "coco" / "objects.json").read_text())
    attributes = [each["attributes"] for each in coco["annotations"]]
    for found in (in_geojson("well/a.png"), in_zarr("well/a.png"), attributes[:4]):
        assert [each[first] for each in found] == [10.5, 11.5, 12.5, 13.5]
        assert [each[second] for each in found] == [3.0] * 4
        assert "dose" not in found[0]
    for found in (in_geojson("c.png"), in_zarr("c.png"), attributes[4:]):
        assert (found[0][first], second in found[0]) == (1.25, False)
    with h5py.File(detected.folder / "anndata" / "objects.h5ad") as file:
        variables = file["var/_index"].asstr()[:].tolist()
        assert file["X"].shape == (5, len(variables))
        assert file["X"][:, variables.index(first)].tolist() == [10.5, 11.5, 12.5, 13.5, 1.25]
        assert np.isnan(file["X"][4, variables.index(second)])
        assert "dose" not in variables


def test_an_object_has_the_same_values_wherever_it_is_exported(detected):
    """Area and box of objects.parquet, the label image (where nothing is above), GeoJSON, COCO and ROI."""
    for kind in ("labels", "geojson", "rois", "coco", "zarr"):
        detected.export(kind, out=kind)
    rows = pd.read_parquet(detected.results / "objects.parquet").set_index("label")
    labels = tifffile.imread(detected.folder / "labels" / "well" / "a.png.tif")
    features = json.loads((detected.folder / "geojson" / "well" / "a.png.geojson").read_text())
    rois = roifile.roiread(detected.folder / "rois" / "well" / "a.png.zip")
    annotations = json.loads((detected.folder / "coco" / "objects.json").read_text())["annotations"]
    for number in (2, 3, 4):  # the ball lies under another
        row = rows.loc[number]
        (region,) = regionprops((labels == number).astype(int))
        feature, annotation = features["features"][number - 1], annotations[number - 1]
        areas = {
            row["area"],
            region.area,
            annotation["area"],
            filled(rois[number - 1].coordinates(multi=True)).sum(),
        }
        assert areas == {feature["properties"]["measurements"]["area"]}
        box = [row[f"bbox_{name}"] for name in ("x", "y", "width", "height")]
        top, left, bottom, right = region.bbox
        assert box == annotation["bbox"] == [left, top, right - left, bottom - top]
        polygons = feature["geometry"]["coordinates"]
        rings = [ring for each in polygons for ring in (each if number == 3 else [each])]
        corners = np.concatenate(rings)
        assert [*corners.min(axis=0), *np.ptp(corners, axis=0)] == box
