"""Models by name, and the strict loading of their weights."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from samfleet.sam.model import build_model, build_tiny, load_model, read_state_dict
from samfleet.sam.weights import TINY_WEIGHTS, CheckpointError


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return build_tiny().state_dict()


@pytest.fixture
def saved(tmp_path, state):
    """A function that saves any content and gives its path."""

    def save(content: object = state, name: str = "weights.pth") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def _assert_loaded(sam, state) -> None:
    for key, tensor in sam.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[key].float()), key


def test_tiny_is_a_sam_of_about_a_million_parameters():
    sam = build_tiny()
    assert type(sam).__module__.startswith("segment_anything.modeling")
    for module in sam.modules():
        assert type(module).__module__.startswith(("segment_anything.", "torch."))
    assert 0.5e6 < sum(p.numel() for p in sam.parameters()) < 3e6


@pytest.mark.slow
def test_embedded_weights_load_and_are_small():
    assert TINY_WEIGHTS.stat().st_size < 10_000_000
    sam = load_model("tiny")
    assert not sam.training
    image = torch.zeros(3, 100, sam.image_encoder.img_size)
    record = {
        "image": image,
        "original_size": (100, sam.image_encoder.img_size),
        "point_coords": torch.tensor([[[50.0, 50.0]]]),
        "point_labels": torch.ones(1, 1),
    }
    with torch.no_grad():
        out = sam([record], multimask_output=True)[0]
    assert out["masks"].shape == (1, 3, 100, sam.image_encoder.img_size)
    assert torch.isfinite(out["iou_predictions"]).all()


def test_loaded_weights_are_those_of_the_file(saved, state):
    sam = load_model("tiny", saved())
    _assert_loaded(sam, state)
    assert not sam.training
    built = build_tiny()
    assert torch.equal(sam.pixel_mean, built.pixel_mean)
    assert torch.equal(sam.pixel_std, built.pixel_std)
    assert not any(t.is_meta for t in [*sam.parameters(), *sam.buffers()])


def test_half_precision_becomes_float32(saved, state):
    half = {key: tensor.half() for key, tensor in state.items()}
    _assert_loaded(load_model("tiny", saved(half)), half)


@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [
        ("model_state", "sam."),  # micro-sam's training checkpoints
        ("model_state", "module.sam."),  # the same from several GPUs
        ("model", ""),
        ("state_dict", "model."),  # Lightning
        (None, "module."),
    ],
)
def test_fine_tuned_files_load_as_they_are(saved, state, wrapper, prefix):
    content = {prefix + key: tensor for key, tensor in state.items()}
    if prefix == "model.":
        content["loss.weight"] = torch.ones(2)  # not the model's
    if wrapper:
        content = {wrapper: content, "epoch": 3}
    _assert_loaded(load_model("tiny", saved(content)), state)


def test_a_pytorch_file_loads_whatever_its_name(tmp_path, state):
    torch.save(state, tmp_path / "w.safetensors")
    assert read_state_dict(tmp_path / "w.safetensors").keys() == state.keys()


def test_a_safetensors_file_loads_whatever_its_name(tmp_path, state):
    for name in ("w.safetensors", "w.pth"):
        save_file({f"sam.{key}": tensor.half() for key, tensor in state.items()}, tmp_path / name)
        loaded = load_model("tiny", tmp_path / name)
        _assert_loaded(loaded, {key: tensor.half() for key, tensor in state.items()})


@pytest.mark.parametrize("keep", [20, 1000, -8])
def test_a_damaged_safetensors_file_is_named(tmp_path, state, keep):
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"w\.safetensors is damaged or truncated"):
        load_model("tiny", path)


def test_a_dictionary_that_contains_itself_is_no_model(saved):
    content: dict = {"epoch": 1}
    content["model"] = content
    with pytest.raises(CheckpointError, match="not a Segment Anything model"):
        load_model("tiny", saved(content))


def test_a_disk_that_fails_is_not_blamed_on_the_file(saved, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    path = saved()
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(OSError, match="Input/output error"):
        load_model("tiny", path)


@pytest.mark.parametrize(
    ("width", "looks_like"), [(768, "vit_b"), (1024, "vit_l"), (1280, "vit_h"), (128, "tiny")]
)
def test_another_variant_is_named(saved, width, looks_like):
    path = saved({"image_encoder.pos_embed": torch.zeros(1, 4, 4, width)})
    wanted = "tiny" if looks_like != "tiny" else "vit_b"
    with pytest.raises(CheckpointError) as caught:
        load_model(wanted, path)
    message = str(caught.value)
    assert str(path) in message and f"looks like {looks_like}" in message and wanted in message
    assert f"set sam.model to {looks_like}" in message


def test_an_unknown_width_is_refused(saved):
    path = saved({"image_encoder.pos_embed": torch.zeros(1, 4, 4, 5)})
    with pytest.raises(CheckpointError, match="5 wide"):
        load_model("tiny", path)


def test_a_truncated_file_is_refused(saved):
    path = saved()
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError) as caught:
        load_model("tiny", path)
    assert str(path) in str(caught.value) and "damaged" in str(caught.value)
    assert "fetch it again" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html>", b"PK\x03\x04", b"\x80\x02}q\x00"]
)
def test_what_is_no_weights_file_is_refused(tmp_path, content):
    path = tmp_path / "page.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"page\.pth"):
        load_model("tiny", path)


def test_code_in_a_file_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "evil.pth"
    torch.save({"image_encoder.pos_embed": Evil()}, path)
    with pytest.raises(CheckpointError, match="plain tensors"):
        load_model("tiny", path)
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pth does not exist"):
        load_model("tiny", tmp_path / "nowhere.pth")
    with pytest.raises(CheckpointError, match="is not a file"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize(
    "content", [{"image_encoder.patch_embed.seq.0.c.weight": torch.ones(1)}, [1, 2], {}]
)
def test_other_models_are_refused(saved, content):
    with pytest.raises(CheckpointError, match="not a Segment Anything model"):
        load_model("vit_b", saved(content))


def test_another_layout_is_refused_and_told(saved, state):
    less = dict(state)
    gone = less.pop("mask_decoder.iou_token.weight")
    with pytest.raises(CheckpointError, match=r"1 missing \(mask_decoder\.iou_token\.weight\)"):
        load_model("tiny", saved(less))
    with pytest.raises(CheckpointError, match=r"1 unknown \(image_encoder\.adapter\)"):
        load_model("tiny", saved(state | {"image_encoder.adapter": gone}))
    with pytest.raises(CheckpointError, match="1 of a different shape"):
        load_model("tiny", saved(state | {"mask_decoder.iou_token.weight": gone[:, :3]}))


def test_values_that_are_no_numbers_are_refused(saved, state):
    key = "mask_decoder.iou_token.weight"
    spoilt = state[key].clone()
    spoilt[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=f"{key} contains values that are not finite"):
        load_model("tiny", saved(state | {key: spoilt}))
    huge = state[key].double()
    huge[0, 0] = 1e300  # finite, but not in float32
    with pytest.raises(CheckpointError, match=f"{key} contains values that are not finite"):
        load_model("tiny", saved(state | {key: huge}))
    with pytest.raises(CheckpointError, match="not a tensor of floating-point"):
        load_model("tiny", saved(state | {key: 3}))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="vit_b"):
        build_model("vit_x")
    with pytest.raises(ValueError, match="vit_b"):
        load_model("default")


@pytest.mark.parametrize(("name", "width"), [("vit_b", 768), ("vit_l", 1024), ("vit_h", 1280)])
def test_official_variants_have_their_width(name, width):
    with torch.device("meta"):
        sam = build_model(name)
    assert sam.image_encoder.pos_embed.shape[-1] == width
