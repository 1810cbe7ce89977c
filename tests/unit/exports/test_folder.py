"""The folder of an export: nothing outside of it is touched, and nothing that others put there."""

import errno
from pathlib import Path

import pytest

from samfleet.errors import UserError
from samfleet.exports.folder import ExportFolder
from samfleet.marker import MARKER, kind_of, mark
from tests.builders import write_files


def export(folder: Path, *names: str, content: bytes = b"1") -> None:
    to = ExportFolder(folder, "overlays")
    to.check(names)
    for name in names:
        to.write(name, content)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARKER
    }


def test_every_folder_holds_a_marker_and_what_was_written_can_be_written_again(tmp_path):
    out = tmp_path / "out"
    export(out, "a.png", "well/b.png")
    assert files(out) == {"a.png": b"1", "well/b.png": b"1"}
    assert [kind_of(folder) for folder in (out, out / "well", tmp_path)] == ["overlays"] * 2 + [""]
    before = (out / MARKER).read_bytes()
    export(out, "a.png")
    assert (out / MARKER).read_bytes() == before
    export(out, "a.png", "c.png", content=b"2")
    assert files(out) == {"a.png": b"2", "c.png": b"2", "well/b.png": b"1"}


@pytest.mark.parametrize("content", [{"raw.tif": b"raw"}, {"a.png": b""}, {"sub/a.png": b""}])
def test_a_folder_with_anything_in_it_is_not_taken(tmp_path, content):
    write_files(tmp_path, content)
    with pytest.raises(UserError, match="holds files that samfleet did not write"):
        export(tmp_path, "a.png")
    assert files(tmp_path) == content


def test_an_empty_folder_is_taken_also_if_the_desktop_left_something_hidden(tmp_path):
    write_files(tmp_path, {".DS_Store": b""})
    export(tmp_path, "a.png")
    assert "a.png" in files(tmp_path)


def test_a_file_or_a_folder_of_results_is_not_taken(tmp_path):
    write_files(tmp_path, {"file": b""})
    mark(tmp_path / "results", "results")
    with pytest.raises(UserError, match="file: Not a directory; name another folder"):
        export(tmp_path / "file", "a.png")
    with pytest.raises(UserError, match="is samfleet's folder of results; name another"):
        export(tmp_path / "results", "a.png")


def put_there(folder: Path, raw: Path) -> None:
    (folder / "well" / "mine.png").write_bytes(b"mine")


def changed(folder: Path, raw: Path) -> None:
    (folder / "well" / "b.png").write_bytes(b"with my notes")


def linked(folder: Path, raw: Path) -> None:
    (folder / "well" / "mine.png").symlink_to(raw / "mine.png")


def dangling(folder: Path, raw: Path) -> None:
    (folder / "well" / "mine.png").symlink_to(raw / "nothing")


def folder_linked(folder: Path, raw: Path) -> None:
    for path in (folder / "well").iterdir():
        path.unlink()
    (folder / "well").rmdir()
    (folder / "well").symlink_to(raw)


def a_folder(folder: Path, raw: Path) -> None:
    (folder / "well" / "mine.png").mkdir()


@pytest.mark.parametrize(
    "accident", [put_there, changed, linked, dangling, folder_linked, a_folder]
)
def test_what_others_put_into_the_folder_or_changed_there_is_not_replaced(tmp_path, accident):
    raw = write_files(tmp_path / "raw", {"mine.png": b"raw", "b.png": b"raw"})
    out = tmp_path / "out"
    export(out, "well/b.png")
    accident(out, raw)
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"name another folder:\n  well"):
        export(out, "a.png", "well/b.png", "well/mine.png", content=b"2")
    assert files(tmp_path) == before
    assert not (raw / "nothing").exists() and not (raw / MARKER).exists()


def test_only_what_was_written_is_removed(tmp_path):
    export(tmp_path, "a.png", "b.png")
    write_files(tmp_path, {"b.png": b"mine", "c.png": b"mine"})
    for name in ("a.png", "b.png", "c.png", "d.png", "e/f.png"):
        ExportFolder(tmp_path, "overlays").remove(name)
    assert files(tmp_path) == {"b.png": b"mine", "c.png": b"mine"}


def test_a_kill_between_note_and_file_leaves_nothing_that_is_in_the_way(tmp_path, monkeypatch):
    export(tmp_path, "a.png")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        export(tmp_path, "a.png", content=b"2")
    export(tmp_path, "a.png", content=b"3")
    assert files(tmp_path) == {"a.png": b"3"}


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("samfleet.exports.folder.atomic_path", full)
    with pytest.raises(UserError, match=r"out/a\.png cannot be written: No space left on device"):
        export(tmp_path / "out", "a.png")
