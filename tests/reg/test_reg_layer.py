"""Dropout of units, channels, weights and blocks: all masks where there are few, frequencies where there are many."""

import itertools
import math

import pytest
import torch
from nets import leaves, make_kit, option
from omegaconf import OmegaConf
from torch import nn
from torch.testing import assert_close

from trainer.base.layers import Residual
from trainer.config import catalog
from trainer.config.catalog import file
from trainer.engine.build import build_run
from trainer.norm import Batch
from trainer.reg.dropconnect import DropConnect
from trainer.reg.dropout import AlphaDropout, ScaledDropout, SpatialDropout
from trainer.reg.stochastic_depth import StochasticDepth


def frequency_is(p, kept):
    """Return whether the mean of independent draws from {0, 1} is p, to five deviations."""
    return abs(kept.double().mean().item() - p) <= 5 * math.sqrt(p * (1 - p) / kept.numel())


def every_mask(layer, x, count):
    """Return the distinct outputs in training, `count` of them."""
    torch.manual_seed(0)
    seen = {}
    for _ in range(100 * count):
        output = layer.train()(x)
        seen[tuple(output.flatten().tolist())] = output
    assert len(seen) == count
    return list(seen.values())


def by_name(name):
    (fields,) = OmegaConf.load(file("reg", name)).layer.values()
    return fields


@pytest.mark.parametrize(
    ("make", "kept_as", "in_evaluation"), [(nn.Dropout, 1 / 0.75, 1.0), (ScaledDropout, 1.0, 0.75)]
)
def test_the_mean_over_all_masks_is_the_output_in_evaluation(make, kept_as, in_evaluation):
    """Each of the 8 masks of three units has probability 0.25^dropped 0.75^kept."""
    layer, x = make(p=0.25), torch.tensor([1.0, -2.0, 4.0])
    masked = {mask: kept_as * x * torch.tensor(mask) for mask in itertools.product((0.0, 1.0), repeat=3)}
    outputs = every_mask(layer, x, 8)
    for expected in masked.values():
        assert any(torch.equal(output, expected) for output in outputs)
    mean = sum(0.25 ** (3 - sum(mask)) * 0.75 ** sum(mask) * output for mask, output in masked.items())
    assert_close(layer.eval()(x), mean)
    assert torch.equal(layer(x), in_evaluation * x)


def test_the_lectures_unit_of_two_inputs_has_half_its_value_on_average_and_in_the_evaluation_of_dropout_scaled():
    """a = w1 x + w2 y with p = 1/2: the mean of the four masks is (w1 x + w2 y) / 2; inverted it is w1 x + w2 y."""
    unit, inputs = nn.Linear(2, 1, bias=False), torch.tensor([[3.0, 5.0]])
    with torch.no_grad():
        unit.weight.copy_(torch.tensor([[2.0, -1.0]]))  # a = 6 - 5 = 1
        for layer, mean in ((ScaledDropout(p=0.5), 0.5), (nn.Dropout(p=0.5), 1.0)):
            net = nn.Sequential(layer, unit)
            assert sum(output.item() for output in every_mask(net, inputs, 4)) / 4 == mean == net.eval()(inputs).item()


@pytest.mark.parametrize("p", [0.2, 0.5])
@pytest.mark.parametrize("make", [nn.Dropout, ScaledDropout])
def test_p_is_the_probability_of_dropping(make, p):
    torch.manual_seed(0)
    layer, x = make(p=p), torch.ones(100, 100)
    once, again = layer(x), layer(x)
    assert frequency_is(p, once == 0) and frequency_is(p, again == 0) and not torch.equal(once, again)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("dropout", "torch.nn.Dropout"),
        ("alpha_dropout", "trainer.reg.dropout.AlphaDropout"),
        ("dropout_scaled", "trainer.reg.dropout.ScaledDropout"),
    ],
)
def test_the_options_name_these_layers(name, target):
    assert by_name(name)._target_ == target and by_name(name).p == {"alpha_dropout": 0.1}.get(name, 0.5)


def test_a_dropped_unit_gets_no_gradient():
    torch.manual_seed(0)
    x = torch.ones(1000, requires_grad=True)
    output = ScaledDropout(p=0.5)(x)
    output.sum().backward()
    assert torch.equal(x.grad, output.detach())


def test_spatial_dropout_drops_whole_channels_independently_for_each_sample():
    torch.manual_seed(0)
    layer, x = SpatialDropout(p=0.25), torch.rand(50, 40, 3, 3) + 1
    output = layer(x)
    dropped = (output == 0).flatten(2)
    assert torch.equal(dropped.all(2), dropped.any(2)) and frequency_is(0.25, dropped[:, :, 0])
    assert_close(output[output != 0], x[output != 0] / 0.75)
    assert dropped[0, :, 0].tolist() != dropped[1, :, 0].tolist()
    assert torch.equal(layer.eval()(x), x)


def test_spatial_dropout_follows_the_activations_of_convolutions_alone(composed):
    model = build_run(
        composed("model=cnn", "model.channels=[4,4]", "reg=[spatial_dropout,dropout]", "norm=batch")
    ).model
    layers = [module for module in model.modules() if not list(module.children())]
    places = [place for place, layer in enumerate(layers) if isinstance(layer, SpatialDropout)]
    assert len(places) == 2 and all(isinstance(layers[place - 1], nn.ReLU) for place in places)
    (dense,) = [place for place, layer in enumerate(layers) if isinstance(layer, nn.Dropout)]
    assert dense > max(places) and isinstance(layers[dense + 1], nn.Linear)


def test_alpha_dropout_keeps_mean_and_variance_of_standardised_units():
    """Klambauer et al., 2017: a (x m + alpha' (1 - m)) + b, with q = 1 - p the probability of keeping,

    a = (q + alpha'^2 q (1 - q))^-1/2 and b = -a (1 - q) alpha'.
    """
    p, limit = 0.25, -1.0507009873554805 * 1.6732632423543772
    q = 1 - p
    a = (q + limit**2 * q * (1 - q)) ** -0.5
    b = -a * (1 - q) * limit
    outputs = every_mask(AlphaDropout(p=p), torch.tensor([1.0]), 2)
    assert sorted(output.item() for output in outputs) == pytest.approx([a * limit + b, a + b], rel=1e-6)
    # For x of mean 0 and variance 1: E = a (1 - q) alpha' + b, E of squares = q a^2 + 2 q a b 0 + q b^2 + (1 - q) (a
    # alpha' + b)^2.
    assert a * (1 - q) * limit + b == pytest.approx(0, abs=1e-12)
    assert q * (a**2 + b**2) + (1 - q) * (a * limit + b) ** 2 == pytest.approx(1, rel=1e-12)


SMALL = {  # fields that make a model small
    "alexnet": {"hidden": [8, 8]}, "fast_cnn": {"channels": [8, 8]}, "vgg16": {"channels": [4, 4, 4, 4, 4]},
    "vgg11": {"channels": [4, 4, 4, 4, 4]}, "resnet18": {"blocks": [1]}, "resnet56": {"depth": 14},
    "wide_resnet": {"depth": 10, "widen": 1}, "thin_deep": {"channels": [4] * 17}, "wide_shallow": {"hidden": 8},
    "deep_mlp": {"width": 8}, "resnet20": {"depth": 8}, "vit_tiny": {"depth": 1}, "mlp_mixer": {"depth": 1},
    "convnext_small32": {"channels": [4, 8], "blocks": [1, 1]},
}  # fmt: skip
WITHOUT_ACT = ("linear", "linear_chain")


def finished(name, layer):
    """Return a network of torchvision, on the device meta, with activations and dropping layers of ours."""
    with torch.device("meta"):
        make = option("torchvision", act="kit", drop="kit")
        return make((3, 64, 64), 4, make_kit(drops=[layer], act=nn.SELU), **{"name": name})


def inputs_and_outputs(model, images, before, after):
    """Return the outputs of the layers of one type, and the inputs of those of another, in a pass of the model."""
    made, taken, hooks = [], [], []
    for module in model.modules():
        if isinstance(module, before):
            hooks.append(module.register_forward_hook(lambda layer, given, output: made.append(output)))
        if isinstance(module, after):
            hooks.append(module.register_forward_hook(lambda layer, given, output: taken.append(given[0])))
    model(images)
    for hook in hooks:
        hook.remove()
    return made, taken


@pytest.mark.parametrize("place", ["before_act", "after_act"])
@pytest.mark.parametrize(
    "name", [name for name in catalog.options("model") if name not in (*WITHOUT_ACT, "torchvision", "timm")]
)
def test_alpha_dropout_takes_what_a_selu_gives_in_every_model(name, place):
    """Behind a pooling, a norm or a sum it would add -1.76 to values that are no longer SELU's."""
    kit = make_kit(Batch(place=place), [AlphaDropout], nn.SELU)
    model = option(name, **SMALL.get(name, {}))((3, 16, 16), 4, kit)
    made, taken = inputs_and_outputs(model.train(), torch.rand(4, 3, 16, 16), nn.SELU, AlphaDropout)
    assert taken and all(any(one is output for output in made) for one in taken)


def test_alpha_dropout_stands_in_the_blocks_of_cnn_and_not_behind_its_average():
    model = option("cnn", channels=[4, 6])((1, 8, 8), 3, make_kit(drops=[AlphaDropout, nn.Dropout], act=nn.SELU))
    kinds = [kind.__name__ for kind in leaves(model)]
    block = ["Conv2d", "SELU", "AlphaDropout", "MaxPool2d"]
    assert kinds == [*block, *block, "AdaptiveAvgPool2d", "Flatten", "Dropout", "Linear"]


def test_alpha_dropout_keeps_the_mean_and_variance_of_what_a_cnn_shows_it():
    torch.manual_seed(0)
    model = option("cnn", channels=[64])((8, 16, 16), 3, make_kit(drops=[lambda: AlphaDropout(p=0.2)], act=nn.SELU))
    conv = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    nn.init.normal_(conv.weight, 0, (1 / 72) ** 0.5)  # LeCun's
    nn.init.zeros_(conv.bias)
    images = torch.randn(64, 8, 16, 16)
    (before,) = (one[..., 1:-1, 1:-1] for one in inputs_and_outputs(model, images, nn.SELU, AlphaDropout)[0])
    (after,) = (one[..., 1:-1, 1:-1] for one in inputs_and_outputs(model, images, AlphaDropout, nn.SELU)[0])
    # The filters' norms are off by a tenth each, their mean over 64 by a hundredth; the border sees zeros.
    assert (before.mean().item(), before.var().item()) == pytest.approx((0, 1), abs=0.1)
    assert (after.mean().item(), after.var().item()) == pytest.approx(
        (before.mean().item(), before.var().item()), abs=0.02
    )


@pytest.mark.parametrize(("name", "places"), [("alexnet", 1), ("mobilenet_v3_small", 1), ("vit_b_16", 12)])
def test_alpha_dropout_takes_the_place_of_finished_dropouts_that_follow_an_activation(name, places):
    model = finished(name, AlphaDropout)
    assert leaves(model).count(AlphaDropout) == places and nn.Dropout not in leaves(model)


@pytest.mark.parametrize(("name", "layer"), [("efficientnet_b0", AlphaDropout), ("alexnet", SpatialDropout)])
def test_a_dropping_layer_without_a_place_in_a_finished_network_is_refused(name, layer):
    with pytest.raises(ValueError, match=f"has no dropout in a place for {layer.__name__}; try reg=dropout"):
        finished(name, layer)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5])
def test_dropconnect_drops_each_weight_and_scales_the_others_in_training(p):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 3))
    original, count = model[0].weight.detach().clone(), sum(1 for _ in model.parameters())
    assert DropConnect(p=p)(model) is model
    seen = model[0].weight.detach()
    kept = seen != 0
    assert_close(seen[kept], original[kept] / (1 - p))
    assert frequency_is(1 - p, kept)
    assert p == 0 or not torch.equal(model[0].weight, seen)  # a new mask for each use
    assert torch.equal(model.eval()[0].weight, original)
    assert sum(1 for _ in model.parameters()) == count


def test_dropconnect_takes_hidden_dense_layers_and_convolutions_but_not_the_last():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), Batch()(4), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 3))
    DropConnect(p=0.5)(model)
    assert [nn.utils.parametrize.is_parametrized(layer) for layer in model] == [True, False, False, True, False]


def test_dropconnect_gives_a_dropped_weight_no_gradient_and_a_kept_one_the_scaled():
    torch.manual_seed(0)
    model = DropConnect(p=0.75)(nn.Sequential(nn.Linear(20, 1, bias=False), nn.Linear(1, 1)))
    with nn.utils.parametrize.cached():
        kept = model[0].weight != 0
        model[0](torch.ones(1, 20)).backward()
    assert_close(model[0].parametrizations.weight.original.grad, kept * 4.0)


def residual_net(factors, after=nn.Identity):
    """Make blocks x + f x, one factor each, so that every mask has a value of its own."""
    model = nn.Sequential(
        *(Residual(nn.Sequential(nn.Linear(1, 1, bias=False)), nn.Identity(), after()) for _ in factors)
    )
    with torch.no_grad():
        for block, factor in zip(model, factors):
            block.branch[0].weight.fill_(factor)
    return model


def test_the_survival_of_branches_falls_in_a_straight_line():
    model = StochasticDepth(survival=0.5)(residual_net([1.0, 2.0, 4.0, 8.0]))
    survival = [1 - 1 / 8, 1 - 2 / 8, 1 - 3 / 8, 1 - 4 / 8]
    x = torch.tensor([[1.0]])
    assert model.eval()(x).item() == pytest.approx(
        math.prod(1 + s * f for s, f in zip(survival, [1, 2, 4, 8])), rel=1e-6
    )
    torch.manual_seed(0)
    kept = torch.tensor([[model.train()[place](x).item() != 1 for place in range(4)] for _ in range(2000)])
    assert all(frequency_is(s, kept[:, place]) for place, s in enumerate(survival))


def test_all_masks_of_blocks_occur_and_their_mean_is_the_output_in_evaluation():
    factors, survival = [1.0, 2.0, 4.0], [5 / 6, 4 / 6, 3 / 6]
    model, x = StochasticDepth(survival=0.5)(residual_net(factors)), torch.tensor([[3.0]])
    masks = list(itertools.product((0, 1), repeat=3))
    values = [3 * math.prod(1 + b * f for b, f in zip(mask, factors)) for mask in masks]
    assert sorted(output.item() for output in every_mask(model, x, 8)) == sorted(values)
    chances = [math.prod(s if b else 1 - s for b, s in zip(mask, survival)) for mask in masks]
    assert model.eval()(x).item() == pytest.approx(
        sum(chance * value for chance, value in zip(chances, values)), rel=1e-6
    )


def test_a_whole_batch_keeps_or_leaves_out_a_branch_together_and_the_activation_follows_the_sum():
    model = StochasticDepth(survival=0.5)(residual_net([-3.0], after=nn.ReLU))
    torch.manual_seed(0)
    x = torch.tensor([[1.0], [-1.0]])
    outputs = {tuple(model(x).flatten().tolist()) for _ in range(50)}
    assert outputs == {(1.0, 0.0), (0.0, 2.0)}  # relu(x) and relu(x - 3 x)
    assert model.eval()(x).flatten().tolist() == [0.0, 0.5]  # relu(x - 1.5 x)


def test_a_branch_left_out_is_not_computed_and_its_weights_have_a_gradient_of_zeros():
    shortcut = nn.Conv2d(2, 4, 1, stride=2, bias=False)
    branch = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), Batch()(4))
    model, images = (
        StochasticDepth(survival=0.5)(nn.Sequential(Residual(branch, shortcut, nn.ReLU()))),
        torch.randn(3, 2, 6, 6),
    )
    outcomes = set()
    for seed in range(20):
        torch.manual_seed(seed)
        model.zero_grad()
        before = branch[1].num_batches_tracked.item()
        output = model(images)
        output.sum().backward()
        computed = branch[1].num_batches_tracked.item() > before
        assert computed or torch.equal(output, shortcut(images).relu())
        assert all(weight.grad is not None and (computed or not weight.grad.any()) for weight in branch.parameters())
        assert shortcut.weight.grad.any()
        outcomes.add(computed)
    assert outcomes == {True, False}


def test_stochastic_depth_needs_residual_blocks_and_names_models_that_have_them():
    with pytest.raises(ValueError, match="needs residual blocks, but the model has none; try model=resnet20"):
        StochasticDepth()(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ScaledDropout(p=0.0),
        lambda: SpatialDropout(p=0.0),
        lambda: StochasticDepth(survival=1.0)(residual_net([1.0] * 3)),
    ],
)
def test_a_layer_that_drops_nothing_draws_nothing_so_that_other_layers_draw_the_same(make):
    layer = make()
    before = torch.get_rng_state()
    layer.train()(torch.ones(2, 1, 1, 1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=resnet20", "norm=batch"),
        ("model=resnet20", "norm=none", "init=fixup"),
        ("model=wide_resnet", "model.depth=10", "model.widen=1"),
    ],
)
def test_stochastic_depth_trains_in_every_residual_net(overrides, fitted):
    size = ("model.depth=8",) if overrides[0] == "model=resnet20" else ()
    run, curves = fitted(*overrides, *size, "reg=stochastic_depth", "epochs=2", "batch_size=64", "threads=1")
    blocks = [module for module in run.model.modules() if isinstance(module, Residual)]
    assert [block.survival for block in blocks] == pytest.approx([5 / 6, 4 / 6, 3 / 6])
    losses = [row["loss"] for row in curves.rows if row["split"] == "val"]
    assert losses[-1] < math.log(10)  # better than guessing
