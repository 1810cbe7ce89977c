"""The decoder is found beside the model or in its own file, and loads strictly."""

import pytest
import torch

from samfleet.resources import TINY_WEIGHTS
from samfleet.sam.prompts.loading import load_map_decoder
from samfleet.sam.prompts.tiny import TinyMapDecoder
from samfleet.sam.prompts.unetr import UnetrDecoder
from samfleet.sam.weights import CheckpointError


@pytest.fixture(scope="module")
def unetr() -> dict[str, torch.Tensor]:
    return UnetrDecoder(transposed=True).state_dict()


@pytest.mark.parametrize("wrapped", ["beside the model", "in its own file", "bare"])
def test_it_loads_from_every_place_that_micro_sam_writes(tmp_path, unetr, wrapped):
    path, content = tmp_path / "w.pt", {"model_state": {}, "decoder_state": unetr}
    torch.save(unetr if wrapped == "bare" else content, path)
    decoder = load_map_decoder(
        "vit_b",
        path if wrapped == "beside the model" else tmp_path / "other.pt",
        None if wrapped == "beside the model" else path,
    )
    assert not decoder.training
    assert all(torch.equal(decoder.state_dict()[name], unetr[name]) for name in unetr)


def test_weights_without_a_decoder_are_refused_with_the_remedy(tmp_path):
    torch.save({"model_state": {}}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"w\.pt has no decoder .*sam\.prompts to grid"):
        load_map_decoder("vit_b", tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"sam\.decoder: .*none\.pt is not a file"):
        load_map_decoder("vit_b", tmp_path / "w.pt", tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda s: s.pop("out_conv.bias"), "1 missing (out_conv.bias)"),
        (lambda s: s.update(extra=torch.ones(1)), "1 unknown (extra)"),
        (lambda s: s.update({"out_conv.bias": torch.ones(4)}), "1 of a different shape"),
        (lambda s: s.update({"out_conv.bias": torch.full((3,), torch.nan)}), "not finite"),
    ],
)
def test_another_layout_is_refused(tmp_path, unetr, change, fault):
    state = dict(unetr)
    change(state)
    torch.save(state, tmp_path / "d.pt")
    with pytest.raises(CheckpointError) as refused:
        load_map_decoder("vit_b", tmp_path / "w.pt", tmp_path / "d.pt")
    assert fault in str(refused.value)


def test_tiny_has_a_decoder_of_its_own(tmp_path):
    state = TinyMapDecoder().state_dict()
    torch.save({"decoder_state": state}, tmp_path / "d.pt")
    decoder = load_map_decoder("tiny", TINY_WEIGHTS, tmp_path / "d.pt")
    maps, dense = decoder(torch.zeros(2, 64, 8, 8), torch.zeros(2, 3, 64, 64))
    assert dense.shape == (2, 64, 8, 8)
    assert maps.shape == (2, 3, 64, 64)
    assert ((maps >= 0) & (maps <= 1)).all()
