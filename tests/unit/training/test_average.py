"""The mean of several trainings."""

from pathlib import Path

import pytest
import torch

from samfleet.sam.model import build_tiny, load_model
from samfleet.sam.prompts.loading import load_map_decoder
from samfleet.sam.prompts.tiny import TinyMapDecoder
from training.average import main


def write(path: Path, value: float) -> Path:
    """`tiny` with this value everywhere."""
    model = {"model_state": build_tiny(), "decoder_state": TinyMapDecoder(64)}
    halves = {
        name: {
            key: torch.full_like(old.half(), value) if old.is_floating_point() else old + int(value)
            for key, old in part.state_dict().items()
        }
        for name, part in model.items()
    }
    torch.save(halves, path)
    return path


def test_every_weight_is_the_mean_of_those_of_the_trainings(tmp_path):
    paths = [write(tmp_path / f"{n}.pth", value) for n, value in enumerate((1.0, 2.0, 6.0))]
    out = tmp_path / "mean.pth"
    main([*map(str, paths), "--out", str(out)])
    for model in (load_model("tiny", out), load_map_decoder("tiny", out)):
        for name, value in model.state_dict().items():
            if value.is_floating_point() and not name.startswith("pixel_"):
                assert (value == 3).all(), name
    tensors = torch.load(out, weights_only=True)["model_state"].values()
    assert {value.dtype for value in tensors} == {torch.float16}
    assert not list(tmp_path.glob("*.part"))


def test_weights_of_another_model_are_named(tmp_path):
    path = write(tmp_path / "a.pth", 1.0)
    other = torch.load(path, weights_only=True)
    del other["decoder_state"]
    torch.save(other, tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"b\.pth is of another model"):
        main([str(path), str(tmp_path / "b.pth"), "--out", str(tmp_path / "c.pth")])
    assert not (tmp_path / "c.pth").exists()
