"""LoRA of queries and values is merged; what cannot be merged is refused by its name."""

from pathlib import Path

import pytest
import torch
from torch import nn

from samfleet.sam.adapters import merged_adapters
from samfleet.sam.weights import CheckpointError

LAYER = "image_encoder.blocks.0.attn.qkv."
WIDTH, RANK = 12, 3


class Adapted(nn.Module):
    """The layer as micro-sam's fine-tuning leaves it."""

    def __init__(self):
        super().__init__()
        self.qkv_proj = nn.Linear(WIDTH, 3 * WIDTH)
        for part in "qv":
            setattr(self, f"w_a_linear_{part}", nn.Linear(WIDTH, RANK, bias=False))
            setattr(self, f"w_b_linear_{part}", nn.Linear(RANK, WIDTH, bias=False))

    def forward(self, x):
        qkv = self.qkv_proj(x)
        qkv[..., :WIDTH] += self.w_b_linear_q(self.w_a_linear_q(x))
        qkv[..., -WIDTH:] += self.w_b_linear_v(self.w_a_linear_v(x))
        return qkv


@pytest.fixture
def adapted() -> Adapted:
    torch.manual_seed(0)
    return Adapted()


def entries(adapted: Adapted) -> dict[str, torch.Tensor]:
    other = {"image_encoder.blocks.1.attn.qkv.weight": torch.ones(2, 2)}
    return other | {LAYER + name: tensor for name, tensor in adapted.state_dict().items()}


def test_a_merged_layer_computes_what_the_adapted_one_does(adapted):
    state = merged_adapters(entries(adapted), Path("w.pt"))
    assert state.keys() == {
        "image_encoder.blocks.1.attn.qkv.weight",
        f"{LAYER}weight",
        f"{LAYER}bias",
    }
    x = torch.randn(2, 5, 5, WIDTH)
    merged = nn.functional.linear(x, state[f"{LAYER}weight"], state[f"{LAYER}bias"])
    with torch.no_grad():
        torch.testing.assert_close(merged, adapted(x))


def test_weights_without_adapters_are_left_alone():
    state = {"a": torch.ones(1), f"{LAYER}weight": torch.ones(1)}
    assert merged_adapters(state, Path("w.pt")) == state


@pytest.mark.parametrize("name", ["q_FacTs.weight", "alpha", "w_a_linear_k.weight"])
def test_other_adapters_are_refused_by_their_name(adapted, name):
    state = entries(adapted) | {LAYER + name: torch.ones(1)}
    with pytest.raises(CheckpointError, match=rf"w\.pt: {LAYER}{name} belongs to"):
        merged_adapters(state, Path("w.pt"))


def test_an_adapter_without_its_layer_or_of_another_size_is_refused(adapted):
    state = entries(adapted)
    lost = {k: v for k, v in state.items() if not k.endswith("w_b_linear_v.weight")}
    with pytest.raises(CheckpointError, match=r"w_b_linear_v\.weight is missing"):
        merged_adapters(lost, Path("w.pt"))
    state[f"{LAYER}w_a_linear_q.weight"] = torch.ones(RANK, WIDTH + 1)
    with pytest.raises(CheckpointError, match="does not fit"):
        merged_adapters(state, Path("w.pt"))
