"""The compiled decoder: the fast one's masks, by one code for any number of prompts."""

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from samfleet.sam.generator import MaskGenerator
from samfleet.sam.generator.compiled_decoder import CompiledDecoder
from tests.small_sam import SOME, build_sam, image

FEW = SOME | {"points_per_side": 6}


@pytest.fixture
def sam():
    torch._dynamo.reset()
    counters.clear()
    yield build_sam()
    torch._dynamo.reset()


def finder(sam, backend: str) -> MaskGenerator:
    """Compiled by what is there everywhere and takes no minute."""
    found = MaskGenerator(sam, "fast", **FEW, compiled=True)
    assert type(found._decoder) is CompiledDecoder
    found._decoder = CompiledDecoder(sam, backend=backend)
    return found


def test_masks_are_those_of_the_fast_decoder_by_one_code_for_any_number_of_prompts(sam, caplog):
    rgbs = [image(48, 64), image(48, 64)[::-1].copy(), image(80, 64)]
    expected = [MaskGenerator(sam, "fast", **FEW).find(rgb) for rgb in rgbs]
    assert all(len(each.masks) for each in expected)
    compiled = finder(sam, "aot_eager")
    for prompts in (36, 9, 7, 1):  # 7 leave one for the last batch
        for rgb, wanted in zip(rgbs, expected, strict=True):
            found = compiled.find(rgb, prompts)
            assert (found.boxes == wanted.boxes).all()
            assert np.allclose(found.predicted_iou, wanted.predicted_iou, rtol=1e-4)
    assert counters["stats"]["unique_graphs"] == 2
    assert "cannot be compiled" not in caplog.text


def test_where_nothing_can_be_compiled_it_is_the_fast_decoder(sam, caplog):
    def broken(*_):
        raise RuntimeError("no C compiler found")

    expected = MaskGenerator(sam, "fast", **FEW).find(image(48, 64))
    compiled = finder(sam, broken)
    for _ in range(2):
        found = compiled.find(image(48, 64))
        assert (found.boxes == expected.boxes).all()
        assert (found.predicted_iou == expected.predicted_iou).all()
    assert caplog.text.count("cannot be compiled") == 1
    assert "no C compiler found" in caplog.text


def test_exact_is_never_compiled(sam):
    with pytest.raises(ValueError, match="exact"):
        MaskGenerator(sam, "exact", **FEW, compiled=True)
