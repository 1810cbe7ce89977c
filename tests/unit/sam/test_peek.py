"""What is known of a weights file without torch: the model it is for, and that it is whole."""

import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from samfleet.resources import ROOT, TINY_WEIGHTS
from samfleet.sam.peek import check_weights
from samfleet.sam.weights import CheckpointError
from tests.builders import weights_stub

WIDTHS = {"tiny": 128, "vit_b": 768, "vit_l": 1024, "vit_h": 1280}


def state(width: int, prefix: str = "") -> OrderedDict:
    """Some entries of a SAM's state dict."""
    embedding = torch.nn.Parameter(torch.zeros(1, 2, 2, width))
    names = {
        "mask_decoder.iou_token.weight": torch.ones(1, 4),
        "image_encoder.pos_embed": embedding,
    }
    return OrderedDict((prefix + name, tensor) for name, tensor in names.items())


def safetensors(content: dict, path: Path) -> None:
    save_file({name: tensor.detach() for name, tensor in content.items()}, path)


def old_pytorch(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("model", WIDTHS)
@pytest.mark.parametrize("save", [torch.save, old_pytorch, safetensors])
def test_every_format_tells_which_model_it_is_for(tmp_path, save, model):
    path = tmp_path / "weights"
    save(state(WIDTHS[model]), path)
    check_weights(model, path)
    other = "vit_l" if model != "vit_l" else "vit_b"
    with pytest.raises(CheckpointError, match=f"looks like {model} .*not {other}.*set sam.model"):
        check_weights(other, path)


def test_the_files_of_training_frameworks_are_looked_into(tmp_path):
    path = tmp_path / "weights.pt"
    content = {"model_state": state(768, "module.sam."), "epoch": 3, "optimizer": torch.optim.SGD}
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="looks like vit_b"):
        check_weights("vit_h", path)
    check_weights("vit_b", path)
    check_weights("tiny", TINY_WEIGHTS)


def test_a_content_that_contains_itself_comes_to_an_end(tmp_path):
    content: dict = {"epoch": 1}
    content["model"] = content
    torch.save(content, tmp_path / "loop.pth")
    with pytest.raises(CheckpointError, match="not a Segment Anything model"):
        check_weights("vit_h", tmp_path / "loop.pth")


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html>", b"version https://git-lfs", bytes(5000), b"weights"]
)
def test_what_is_no_weights_file_is_refused(tmp_path, content):
    (tmp_path / "page.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"page\.pth is neither a PyTorch weights file nor"):
        check_weights("vit_h", tmp_path / "page.pth")


@pytest.mark.parametrize("save", [torch.save, safetensors])
@pytest.mark.parametrize("cut", [1, 700])
def test_a_file_that_is_cut_off_is_refused(tmp_path, save, cut):
    path = tmp_path / "weights"
    save(state(1280), path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(CheckpointError, match="is damaged or truncated"):
        check_weights("vit_h", path)


def test_a_header_that_is_no_json_is_damaged(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(weights_stub().replace(b"shape", b'sh"pe'))
    with pytest.raises(CheckpointError, match="its header cannot be read"):
        check_weights("vit_h", tmp_path / "w.safetensors")


class Touch:
    """Makes a file when it is unpickled by those who run what a pickle names."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_that_a_pickle_names_is_run(tmp_path, zipped):
    data = pickle.dumps({"image_encoder.pos_embed": Touch(tmp_path / "ran")})
    path = tmp_path / "evil.pth"
    path.write_bytes(data)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", data)
    check_weights("vit_h", path)  # torch has the last word
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("cut", range(3, 60, 7))
def test_a_pickle_that_is_damaged_is_left_to_torch(tmp_path, cut):
    (tmp_path / "half.pth").write_bytes(pickle.dumps({"a": [1, 2, "three" * 9]})[:cut])
    check_weights("vit_h", tmp_path / "half.pth")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(OSError, match="not a file"):
        check_weights("vit_h", tmp_path / "pipe.pth")


def test_it_needs_no_torch():
    code = (
        "import sys, samfleet.sam.peek; print({'torch', 'numpy', 'safetensors'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "set()"
