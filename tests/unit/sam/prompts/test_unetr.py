"""micro-sam's decoder, against numbers of torch-em 0.10.9's own modules on weights drawn from a seed."""

import numpy as np
import pytest
import torch

from samfleet.sam.prompts.unetr import UnetrDecoder, resize_maps

# Mean, standard deviation, minimum and maximum of each step, computed by torch-em 0.10.9 with torch 2.14.1.
STEPS = {
    "deconv1": (0.546467, 0.821921, 0.0, 9.48083),
    "deconv2": (0.718045, 1.135214, 0.0, 11.83697),
    "deconv3": (1.346405, 2.016596, 0.0, 20.97334),
    "deconv4": (2.018247, 2.954763, 0.0, 30.14725),
    "base": (0.559446, 0.820932, 0.0, 6.91941),
    "decoder.blocks.0": (0.562391, 0.824934, 0.0, 7.62541),
    "decoder.samplers.1": (-0.003286, 1.308724, -7.11312, 6.46878),
    "decoder.blocks.1": (0.563415, 0.829607, 0.0, 8.17535),
    "decoder.blocks.2": (0.535033, 0.806652, 0.0, 12.89258),
    "deconv_out": (0.111007, 1.326251, -15.01162, 14.08042),
    "decoder_head": (0.530854, 0.821498, 0.0, 66.30032),
    "out_conv": (0.854976, 1.211672, -6.79554, 25.65439),
}
TRAINED = (0.660041, 0.209823, 0.00112, 1.0)
IMAGE = (0.660645, 0.216876, 0.004728, 0.999938)
# (size in the encoder's frame, size of the image): channel means, and maps at pixels (y, x)
RESIZED = {
    ((1024, 1024), (512, 512)): (
        (0.61219, 0.738068, 0.629865),
        {(10, 20): (0.33615, 0.69247, 0.44532), (256, 170): (0.55034, 0.80903, 0.79553)},
    ),
    ((768, 1024), (519, 692)): (
        (0.612737, 0.740874, 0.629954),
        {(0, 0): (0.55898, 0.81958, 0.68762), (518, 691): (0.77941, 0.48387, 0.86015)},
    ),
    ((1024, 545), (1000, 532)): (
        (0.612833, 0.739022, 0.632944),
        {(500, 177): (0.72935, 0.81814, 0.50306), (999, 531): (0.68984, 0.5006, 0.51085)},
    ),
}


def drawn_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of a fixed seed that need no initialiser of torch, in the sorted order of their names."""
    random = np.random.RandomState(7)
    weights = {}
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(1)
            continue
        drawn = random.standard_normal(tuple(tensor.shape)).astype(np.float32)
        if name.endswith("running_var"):
            drawn = np.abs(drawn) * 0.5 + 0.5
        elif name.endswith("running_mean"):
            drawn = drawn * 0.1
        elif tensor.ndim == 4:
            drawn = drawn * np.float32((2.0 / np.prod(tensor.shape[1:])) ** 0.5)
        elif name.endswith("weight"):
            drawn = 1 + drawn * 0.1
        else:
            drawn = drawn * 0.05
        weights[name] = torch.from_numpy(np.ascontiguousarray(drawn))
    return weights


def figures(tensor: torch.Tensor) -> tuple[float, float, float, float]:
    values = tensor.double()
    return values.mean(), values.std(correction=0), values.min(), values.max()


@pytest.fixture(scope="module")
def embedding() -> torch.Tensor:
    drawn = np.random.RandomState(3).standard_normal((1, 256, 64, 64)).astype(np.float32)
    return torch.from_numpy(drawn)


@pytest.fixture(scope="module")
def trained(embedding):
    """The maps by the statistics of the training, and the figures of every step on the way."""
    decoder, seen = UnetrDecoder(statistics="trained").eval(), {}
    decoder.load_state_dict(drawn_weights(decoder))
    for name, module in decoder.named_modules():
        if name in STEPS:
            module.register_forward_hook(
                lambda _, __, output, name=name: seen.update({name: figures(output)})
            )
    return decoder(embedding), seen


@pytest.mark.slow
def test_every_step_is_torch_ems(trained):
    maps, seen = trained
    assert seen.keys() == STEPS.keys()
    for name, expected in STEPS.items():
        assert seen[name] == pytest.approx(expected, rel=1e-4, abs=1e-5), name
    assert figures(maps) == pytest.approx(TRAINED, abs=1e-5)
    assert maps.shape == (1, 3, 1024, 1024)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", RESIZED)
def test_maps_are_brought_to_the_image_as_micro_sam_does(trained, sizes):
    means, pixels = RESIZED[sizes]
    maps = resize_maps(trained[0], 1024, *sizes)
    assert maps.shape == (3, *sizes[1])
    assert maps.mean((1, 2)).tolist() == pytest.approx(means, abs=2e-5)
    for (y, x), values in pixels.items():
        assert maps[:, y, x].tolist() == pytest.approx(values, abs=2e-5)


@pytest.mark.slow
def test_statistics_of_the_image_are_micro_sams_and_leave_no_trace(embedding):
    decoder = UnetrDecoder(statistics="image").eval()
    weights = drawn_weights(decoder)
    decoder.load_state_dict(weights)
    assert figures(decoder(embedding)) == pytest.approx(IMAGE, abs=1e-5)
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_one_image_at_a_time_and_known_statistics():
    with pytest.raises(ValueError, match="one image, not of 2"):
        UnetrDecoder()(torch.zeros(2, 256, 4, 4))
    with pytest.raises(ValueError, match="neither image nor trained"):
        UnetrDecoder(statistics="batch")


def test_transposed_convolutions_double_the_size_too():
    maps = UnetrDecoder(transposed=True).eval()(torch.zeros(1, 256, 4, 4))
    assert maps.shape == (1, 3, 64, 64)
