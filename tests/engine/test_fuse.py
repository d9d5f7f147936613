"""Fusing batch norms: the same outputs to 1e-5 without the norms, and what is left alone."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from trainer.engine.build import build_run
from trainer.engine.fuse import fuse
from trainer.norm import Batch
from trainer.reg.dropconnect import DropConnect


def trained(model, images):
    """Running averages and learned scales that are not those of a fresh norm."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    model.train()
    for _ in range(3):
        model(images)
    return model.eval()


def norms(model):
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("model=mlp", 0),
        ("model=cnn", 0),
        ("model=resnet20", 0),
        ("model=lenet act=maxout", 0),
        ("model=wide_resnet", 6),
        ("model=wide_resnet model.widen=1", 7),
        ("model=cnn norm.place=after_act", 3),
    ],
)
def test_outputs_are_the_same_without_the_norms(words, left, composed):
    torch.manual_seed(0)
    run = build_run(composed("norm=batch", *words.split()))
    images = run.train.images[:64]
    model = trained(run.model, images)
    found = norms(model)
    fused, count = fuse(model, images[:2])
    assert (norms(fused), count) == (left, found - left) and norms(model) == found
    torch.testing.assert_close(fused(images), model(images), rtol=1e-5, atol=1e-5 * model(images).abs().max().item())


def test_a_layer_and_its_norm_become_one_matrix_and_one_shift():
    linear, norm = nn.Linear(3, 2), Batch()(2)
    model = trained(nn.Sequential(linear, norm), torch.randn(20, 3))
    (merged, _), _ = fuse(model, torch.randn(2, 3))
    shrink = norm.weight / (norm.running_var + 1e-5).sqrt()
    torch.testing.assert_close(merged.weight, linear.weight * shrink[:, None])
    torch.testing.assert_close(merged.bias, (linear.bias - norm.running_mean) * shrink + norm.bias)


def test_frozen_layers_are_fused_too():
    model = trained(nn.Sequential(nn.Linear(3, 4), Batch()(4), nn.Linear(4, 2)), torch.randn(20, 3))
    assert fuse(model.requires_grad_(False), torch.randn(2, 3))[1] == 1


@pytest.mark.parametrize("change", [DropConnect(p=0.5), lambda model: (weight_norm(model[0]), model)[1]])
def test_weights_that_a_parametrisation_makes_are_made_once(change):
    """The original keeps its own, of which the copy shares the class."""
    model = change(nn.Sequential(nn.Linear(3, 4), Batch()(4), nn.Linear(4, 2)))
    images = torch.randn(20, 3)
    expected = trained(model, images)(images)
    fused, count = fuse(model, images)
    assert count == 1 and not any("parametrizations" in name for name in fused.state_dict())
    torch.testing.assert_close(fused(images), expected)
    assert torch.equal(model(images), expected) and parametrize.is_parametrized(model[0])


def test_a_model_in_training_is_fused_as_in_evaluation():
    model = nn.Sequential(nn.Linear(3, 4), Batch()(4), nn.Dropout(0.5), nn.Linear(4, 2))
    images = torch.randn(20, 3)
    expected = trained(model, images)(images)
    fused, count = fuse(model.train(), images)
    assert count == 1 and model.training and not fused.training
    torch.testing.assert_close(fused(images), expected)
