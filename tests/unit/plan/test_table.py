"""Tables of images as spreadsheets and programs write them: read, or refused with the remedy."""

import codecs
import os

import pytest

from samfleet.plan.table import ManifestError, read_table
from tests.builders import write_files

FILES = ("a.tif", "b.tif", "sub/c.tif", "Zelle \N{LATIN SMALL LETTER A WITH DIAERESIS}.tif")
TWO = [("a.tif", ["A1"]), ("b.tif", ["A2"])]


@pytest.fixture
def read(tmp_path):
    """Reads a table with this content, beside some images: its columns, and its images and values."""
    write_files(tmp_path, dict.fromkeys(FILES, b"x"))

    def read(content: str | bytes, name: str = "images.csv") -> tuple[list[str], list]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        table = read_table(path)
        return table.columns, [(row.path, row.values) for row in table.rows]

    return read


@pytest.fixture
def refused(read):
    """Reads a table that is refused, and gives the words."""

    def refused(content: str | bytes, name: str = "images.csv") -> str:
        with pytest.raises(ManifestError) as error:
            read(content, name)
        assert str(error.value).startswith("images: ") and name in str(error.value)
        return str(error.value)

    return refused


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["images.csv", "images.tsv", "images.TAB", "images.txt"])
def test_separators_and_line_ends_are_told_from_the_content(read, name, separator, end):
    lines = [("image", "well"), ("a.tif", "A1"), ("b.tif", "A2")]
    content = end.join(separator.join(line) for line in lines)
    assert read(content, name) == (["well"], TWO)
    assert read(content + end, name) == (["well"], TWO)


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16-be"),
    ],
    ids=["utf-8-sig", "utf-16", "utf-16-be with mark", "utf-16-le", "utf-16-be"],
)
def test_encodings_of_spreadsheets_are_read(read, encode):
    content = encode(f"image\twell\r\n{FILES[3]}\t\N{MICRO SIGN}M\r\n")
    assert read(content) == (["well"], [(FILES[3], ["\N{MICRO SIGN}M"])])


def test_words_that_are_not_utf8_are_read_as_windows_does_and_said(read, caplog):
    content = "image,cond,price\na.tif,\N{MICRO SIGN}M gl\N{LATIN SMALL LETTER U WITH DIAERESIS}hen,5 \N{EURO SIGN}\n"
    _, rows = read(content.encode("cp1252"))
    assert rows == [("a.tif", ["\N{MICRO SIGN}M gl\xfchen", "5 \N{EURO SIGN}"])]
    assert "is not in UTF-8" in caplog.text
    caplog.clear()
    assert read(content)[1] == rows
    assert not caplog.text


def test_one_word_that_is_not_utf8_leaves_the_others_as_they_are(read):
    content = b"image,good\n" + "a.tif,ä\n".encode() + b"b.tif,\xe4\n"
    assert [values for _, values in read(content)[1]] == [["ä"], ["ä"]]


def test_a_file_whose_name_is_not_utf8_is_found_by_its_bytes(read, tmp_path):
    name = os.fsdecode(b"caf\xe9.tif")
    write_files(tmp_path, {name: b"x"})
    assert read(b"image\ncaf\xe9.tif\n")[1] == [(name, [])]


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        (b" a.tif", "a.tif"),
        (b"a.tif ", "a.tif"),
        (b"sub\\c.tif", "sub/c.tif"),
        (b".\\sub\\c.tif", "./sub/c.tif"),
        ("Zelle \xe4.tif".encode("latin-1"), FILES[3]),
        ("Zelle a\N{COMBINING DIAERESIS}.tif".encode(), FILES[3]),
    ],
)
def test_a_path_is_found_as_it_lies_on_the_disk(read, cell, path):
    assert read(b"image\n" + cell + b"\n")[1] == [(path, [])]


def test_a_path_that_is_there_as_it_is_written_is_not_changed(read, tmp_path):
    write_files(tmp_path, {"sub\\c.tif": b"x", " a.tif": b"x"})
    assert read("image\nsub\\c.tif\n a.tif\n")[1] == [("sub\\c.tif", []), (" a.tif", [])]
    assert read("image\nno\\where.tif\n")[1] == [("no\\where.tif", [])]


def test_a_home_folder_is_found(read, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("image\n~/a.tif\n")[1] == [(f"{tmp_path}/a.tif", [])]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;;"])
def test_a_line_that_names_the_separator_is_obeyed(read, refused, first):
    assert read(f"{first}\r\nimage;note\r\na.tif;1,2\r\n") == (["note"], [("a.tif", ["1,2"])])
    assert "line 3: 3 fields instead of 2" in refused(f"{first}\nimage;note\na.tif;1;2\n")
    assert read("sep=|\nimage|note\na.tif|1\n")[1] == [("a.tif", ["1"])]


def test_empty_lines_and_columns_are_left_out(read):
    content = ",,,\nimage,well,,\n\na.tif,A1,,\n,,,\nb.tif,A2\n , ,\n"
    assert read(content) == (["well"], TWO)
    assert read("image,,well\na.tif,,A1\nb.tif, ,A2\n") == (["well"], TWO)


def test_a_column_without_a_name_gets_one_if_there_is_something_in_it(read):
    assert read(",image,well\n0,a.tif,A1\n1,b.tif,A2\n") == (
        ["column_1", "well"],
        [("a.tif", ["0", "A1"]), ("b.tif", ["1", "A2"])],
    )
    assert read("image,well,\na.tif,A1,x\nb.tif,A2,\n")[0] == ["well", "column_3"]
    assert read("image,column_3,\na.tif,A1,x\nb.tif,A2,\n")[0] == ["column_3", "column_3_"]


@pytest.mark.parametrize("header", ["Image,well", "IMAGE , well", '"image","well"', " image,well "])
def test_the_names_of_columns_may_have_capitals_spaces_and_quotes(read, header):
    assert read(f"{header}\na.tif,A1\nb.tif,A2\n") == (["well"], TWO)


def test_of_two_columns_the_one_that_is_spelt_image_counts(read):
    assert read("Image,image\nx,a.tif\n") == (["Image"], [("a.tif", ["x"])])


def test_quotes_may_hold_line_ends_and_quotes(read):
    assert read('image,note\na.tif,"1\n2; ""3"""\nb.tif,5" dish\n')[1] == [
        ("a.tif", ['1\n2; "3"']),
        ("b.tif", ['5" dish']),
    ]


def test_numbers_keep_how_they_are_written(read):
    assert read("image;a;b;c\na.tif;007;0,50;1E5\n")[1] == [("a.tif", ["007", "0,50", "1E5"])]


def test_faulty_rows_are_all_named_by_their_lines(refused):
    words = refused("image,well\na.tif,1\n./a.tif,3\nb.tif\n,5\nb.tif,6,7\nsub/c.tif,8\n")
    assert words.splitlines()[0].endswith("has 4 faulty rows:")
    assert words.splitlines()[1:] == [
        "  line 3: ./a.tif is already in line 2",
        "  line 4: 1 fields instead of 2",
        "  line 5: no image is named",
        "  line 6: 3 fields instead of 2",
    ]


def test_of_many_faulty_rows_the_first_twenty_are_named(refused):
    words = refused("image,well\n" + "".join(f"{n}.tif\n" for n in range(100)))
    assert "has 100 faulty rows" in words
    assert "line 21: " in words and "line 22: " not in words
    assert words.endswith("and 80 more")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,well\n", "no column `image` in its first line (file, well)"),
        ("# plate 7\nimage,well\na.tif,A1\n", "in its first line (# plate 7); that line must name"),
        ("", "no column `image` in its first line (nothing)"),
        ("image,well,well\na.tif,1,2\n", "rename the column well; there are two of that name"),
        ("image,image\na.tif,a.tif\n", "there are two of that name"),
        ('image\n"a.tif\n', "line 2: unexpected end of data; look at the quotation marks there"),
        (
            'image\n"a.tif"x\n',
            "look at the quotation marks there, or save the table as CSV (UTF-8)",
        ),
        (b"PK\x03\x04" + bytes(range(256)), "is a workbook: save the table as CSV (UTF-8)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "is a workbook"),
        (b"PAR1 and \0 numbers", "is not text: save the table as CSV"),
        (b"image,well\na.tif,A\0001\n", "is not text"),
        (b"\xff\xfei\0m\0", "no column `image` in its first line (im)"),
        (b"\xff\xfei\0m", "is damaged, or not text"),
        (b"image\na.tif\n" + b"\n" * 5000 + b"\0", "has null characters in it"),
    ],
)
def test_what_is_no_such_table_is_refused_with_what_to_do(refused, content, words):
    assert words in refused(content)


@pytest.mark.parametrize("name", ["scene_name", "image_id", "n_objects", "label", "rle"])
def test_a_column_that_the_summary_has_is_refused(refused, name):
    words = refused(f"image,{name}\na.tif,1\n")
    assert f"rename the column {name}; the tables of results have it already" in words
