"""Digests: of files, of values and of tables."""

import os

from samfleet.digests import digest_of, digest_of_rows, image_id, image_id_of_file


def test_an_image_id_is_the_digest_of_the_files_bytes(tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "large").write_bytes(data)
    assert image_id_of_file(tmp_path / "large") == (image_id(data), len(data))
    assert image_id(b"") == "cae66941d9efbd404e4d88758ea67670"
    assert image_id(b"a") != image_id(b"b")


def test_the_digest_of_a_value_does_not_depend_on_the_order_of_its_keys():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": 1, "b": [1, 2]}) != digest_of({"a": 1, "b": [2, 1]})


def test_the_digest_of_a_table_sees_where_a_row_ends():
    assert digest_of_rows([("a", "b"), ("c",)]) != digest_of_rows([("a",), ("b", "c")])
