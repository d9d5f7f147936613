"""Blocks of the layer factory: the order of their layers, the biases they keep, and widths for the activation."""

import functools

import pytest
import torch
from nets import dropout, make_kit
from torch import nn

from trainer.act import Maxout
from trainer.norm import Batch, BatchNorm, GroupNorm, Layer, Rms, RmsNorm


def kinds(block):
    return [type(part) for part in block]


@pytest.mark.parametrize(("norm", "kind"), [(Batch(), BatchNorm), (Layer(), GroupNorm), (Rms(), RmsNorm)])
def test_a_norm_follows_a_layer_without_bias_and_precedes_the_activation(norm, kind):
    kit = make_kit(norm, [dropout])
    dense, conv = kit.dense(5, 6), kit.conv(2, 3)
    assert kinds(dense) == [nn.Linear, kind, nn.ReLU, nn.Dropout] and dense[0].bias is None
    assert kinds(conv) == [nn.Conv2d, kind, nn.ReLU] and conv[0].bias is None
    assert (dense[1].weight.shape, conv[1].weight.shape) == ((6,), (3,))


def test_a_norm_behind_the_activation_leaves_the_layer_its_bias():
    kit = make_kit(Batch(place="after_act"), [dropout])
    dense, conv = kit.dense(5, 6), kit.conv(2, 3)
    assert kinds(dense) == [nn.Linear, nn.ReLU, BatchNorm, nn.Dropout] and dense[0].bias is not None
    assert kinds(conv) == [nn.Conv2d, nn.ReLU, BatchNorm] and conv[0].bias is not None
    assert kinds(kit.preact(4)) == [nn.ReLU, BatchNorm]


def test_a_block_without_activation_ends_in_its_norm_whatever_the_place():
    for place in ("before_act", "after_act"):
        block = make_kit(Batch(place=place)).conv(2, 3, act=False)
        assert kinds(block) == [nn.Conv2d, BatchNorm] and block[0].bias is None
    assert kinds(make_kit().conv(2, 3, act=False)) == [nn.Conv2d]


def test_without_a_norm_layers_keep_their_bias_and_no_identity_is_left():
    kit = make_kit(drops=[nn.Identity])
    dense, conv = kit.dense(5, 6), kit.conv(2, 3)
    assert kinds(dense) == [nn.Linear, nn.ReLU] and dense[0].bias is not None
    assert kinds(conv) == [nn.Conv2d, nn.ReLU] and conv[0].bias is not None


@pytest.mark.parametrize(("place", "width"), [("before_act", 12), ("after_act", 4)])
def test_an_activation_of_pieces_gets_a_layer_that_much_wider(place, width):
    kit = make_kit(Batch(place=place), act=lambda: Maxout(pieces=3))
    dense, conv = kit.dense(5, 4), kit.conv(2, 4)
    assert (dense[0].out_features, conv[0].out_channels) == (12, 12)
    assert [part.num_features for block in (dense, conv) for part in block if isinstance(part, BatchNorm)] == [
        width
    ] * 2
    assert dense(torch.rand(6, 5)).shape == (6, 4) and conv(torch.rand(6, 2, 8, 8)).shape == (6, 4, 8, 8)


def test_an_activation_of_pieces_by_itself_brings_its_own_layer():
    for pieces in (2, 3):
        layer, act = make_kit(act=functools.partial(Maxout, pieces=pieces)).activation(4)
        assert layer.weight.shape == (4 * pieces, 4, 1, 1) and act.pieces == pieces
        assert act(layer(torch.rand(2, 4, 5, 5))).shape == (2, 4, 5, 5)
    assert isinstance(make_kit().activation(4), nn.ReLU)


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 8), (3, 2, 4), (5, 1, 8), (1, 1, 8), (1, 2, 4)])
def test_a_convolution_keeps_the_image_at_stride_one(kernel, stride, side):
    assert make_kit().conv(2, 3, kernel, stride)(torch.zeros(1, 2, 8, 8)).shape == (1, 3, side, side)


def test_padding_and_groups_are_the_convolutions():
    conv = make_kit().conv(4, 6, 5, padding=0, groups=2)
    assert conv(torch.zeros(1, 4, 8, 8)).shape == (1, 6, 4, 4) and conv[0].weight.shape == (6, 2, 5, 5)


def test_the_head_has_a_bias_and_nothing_behind_it():
    head = make_kit(Batch(), [dropout]).head(5, 2)
    assert type(head) is nn.Linear and head.weight.shape == (2, 5) and head.bias is not None


def test_a_norm_of_the_input_precedes_the_model_where_asked():
    model = nn.Linear(5, 2)
    assert make_kit(Batch()).with_input_norm(model, 5) is model
    norm, behind = make_kit(Batch(on_input=True)).with_input_norm(model, 5)
    assert isinstance(norm, BatchNorm) and norm.num_features == 5 and behind is model


def test_a_norm_may_have_one_of_the_two_hooks_alone():
    def make_norm(**hooks):
        norm = functools.partial(nn.BatchNorm1d)
        norm.__dict__.update(hooks)
        return norm

    model = nn.Linear(5, 2)
    placed = make_kit(make_norm(place="after_act"))
    assert kinds(placed.dense(5, 6)) == [nn.Linear, nn.ReLU, nn.BatchNorm1d]
    assert placed.with_input_norm(model, 5) is model
    in_front = make_kit(make_norm(on_input=True))
    assert kinds(in_front.dense(5, 6)) == [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert kinds(in_front.with_input_norm(model, 5)) == [nn.BatchNorm1d, nn.Linear]
    plain = make_kit(nn.BatchNorm1d)
    assert kinds(plain.dense(5, 6)) == [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert plain.with_input_norm(model, 5) is model


def test_a_model_of_the_factory_has_the_modules_of_one_written_by_hand():
    kit = make_kit(Batch(), [dropout])
    built = nn.Sequential(*kit.conv(3, 8), kit.pool(), nn.Flatten(), *kit.dense(8 * 16, 10), kit.head(10, 2))
    by_hand = [nn.Conv2d, BatchNorm, nn.ReLU, nn.MaxPool2d, nn.Flatten]
    by_hand += [nn.Linear, BatchNorm, nn.ReLU, nn.Dropout, nn.Linear]
    assert kinds(built) == by_hand and len(list(built.modules())) == 1 + len(by_hand)
