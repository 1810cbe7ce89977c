"""Names in tables are reversible and printable; files are written whole or not at all."""

import errno
import os
import tempfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from samfleet.files import (
    TableError,
    atomic_path,
    escape_name,
    must_be_writable,
    read_rows,
    remove_leftovers,
    unescape_name,
    write_atomic,
    write_rows,
)

FILE_NAMES = st.binary(min_size=1, max_size=30).map(os.fsdecode)
HEADER = ("name", "number")


@given(FILE_NAMES | st.text(max_size=20))
def test_escaping_a_file_name_is_reversible(name):
    assert unescape_name(escape_name(name)) == name


@given(FILE_NAMES | st.text(max_size=20))
@example("every\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029break")
def test_escaped_names_fit_on_a_line_of_a_utf8_table(name):
    text = escape_name(name)
    text.encode("utf-8")
    assert "\t" not in text
    assert len(text.splitlines()) <= 1


@given(FILE_NAMES, FILE_NAMES)
def test_different_names_stay_different(one, other):
    assert (escape_name(one) == escape_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain \xc3\xa4.tif", "plain ä.tif"),
        (b"back\\slash", r"back\\slash"),
        (b"tab\there", r"tab\u0009here"),
        (b"latin\xe4", r"latin\xe4"),
        (b"\x80\xff", r"\x80\xff"),
    ],
)
def test_only_what_a_table_cannot_hold_is_escaped(name, text):
    assert escape_name(os.fsdecode(name)) == text


@given(rows=st.lists(st.tuples(FILE_NAMES, st.integers()), max_size=8))
def test_rows_are_read_as_they_were_written(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "table.tsv"
    write_rows(path, HEADER, ((escape_name(name), number) for name, number in rows))
    found = [(unescape_name(name), int(number)) for name, number in read_rows(path, HEADER)]
    assert found == rows


def test_a_half_written_row_is_left_out_of_a_table_that_is_appended_to(tmp_path):
    path = tmp_path / "table.tsv"
    for rest in ("b", "b\t2", "b\nc"):
        path.write_text(f"name\tnumber\na\t1\n{rest}")
        assert list(read_rows(path, HEADER, appended=True)) == [["a", "1"]]
        with pytest.raises(TableError, match=r"table\.tsv: line 3 is damaged; delete it"):
            list(read_rows(path, HEADER))
    path.write_text("name\tnum")
    assert list(read_rows(path, HEADER, appended=True)) == []


def test_a_table_that_is_not_there_has_no_rows(tmp_path):
    assert list(read_rows(tmp_path / "none.tsv", HEADER)) == []


def test_another_table_is_refused_by_its_file_name(tmp_path):
    write_rows(tmp_path / "other.tsv", ("name", "size"), [])
    with pytest.raises(TableError, match=r"other\.tsv: not a table of name, number"):
        list(read_rows(tmp_path / "other.tsv", HEADER))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.tsv"
    write_atomic(path, "old")
    with pytest.raises(ZeroDivisionError):
        write_rows(path, HEADER, ((1 / 0, number) for number in range(3)))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.tsv"]


def test_a_file_appears_under_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["file"]


def test_written_files_have_the_permissions_that_the_user_asked_for(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", b"bytes")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_only_old_temporary_files_are_leftovers(tmp_path):
    old, new, kept = tmp_path / ".a.parquet.1.tmp", tmp_path / ".b.2.tmp", tmp_path / "c.parquet"
    for path in (old, new, kept):
        path.touch()
    for path in (old, kept):
        os.utime(path, (0, 0))
    remove_leftovers(tmp_path, older_than=3600)
    assert sorted(tmp_path.iterdir()) == [new, kept]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_or_closed_is_named_by_the_file_that_was_to_be_written(
    tmp_path, monkeypatch, fault
):
    with pytest.raises(OSError) as error, atomic_path(tmp_path / "a.csv"):
        raise OSError(fault, "Error writing bytes to file. Detail: something long")
    assert (error.value.errno, error.value.filename) == (fault, str(tmp_path / "a.csv"))
    assert error.value.strerror == os.strerror(fault)
    assert list(tmp_path.iterdir()) == []

    def refuse(*_, **__):
        raise OSError(fault, os.strerror(fault), "a temporary name")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(OSError) as error:
        write_atomic(tmp_path / "a.csv", "text")
    assert error.value.filename == str(tmp_path / "a.csv")


def test_a_folder_is_checked_without_leaving_anything(tmp_path, monkeypatch):
    must_be_writable(tmp_path)
    must_be_writable(tmp_path / "not there yet")
    assert list(tmp_path.iterdir()) == []

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "a temporary name")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OSError, match="Read-only file system") as error:
        must_be_writable(tmp_path)
    assert error.value.filename == str(tmp_path)


def test_any_other_error_of_a_block_is_not_changed(tmp_path):
    inner = OSError(errno.EIO, "Input/output error", "the file that was read")
    with pytest.raises(OSError) as error, atomic_path(tmp_path / "a.csv"):
        raise inner
    assert error.value is inner
