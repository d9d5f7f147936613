"""Fixup: scales by depth, places of the scalars, and 56 layers that stay of order one."""

import math

import pytest
import torch
from nets import BATCH, RELU, chain
from torch import nn

from trainer.base.layers import Residual
from trainer.engine.build import build_run
from trainer.init.fixup import Fixup, Scale, Shift
from trainer.init.variance_scaling import HeNormal
from trainer.norm import Batch, Instance, Layer, Rms
from trainer.reg.dropout import ScaledDropout, SpatialDropout


def residual_net(depth, channels=16):
    def block():
        branch = nn.Sequential(
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        return Residual(branch, nn.Identity(), nn.ReLU())

    stem = nn.Conv2d(3, channels, 3, padding=1)
    return nn.Sequential(
        stem, *(block() for _ in range(depth)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)
    )


def test_fixup_scales_each_branch_by_its_depth_and_the_nets():
    torch.manual_seed(0)
    three = nn.Sequential(nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 200))
    two, one = nn.Sequential(nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 200)), nn.Sequential(nn.Linear(200, 200))
    layers = [[part for part in branch if isinstance(part, nn.Linear)] for branch in (three, two, one)]
    model = nn.Sequential(
        nn.Linear(200, 200),
        *(Residual(branch, nn.Identity(), nn.Identity()) for branch in (three, two, one)),
        nn.Linear(200, 10),
    )
    Fixup()(model, torch.randn(2, 200), None, RELU)
    off = 5 / math.sqrt(2 * 40000)  # of a deviation over 40000 draws
    assert model[0].weight.std().item() == pytest.approx(0.1, rel=off)  # sqrt(2 / 200)
    for layer in layers[0][:2]:
        assert layer.weight.std().item() == pytest.approx(0.1 * 3 ** (-1 / 4), rel=off)
    assert layers[1][0].weight.std().item() == pytest.approx(0.1 * 3 ** (-1 / 2), rel=off)
    assert not any(weight.any() for weight in (model[-1].weight, *(branch[-1].weight for branch in layers)))


def test_fixup_puts_a_scalar_before_each_layer_and_activation_and_a_factor_at_the_end():
    model = residual_net(1)
    Fixup()(model, torch.randn(2, 3, 6, 6), None, RELU)
    names = [type(part).__name__ for part in model[1].branch]
    assert names == ["Shift", "Conv2d", "Shift", "ReLU", "Shift", "Conv2d", "Scale"]
    assert [type(part).__name__ for part in model[1].after] == ["Shift", "ReLU"]
    scalars = [part for part in model.modules() if isinstance(part, (Shift, Scale))]
    assert [parameter.item() for part in scalars for parameter in part.parameters()] == [0, 0, 0, 1, 0]
    with torch.no_grad():
        model[1].branch[-1].weight.fill_(3)
        model[1].branch[0].bias.fill_(0.5)
        nn.init.dirac_(model[1].branch[1].weight)
        nn.init.dirac_(model[1].branch[5].weight)
        for index in (1, 5):
            model[1].branch[index].bias.zero_()
    x = torch.rand(2, 16, 4, 4)
    torch.testing.assert_close(model[1](x), 3 * (x + 0.5) + x)


class OwnNorm(nn.Module):
    """A user's norm, known by its attribute."""

    normalizes = True


class OwnBlock(nn.Module):
    """A user's dropping layer, known by its attribute."""

    drops_in_training = True


class Droplet(nn.Linear):
    """A user's dense layer with "drop" in its name and an `eps` that is no norm's."""

    eps = 1e-5


def test_fixup_puts_no_scalar_before_layers_that_learn_nothing():
    idle = [nn.Dropout(), ScaledDropout(), SpatialDropout(), OwnBlock(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten()]
    idle += [nn.AdaptiveAvgPool2d(1), nn.AlphaDropout(), nn.LPPool2d(2, 2), nn.FractionalMaxPool2d(2, output_ratio=0.5)]
    learning = Droplet(4, 4)
    model = nn.Sequential(Residual(nn.Sequential(*idle, learning), nn.Identity(), nn.Identity()), nn.Linear(4, 2))
    Fixup()(model, torch.zeros(1), None, RELU)
    *before, shift, last, scale = model[0].branch
    assert before == idle and (type(shift), last, type(scale)) == (Shift, learning, Scale)


def test_fixup_keeps_56_layers_of_order_one_where_he_explodes():
    images, results = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)), {}
    for init in (Fixup(), HeNormal()):
        torch.manual_seed(0)
        model = residual_net(27)
        init(model, images, None, RELU)
        features = model[:-1](images)
        if isinstance(init, Fixup):
            assert not (model(images) - model[-1].bias).any()  # the head begins at 0
        features.sum().backward()
        results[type(init)] = features.square().mean().sqrt().item(), model[0].weight.grad.square().mean().sqrt().item()
    # Branches of 0: the stem's ReLU, averaged over the image, of order 1. With He each block adds its own variance:
    # 2^27 in the mean square.
    assert all(0.05 < value < 20 for value in results[Fixup])
    assert all(value > 1e3 for value in results[HeNormal])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (chain(4, 2, nn.ReLU), "try model=resnet20 norm=none"),
        (nn.Sequential(residual_net(1), Batch()(4)), "try norm=none"),
        (nn.Sequential(residual_net(1), Layer()(4)), "try norm=none"),
        (nn.Sequential(residual_net(1), Instance()(4)), "try norm=none"),
        (nn.Sequential(residual_net(1), Rms()(4)), "try norm=none"),
        (nn.Sequential(residual_net(1), OwnNorm()), "try norm=none"),
    ],
)
def test_fixup_needs_residual_blocks_and_no_norms(model, message):
    with pytest.raises(ValueError, match=message):
        Fixup()(model, *BATCH, RELU)


@pytest.mark.parametrize("init", ["fixup", "he_normal"])
def test_a_resnet_of_56_layers_without_norms_trains_with_fixup_and_not_with_he(init, composed):
    """One batch of the digits; with He 27 blocks that each double the mean square overflow within a few steps."""
    run = build_run(composed("model=resnet56", f"init={init}", "optimizer.lr=0.01", "threads=1"))
    images, targets = run.train.batch(torch.arange(16))

    def closure():
        run.optimizer.zero_grad()
        loss = run.criterion(run.model(images), targets).mean()
        loss.backward()
        return loss

    losses = [run.optimizer.step(closure).item() for _ in range(20)]
    if init == "fixup":
        assert losses[0] == pytest.approx(math.log(10), rel=1e-6)  # the head is 0: ten classes alike
        assert losses[-1] < 0.9 * losses[0]
    else:
        assert losses[0] > 100 and not math.isfinite(losses[-1])
