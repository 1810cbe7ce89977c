"""Which images there are: folders and tables scanned, and identified by content."""

import os
import time
from pathlib import Path

import pytest

from samfleet.digests import image_id
from samfleet.exports.folder import ExportFolder
from samfleet.marker import mark
from samfleet.plan import manifest
from samfleet.plan.collection import (
    ManifestError,
    collection_columns,
    collection_root,
    columns_digest,
    scan_collection,
)
from samfleet.plan.manifest import (
    KnownFile,
    ManifestRow,
    identify,
    images_of_file,
    read_known_files,
    read_manifest,
    write_manifest,
)
from samfleet.planes import Description, Scene, Selection
from tests.builders import write_files

SUFFIXES = [".tif", ".png"]


def paths(
    root: Path | str, results: Path | str = "results", suffixes: list = SUFFIXES
) -> list[str]:
    return [file.path for file in scan_collection(str(root), suffixes, results).files]


def table(folder: Path, text: str | bytes, name: str = "images.csv") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.fixture
def three(tmp_path):
    return write_files(tmp_path, {"a.tif": b"a", "b.tif": b"bb", "sub/c.tif": b"ccc"})


def faults(images: str) -> str:
    with pytest.raises(ManifestError) as error:
        scan_collection(images, SUFFIXES, "results")
    return str(error.value)


# folders


def test_a_folder_is_searched_recursively_in_the_order_of_bytes(tmp_path):
    write_files(tmp_path, dict.fromkeys(["b/2.tif", "a.tif", "B.tif", "ä.tif", "b/10.tif"], b"x"))
    assert paths(tmp_path) == ["B.tif", "a.tif", "b/10.tif", "b/2.tif", "ä.tif"]


def test_a_scanned_file_has_its_size_and_time(three):
    os.utime(three / "b.tif", ns=(1, 10**18 + 1))
    scanned = {file.path: file for file in scan_collection(str(three), SUFFIXES, "results").files}
    assert (scanned["b.tif"].size, scanned["b.tif"].mtime_ns) == (2, 10**18 + 1)


def test_suffixes_decide_in_upper_and_lower_case(tmp_path):
    names = ["a.TIF", "b.Png", "c.txt", "d.tif.txt", "e.JPG", "tif", "f"]
    write_files(tmp_path, dict.fromkeys(names, b"x"))
    collection = scan_collection(str(tmp_path), [".tif", ".PNG"], "results")
    assert [file.path for file in collection.files] == ["a.TIF", "b.Png"]
    assert collection.ignored == {".txt": 2, ".jpg": 1, "no suffix": 2}


def test_a_suffix_may_have_two_parts(tmp_path):
    write_files(tmp_path, dict.fromkeys(["a.ome.tif", "b.tif"], b"x"))
    assert paths(tmp_path, suffixes=[".ome.tif"]) == ["a.ome.tif"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    write_files(tmp_path, dict.fromkeys(["a.tif", ".b.tif", ".snakemake/c.tif", "d/.e.tif"], b"x"))
    collection = scan_collection(str(tmp_path), SUFFIXES, "results")
    assert [file.path for file in collection.files] == ["a.tif"]
    assert not collection.ignored


def test_the_results_are_left_out_and_no_other_folder_of_that_name(tmp_path):
    write_files(
        tmp_path, dict.fromkeys(["a.tif", "results/b.tif", "x/results/c.tif", "link/d.tif"], b"x")
    )
    (tmp_path / "again").symlink_to(tmp_path / "results")
    assert paths(tmp_path, tmp_path / "results") == ["a.tif", "link/d.tif", "x/results/c.tif"]


def test_what_samfleet_made_is_left_out_wherever_it_is_and_whatever_leads_there(tmp_path):
    names = ["i/a.tif", "i/old/b.tif", "i/old/sub/c.tif", "i/x/d.tif", "out/e.tif", "out/sub/f.tif"]
    write_files(tmp_path, dict.fromkeys(names, b"x"))
    for folder, kind in (("i/old", "results"), ("out", "overlays"), ("out/sub", "overlays")):
        mark(tmp_path / folder, kind)
    (tmp_path / "i/x/linked").symlink_to(tmp_path / "out/sub")
    (tmp_path / "i/again").symlink_to("old")
    (tmp_path / "i/e.tif").symlink_to(tmp_path / "out/e.tif")
    collection = scan_collection(str(tmp_path / "i"), SUFFIXES, "results")
    assert [file.path for file in collection.files] == ["a.tif", "x/d.tif"]
    assert sorted(collection.own) == ["e.tif", "old", "x/linked"]
    assert "name the folder of the images themselves" in faults(str(tmp_path / "out"))


@pytest.mark.parametrize("kind", ["overlays", "results"])
def test_images_that_a_stray_marker_hides_are_counted(tmp_path, kind):
    names = ["a.tif", "raw/b.tif", "raw/well/c.TIF", "raw/.d.tif", "raw/notes.txt"]
    write_files(tmp_path / "i", dict.fromkeys(names, b"x"))
    assert scan_collection(str(tmp_path / "i"), SUFFIXES, "results").passed_over() == ""
    mark(tmp_path / "i/raw", kind)
    (tmp_path / "i/e.tif").symlink_to(tmp_path / "i/raw/b.tif")
    said = scan_collection(str(tmp_path / "i"), SUFFIXES, "results").passed_over()
    assert said.startswith("3 image files passed over that samfleet did not write, because of the")
    assert ".samfleet in e.tif, raw: delete that file if it came there by mistake" in said
    # where there is no other image, and where it is the collection's own folder
    (tmp_path / "i/a.tif").unlink()
    assert "3 image files passed over" in faults(str(tmp_path / "i"))
    said = faults(str(tmp_path / "i/raw"))
    assert "raw/.samfleet if it came there by mistake: 2 image files there" in said


def test_what_a_marker_lists_is_counted_neither_there_nor_behind_a_link(tmp_path):
    write_files(tmp_path / "i", {"a.tif": b"x"})
    export = ExportFolder(tmp_path / "i/out", "overlays")
    for name in ("b.tif", "well/c  d.tif"):
        export.write(name, b"x")
    (tmp_path / "i/e.tif").symlink_to(tmp_path / "i/out/b.tif")
    collection = scan_collection(str(tmp_path / "i"), SUFFIXES, "results")
    assert sorted(collection.own) == ["e.tif", "out"]
    assert collection.passed_over() == ""


def test_links_are_followed_and_loops_end(tmp_path):
    write_files(tmp_path / "images", {"a.tif": b"a", "sub/b.tif": b"b"})
    write_files(tmp_path / "other", {"c.tif": b"c"})
    (tmp_path / "images/sub/loop").symlink_to(tmp_path / "images")
    (tmp_path / "images/more").symlink_to(tmp_path / "other")
    (tmp_path / "images/d.tif").symlink_to(tmp_path / "other/c.tif")
    (tmp_path / "images/e.tif").symlink_to(tmp_path / "images/e.tif")
    assert paths(tmp_path / "images") == ["a.tif", "d.tif", "e.tif", "more/c.tif", "sub/b.tif"]


def test_of_two_ways_to_a_folder_the_one_without_a_link_is_taken(tmp_path):
    for name in ("a", "z"):
        root = tmp_path / name
        write_files(root, {"m/x.tif": b"x", "m/n/y.tif": b"y"})
        for link in ("b", "y"):
            (root / link).symlink_to(root / "m")
        assert paths(root) == ["m/n/y.tif", "m/x.tif"]


def test_names_that_are_not_utf8_are_kept(tmp_path):
    name = os.fsdecode(b"caf\xe9\t1.tif")
    write_files(tmp_path, {name: b"x"})
    assert paths(tmp_path) == [name]


@pytest.mark.parametrize("name", ["none", "file.txt/x"])
def test_images_that_are_not_there_are_named(tmp_path, name):
    assert faults(str(tmp_path / name)).startswith(f"images: {tmp_path / name} is neither")


def test_a_folder_without_images_is_an_error_that_says_what_was_looked_for(tmp_path):
    write_files(tmp_path, {"a.txt": b"", "b.jpg": b""})
    assert "no image in" in faults(str(tmp_path))
    assert "(image.suffixes: .tif .png), but 2 other files" in faults(str(tmp_path))


def test_the_demo_comes_with_samfleet():
    assert paths("demo")
    assert all((collection_root("demo") / path).is_file() for path in paths("demo"))
    assert collection_columns("demo") == ([], {})


# fingerprints


def fingerprint(root: Path) -> str:
    return scan_collection(str(root), SUFFIXES, "results").fingerprint()


def test_the_fingerprint_sees_every_change_of_the_files(three):
    seen = {fingerprint(three)}
    assert {fingerprint(three)} == seen
    for change in (
        lambda: (three / "d.tif").write_bytes(b"d"),
        lambda: (three / "d.tif").rename(three / "e.tif"),
        lambda: os.utime(three / "e.tif", ns=(1, 1)),
        lambda: (three / "e.tif").chmod(0o604),
        lambda: (three / "e.tif").unlink(),
    ):
        change()
        seen.add(fingerprint(three))
    assert len(seen) == 5
    assert (three / "a.tif").exists()


def test_files_that_are_no_images_do_not_change_the_fingerprint(three):
    before = fingerprint(three)
    write_files(three, {"notes.txt": b"", ".hidden.tif": b""})
    assert fingerprint(three) == before


# tables


def test_a_tables_paths_are_relative_to_it_and_its_columns_are_kept(three):
    images = table(three, "well,image,dose\nA1,sub/c.tif,0.5\nA2,a.tif,\n")
    collection = scan_collection(images, SUFFIXES, "results")
    assert [file.path for file in collection.files] == ["a.tif", "sub/c.tif"]
    assert collection.columns == ["well", "dose"]
    values = {path: [row.values for row in rows] for path, rows in collection.rows.items()}
    assert values == {"sub/c.tif": [["A1", "0.5"]], "a.tif": [["A2", ""]]}
    assert collection_root(images) == three
    assert collection_columns(images) == (collection.columns, collection.rows)


def test_a_table_decides_alone_what_an_image_is(three):
    write_files(three, {"d.dat": b"d"})
    assert paths(table(three, "image\nd.dat\n")) == ["d.dat"]


def test_a_table_may_name_absolute_paths(three, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    assert paths(table(folder, f"image\n{three}/a.tif\n")) == [f"{three}/a.tif"]


def test_a_missing_file_of_a_table_costs_its_own_row(three):
    images = table(three, "image,well\na.tif,A1\nnone.tif,A2\nsub,A3\n")
    collection = scan_collection(images, SUFFIXES, "results")
    rows = {row.path: row for row in identify(collection, {}, three / "hashes.tsv")}
    assert rows["a.tif"].digest == image_id(b"a")
    assert rows["none.tif"].problem == "cannot be read: No such file or directory"
    assert rows["sub"].problem == "cannot be read: not a regular file"
    assert [row.values for row in collection.rows["none.tif"]] == [["A2"]]


def test_a_table_none_of_whose_files_is_there_is_refused_with_the_place_looked_at(three):
    message = faults(table(three, "image\n" + "".join(f"{n}.tif\n" for n in range(100))))
    assert "names 100 files, of which none is there" in message
    assert f"the first would be {three}/0.tif. Paths are relative to the table" in message


def test_relative_paths_are_said_with_the_folder_they_were_looked_for_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"none is neither a folder nor a table (looked for in {tmp_path})" in faults("none")
    assert f"no image in . (looked for in {tmp_path})" in faults(".")
    write_files(tmp_path, {"a.tif": b"a", "results/b.tif": b"b"})
    assert paths(".") == ["a.tif"]


def test_a_table_without_rows_names_no_image(three):
    assert "no image in" in faults(table(three, "image,well\n"))


def test_the_digest_of_columns_sees_names_values_and_whose_they_are(three):
    digests = {
        columns_digest(*collection_columns(table(three, text)))
        for text in (
            "image,well\na.tif,1\nb.tif,2\n",
            "image,spot\na.tif,1\nb.tif,2\n",
            "image,well\na.tif,2\nb.tif,1\n",
            "image\na.tif\nb.tif\n",
        )
    }
    assert len(digests) == 4


def test_the_digest_of_columns_does_not_see_the_order_of_rows(three):
    one = columns_digest(*collection_columns(table(three, "image,w\na.tif,1\nb.tif,2\n")))
    other = columns_digest(*collection_columns(table(three, "image,w\nb.tif,2\na.tif,1\n")))
    assert one == other


# identification


def identified(root: Path, known: dict | None = None, journal: Path | None = None) -> dict:
    collection = scan_collection(str(root), SUFFIXES, "results")
    rows = identify(collection, known or {}, journal or root / "journal" / "hashes.tsv")
    assert [row.path for row in rows] == [file.path for file in collection.files]
    return {row.path: row for row in rows}


def test_every_image_gets_the_id_of_its_content(three):
    rows = identified(three)
    assert rows["sub/c.tif"].digest == image_id(b"ccc")
    assert len({row.digest for row in rows.values()}) == 3


def test_a_file_whose_content_does_not_come_is_named_while_it_is_waited_for(
    three, monkeypatch, caplog
):
    """As on a network mount that is gone; this one comes back when the log has named the file."""
    whole = manifest.digest_of_file

    def slow(file):
        deadline = time.monotonic() + 30
        while (
            file.name.endswith("b.tif")
            and "b.tif" not in caplog.text
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        return whole(file)

    monkeypatch.setattr(manifest, "_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(manifest, "digest_of_file", slow)
    assert identified(three)["b.tif"].digest == image_id(b"bb")
    assert "b.tif: its content does not come in 0.1 s; waiting" in caplog.text


def test_only_images_with_a_new_stat_are_hashed(three):
    rows = identified(three)
    known = {
        (row.path, row.size, row.mtime_ns, ()): row._replace(digest=f"known-{row.path}")
        for row in rows.values()
    }
    os.utime(three / "a.tif", ns=(1, 1))
    found = identified(three, known)
    assert found["b.tif"].digest == "known-b.tif"
    assert found["a.tif"].digest == image_id(b"a")


def test_hashes_reach_the_journal_so_that_an_interrupted_plan_loses_none(three):
    journal = three / "hashes.tsv"
    rows = identified(three, journal=journal)
    assert {row.path: row for row in read_known_files(journal, journal=True)} == rows


@pytest.mark.parametrize(
    "rest", ["", "path\tdigest\tbytes\tmtime_ns\tdescription\tchannels\nhalf\t12"]
)
def test_a_journal_that_was_cut_off_is_continued(three, rest):
    journal = three / "hashes.tsv"
    journal.write_text(rest)
    rows = identified(three, journal=journal)
    assert {row.path: row for row in read_known_files(journal, journal=True)} == rows


def test_a_file_that_cannot_be_read_has_a_problem_and_no_id(three):
    (three / "gone.tif").symlink_to(three / "nowhere")
    rows = identified(three, journal=three / "hashes.tsv")
    assert rows["gone.tif"].digest == ""
    assert rows["gone.tif"].problem == "cannot be read: No such file or directory"
    assert "gone.tif" not in {row.path for row in read_known_files(three / "hashes.tsv")}
    assert rows["a.tif"].problem == ""


def test_a_pipe_among_the_images_is_not_waited_for(three):
    os.mkfifo(three / "pipe.tif")
    assert identified(three)["pipe.tif"].problem == "cannot be read: not a regular file"


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    rows = [
        ManifestRow(os.fsdecode(b"caf\xe9\n.tif"), "12ab", 3, 10**18),
        ManifestRow("b\\x41.tif", "", 0, 0, "cannot be read: No such file or directory"),
        ManifestRow("c.nd2", "34cd", 5, 6, "", ("0", "12", "max")),
        ManifestRow("c.nd2", "", 5, 6, "unsupported: it", ("C\t\\x41\n", "all", "mean")),
        ManifestRow("d", "56ef", 7, 8, channels=(("DAPI", "d_w1.tif"), ("GFP", "d\t_w2.tif"))),
        ManifestRow("e.nd2", "78ab", 9, 9, "", ("0", "", ""), asked=("A\t\\1\n\udce9", "", "max")),
    ]
    write_manifest(tmp_path / "manifest.tsv", rows)
    assert list(read_manifest(tmp_path / "manifest.tsv")) == rows
    assert list(read_manifest(tmp_path / "none.tsv")) == []


def asked(*cells, **configured) -> dict:
    """What rows of a table with these cells select."""
    return {each: Selection(**configured).narrowed(*each) for each in cells}


def test_every_row_of_a_table_that_selects_nothing_in_a_file_has_its_own_row_and_reason():
    description = Description((Scene("A", times=3), Scene("07"))).to_json()
    file = KnownFile("a.nd2", "D", 9, 9, description)
    cells = [("7", "", ""), ("C", "", "mean"), ("A", "2", ""), ("A", "9", ""), ("A", "09", "")]
    rows, _ = images_of_file(file, asked(*cells))
    assert [row.cells for row in rows] == [*cells[:2], ("0", "2", ""), *cells[3:]]
    assert [bool(row.image_id) for row in rows] == [False, False, True, False, False]
    assert "none is 7; correct image.scenes" in rows[0].problem and "none is C" in rows[1].problem
    assert all("it has 3 times, counted from 0, and none is 9" in row.problem for row in rows[3:])


def test_every_row_of_a_table_has_its_own_row_if_its_file_cannot_be_read():
    file = KnownFile("a.nd2", "", 9, 9, problem="cannot be read: Permission denied")
    rows, _ = images_of_file(file, asked(("0", "", ""), ("1", "", "")))
    assert [row.cells for row in rows] == [("0", "", ""), ("1", "", "")]
    assert {(row.image_id, row.problem) for row in rows} == {("", file.problem)}


@pytest.mark.parametrize("cells", [[("5", "", ""), ("0", "", "")], [("0", "", ""), ("5", "", "")]])
def test_a_row_that_selects_nothing_costs_no_image_that_another_finds(cells):
    rows, _ = images_of_file(KnownFile("a.tif", "D", 9, 9), asked(*cells))
    assert {(row.cells, row.image_id) for row in rows} == {(("5", "", ""), ""), (("", "", ""), "D")}


@pytest.mark.parametrize(
    ("scene", "cells", "found"),
    [
        (Scene(), ("", "", "max"), ("", "", "")),
        (Scene(), ("00", "000", "all"), ("", "", "")),
        (Scene(times=2), ("A", "01", ""), None),
        (Scene(times=2), ("", "01", ""), ("", "1", "")),
        (Scene(slices=3), ("0", "", "02"), ("", "", "2")),
        (Scene("01"), ("01", "", "sharpest"), ("", "", "")),
        (Scene(slices=3), ("", "٠", "٢"), ("", "", "2")),
    ],
)  # fmt: skip
def test_an_image_knows_the_row_that_selects_it_however_that_is_written(scene, cells, found):
    file = KnownFile("a.nd2", "D", 9, 9, Description((scene,)).to_json())
    (row,), _ = images_of_file(file, asked(cells))
    assert (row.cells, bool(row.image_id), row.asked) == (found or cells, bool(found), cells)


def test_an_image_belongs_to_the_first_row_that_selects_it():
    file = KnownFile("a.nd2", "D", 9, 9, Description((Scene("A"), Scene("B"))).to_json())
    rows, selected = images_of_file(file, asked(("B", "", ""), ("all", "", ""), ("01", "", "")))
    assert [(row.cells[0], row.asked[0]) for row in rows] == [("1", "B"), ("0", "all")]
    assert selected.again == [("1", "", ""), ("1", "", "")]


def test_a_selection_in_a_file_that_cannot_be_described_says_why_that_is():
    file = KnownFile("a.nd2", "D", 9, 9, Description((Scene(),), problem="unreadable: cut").to_json())  # fmt: skip
    rows, _ = images_of_file(file, asked(("", "", ""), ("1", "", ""), ("A", "", "")))
    assert [(row.image_id, row.problem) for row in rows] == [
        ("D", ""),
        ("", "unreadable: cut"),
        ("", "unreadable: cut"),
    ]


@pytest.mark.parametrize("cells", [[("", "", ""), ("0", "", "")], [("0", "", ""), ("", "", "")]])
def test_the_key_of_the_tables_stays_unique(cells):
    """By the configuration the row without cells asks for scene 5, and its key is that of the one image."""
    rows, _ = images_of_file(KnownFile("a.tif", "D", 9, 9), asked(*cells, scenes=5))
    assert [(row.cells, row.image_id, row.problem) for row in rows] == [(("", "", ""), "D", "")]
