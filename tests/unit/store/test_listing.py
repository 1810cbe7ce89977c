"""What a store says of itself."""

import json

from samfleet.cli import main
from samfleet.results import store_folder, store_settings_file
from samfleet.store.listing import list_store
from samfleet.store.segments import rebuild_index
from tests.builders import stored_rows, write_segment


def test_a_store_lists_images_failures_and_what_its_key_stands_for(tmp_path, capsys):
    store = store_folder(tmp_path, "k1")
    write_segment(store, "s", stored_rows("A"), stored_rows("B", status="error", reason="x"))
    rebuild_index(store)
    store_settings_file(store).write_text(
        json.dumps({"model": "tiny", "sam": {"precision": "fast"}})
    )
    write_segment(store_folder(tmp_path, "k2"), "s", stored_rows("A"))
    first, second = list_store(tmp_path)
    assert (first.model_key, first.images, first.failed) == ("k1", 1, 1)
    assert first.bytes == (store / "s-00000.parquet").stat().st_size
    assert first.settings == {"model": "tiny", "sam.precision": "fast"}
    assert (second.model_key, second.images, second.settings) == ("k2", 1, {})
    assert main(["store", "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert (
        "k1: 1 image detected, 1 failed, 0.0 MB\n  model: tiny\n  sam.precision: fast\n" in printed
    )


def test_without_a_store_the_command_says_so(tmp_path, capsys):
    assert list_store(tmp_path) == []
    assert main(["store", "--results", str(tmp_path)]) == 2
    assert "nothing is stored there yet" in capsys.readouterr().err
