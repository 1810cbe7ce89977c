"""One mask a prompt, a point or a box: the one that SAM gives for clear prompts."""

import pytest
import torch

from samfleet.sam.generator.decoder import Decoder
from samfleet.sam.generator.fast_decoder import FastDecoder
from samfleet.sam.model import load_model


@pytest.fixture(scope="module")
def sam():
    return load_model("tiny")


@pytest.mark.parametrize("kind", [Decoder, FastDecoder])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("given", ["points", "boxes"])
@torch.no_grad()
def test_it_is_the_librarys_mask_without_multimask_output(sam, kind, count, given):
    torch.manual_seed(count)
    embedding = torch.randn(1, 64, 64, 64)
    prompts = torch.rand(count, 2 if given == "points" else 4) * 512
    encoder = sam.prompt_encoder
    points = (prompts[:, None], torch.ones(count, 1)) if given == "points" else None
    boxes = prompts if given == "boxes" else None
    sparse, dense = encoder(points=points, boxes=boxes, masks=None)
    logits, predicted_iou = sam.mask_decoder(
        image_embeddings=embedding,
        image_pe=encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    decoder = kind(sam, multimask=False)
    decoder.set_image(embedding)
    decoded = decoder.decode(prompts, pred_iou_thresh=0)
    assert decoder.masks_per_prompt == 1
    assert decoded.index.tolist() == list(range(count))
    exact = {"rtol": 0, "atol": 0} if kind is Decoder else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(decoded.logits, logits[:, 0], **exact)
    torch.testing.assert_close(decoded.predicted_iou, predicted_iou[:, 0], **exact)
