"""ViT, MLP-Mixer and ConvNeXt: against the papers' formulas written out with torch's own functions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import SUMS, copied, make_kit, option, scrambled
from torch import nn
from torchvision.models import convnext

from trainer.model.blocks import Along, patchify
from trainer.model.vit import Attention, sine_positions
from trainer.norm import Batch, Layer


def formula_positions(rows, columns, width):
    """posemb_sincos_2d of the authors' program, in NumPy."""
    y, x = np.mgrid[:rows, :columns]
    omega = 1.0 / 10_000 ** (np.arange(width // 4) / (width // 4 - 1))
    y, x = y.flatten()[:, None] * omega, x.flatten()[:, None] * omega
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], 1)  # (rows * columns, width)


@pytest.mark.parametrize(("rows", "columns", "width"), [(8, 8, 192), (3, 5, 8)])
def test_positions_are_those_of_the_authors_program(rows, columns, width):
    ours = sine_positions(width, rows, columns).flatten(1).T
    torch.testing.assert_close(ours, torch.from_numpy(formula_positions(rows, columns, width)).float())


@pytest.mark.parametrize("width", [1, 2, 5, 7])
def test_positions_of_a_width_that_four_does_not_divide_are_the_first_of_the_next(width):
    assert sine_positions(width, 2, 3).shape == (width, 2, 3)
    assert sine_positions(width, 2, 3).isfinite().all()


def test_attention_is_torchs_own():
    torch.manual_seed(0)
    ours, theirs, x = Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True), torch.randn(4, 12, 2, 5)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.queries_keys_values.weight)
        theirs.in_proj_bias.copy_(ours.queries_keys_values.bias.normal_())
        theirs.out_proj.weight.copy_(ours.merge.weight)
        theirs.out_proj.bias.copy_(ours.merge.bias.normal_())
    tokens = x.flatten(2).transpose(1, 2)
    expected = theirs(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).view(4, 12, 2, 5)
    torch.testing.assert_close(ours(x), expected, **SUMS)


def test_attention_has_a_second_derivative():
    attention, x = Attention(4, 2).double(), torch.randn(2, 4, 1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(attention, (x,))


def layer_norm(x, norm):
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, 1e-5)


def norms_and_layers(model):
    return iter([module for module in model.modules() if isinstance(module, (nn.GroupNorm, nn.Linear))])


def test_vit_is_the_formula_of_the_paper():
    model = scrambled(option("vit_tiny", depth=2, heads=2, head_width=4, hidden=12)((3, 8, 12), 5, gelu_kit()))
    images, parts = torch.randn(2, 3, 8, 12), norms_and_layers(model)
    conv = model.patches[0]
    patches = F.unfold(images, 4, stride=4).transpose(1, 2)  # (B, T, 48)
    x = patches @ conv.weight.flatten(1).T + conv.bias + torch.from_numpy(formula_positions(2, 3, 8)).float()
    for _ in range(2):
        q, k, v = next_linear(layer_norm(x, next(parts)), parts).view(2, 6, 3, 2, 4).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + next_linear(heads, parts)
        x = x + next_linear(F.gelu(next_linear(layer_norm(x, next(parts)), parts)), parts)
    expected = next_linear(layer_norm(x, next(parts)).mean(1), parts)
    torch.testing.assert_close(model(images), expected, **SUMS)


def gelu_kit():
    return make_kit(Layer(), act=nn.GELU)


def next_linear(x, parts):
    layer = next(parts)
    return x @ layer.weight.T + layer.bias


def test_mixer_is_the_formula_of_the_paper():
    model = option("mlp_mixer", depth=2, width=8, patch_hidden=5, channel_hidden=12)((3, 8, 12), 5, gelu_kit())
    images, parts = torch.randn(2, 3, 8, 12), norms_and_layers(scrambled(model))
    conv = model[0]
    x = F.unfold(images, 4, stride=4).transpose(1, 2) @ conv.weight.flatten(1).T + conv.bias  # (B, T, 8)
    for _ in range(2):
        columns = layer_norm(x, next(parts)).transpose(1, 2)
        x = x + next_linear(F.gelu(next_linear(columns, parts)), parts).transpose(1, 2)
        x = x + next_linear(F.gelu(next_linear(layer_norm(x, next(parts)), parts)), parts)
    expected = next_linear(layer_norm(x, next(parts)).mean(1), parts)
    torch.testing.assert_close(model(images), expected, **SUMS)


def test_convnext_is_torchvisions():
    """Theirs has patches of 4 and an eps of 1e-6; stages of 4, 6 and 8 channels, without stochastic depth."""
    settings = [convnext.CNBlockConfig(4, 6, 1), convnext.CNBlockConfig(6, 8, 2), convnext.CNBlockConfig(8, None, 1)]
    theirs = convnext.ConvNeXt(settings, num_classes=5)
    model = option("convnext_small32", channels=[4, 6, 8], blocks=[1, 2, 1], patch=4)
    ours = scrambled(model((3, 32, 32), 5, make_kit(Layer(eps=1e-6), act=nn.GELU)))
    values, slots = ours.state_dict().values(), theirs.state_dict()
    theirs.load_state_dict(
        {name: value.view(slot.shape) for value, (name, slot) in zip(values, slots.items(), strict=True)}
    )
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(images), theirs.eval()(images), **SUMS)


@pytest.mark.parametrize("name", ["vit_tiny", "mlp_mixer", "convnext_small32"])
def test_sides_that_the_patch_does_not_divide_get_zeros_on_the_right_and_below(name):
    make = option(name, patch=4)
    ours = scrambled(make((1, 8, 12), 3, gelu_kit()))
    other = copied(ours, make((1, 6, 9), 3, gelu_kit()))
    images = torch.randn(2, 1, 6, 9)
    torch.testing.assert_close(other(images), ours(F.pad(images, (0, 3, 0, 2))), **SUMS)


@pytest.mark.parametrize(("side", "patch", "places"), [(8, 4, 2), (9, 4, 3), (28, 4, 7), (5, 5, 1), (1, 2, 1)])
def test_patches_are_as_many_as_it_takes(side, patch, places):
    layers, shape = patchify(1, 3, patch, (1, side, side))
    assert shape == (3, places, places) == nn.Sequential(*layers)(torch.zeros(1, 1, side, side)).shape[1:]


@pytest.mark.parametrize("dim", [1, 2, 3, -1])
def test_along_applies_a_layer_at_each_place_of_the_other_dimensions(dim):
    x = torch.randn(2, 3, 4, 5)
    size = x.shape[dim]
    layer = nn.Linear(size, 6)
    expected = layer(x.transpose(dim, -1)).transpose(dim, -1)
    torch.testing.assert_close(Along(dim, layer)(x), expected, **SUMS)


def test_a_batch_norm_along_the_channels_is_that_of_images():
    x = torch.randn(4, 3, 5, 6)
    torch.testing.assert_close(Along(1, Batch()(3))(x), nn.BatchNorm2d(3)(x), **SUMS)


def test_a_layer_norm_along_the_channels_is_that_of_each_pixel():
    x = torch.randn(4, 3, 5, 6)
    torch.testing.assert_close(Along(1, Layer()(3))(x), nn.LayerNorm(3)(x.movedim(1, -1)).movedim(-1, 1), **SUMS)


def test_the_branches_of_convnext_begin_with_their_factor():
    make = option("convnext_small32", scale=0.0)
    model, images = make((1, 8, 8), 3, gelu_kit()), torch.randn(2, 1, 8, 8)
    without = [module for module in model if type(module).__name__ != "Residual"]
    assert torch.equal(model(images), nn.Sequential(*without)(images))
    fresh = option("convnext_small32")((1, 8, 8), 3, gelu_kit())
    assert fresh[2].branch[0].scale.tolist() == pytest.approx([0.1] * 64)
