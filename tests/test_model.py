"""Models and the kit: shapes, numbers of parameters counted by hand, and the same nets written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainer.kit import Kit
from trainer.model.cnn import Cnn
from trainer.model.linear import Linear
from trainer.model.mlp import Mlp
from trainer.norm import Batch, Layer


def pool():
    return nn.MaxPool2d(2, 2)


def make_kit(norm=nn.Identity, drops=(), act=nn.ReLU):
    return Kit(act=act, norm=norm, pool=pool, drops=drops)


def dropout():
    return nn.Dropout(0.5)


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def leaves(model):
    return [type(module) for module in model.modules() if not list(module.children())]


@pytest.mark.parametrize("norm", [nn.Identity, Batch, Layer])
@pytest.mark.parametrize(
    ("make", "input_shape"),
    [(make, shape) for make in (Linear, Mlp) for shape in [(30,), (1, 8, 8), (3, 9, 5)]]
    + [(Cnn, shape) for shape in [(1, 8, 8), (3, 9, 5), (3, 1, 1), (2, 32, 32), (1, 28, 1)]],
)
def test_every_model_maps_a_batch_to_its_outputs(make, input_shape, norm):
    assert make(input_shape, 7, make_kit(norm))(torch.zeros(2, *input_shape)).shape == (2, 7)


def test_linear_has_one_weight_a_pixel_and_class():
    assert parameters(Linear((3, 8, 8), 10, make_kit(Batch, [dropout]))) == 3 * 64 * 10 + 10


@pytest.mark.parametrize(("norm", "beside"), [(nn.Identity, 1), (Batch, 2), (Layer, 2)])
def test_an_mlp_has_a_bias_or_the_norms_scale_and_shift(norm, beside):
    model = Mlp((1, 8, 8), 10, make_kit(norm), hidden=[50, 20])
    assert parameters(model) == (64 * 50 + beside * 50) + (50 * 20 + beside * 20) + (20 * 10 + 10)


@pytest.mark.parametrize(("norm", "beside"), [(nn.Identity, 1), (Batch, 2), (Layer, 2)])
def test_a_cnn_has_nine_weights_a_pair_of_channels(norm, beside):
    model = Cnn((3, 8, 8), 10, make_kit(norm), channels=[4, 6])
    assert parameters(model) == (9 * 3 * 4 + beside * 4) + (9 * 4 * 6 + beside * 6) + (6 * 10 + 10)


def test_the_defaults_are_those_of_the_yaml_files():
    assert parameters(Mlp((64,), 10, make_kit())) == 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    assert parameters(Cnn((1, 8, 8), 10, make_kit())) == 9 * 32 + 32 + 9 * 32 * 64 + 64 + 9 * 64 * 128 + 128 + 128 * 10 + 10


def test_an_mlp_without_hidden_layers_is_linear():
    assert leaves(Mlp((4,), 3, make_kit(), hidden=[])) == [nn.Flatten, nn.Linear]


def test_a_norm_stands_between_a_layer_without_bias_and_the_activation():
    kit = make_kit(Batch, [dropout])
    dense, conv = kit.dense(5, 6), kit.conv(2, 3)
    assert [type(part) for part in dense] == [nn.Linear, Batch, nn.ReLU, nn.Dropout] and dense[0].bias is None
    assert [type(part) for part in conv] == [nn.Conv2d, Batch, nn.ReLU] and conv[0].bias is None
    assert (dense[1].num_features, conv[1].num_features) == (6, 3)


def test_without_a_norm_layers_keep_their_bias_and_no_identity_is_left():
    kit = make_kit(drops=[nn.Identity])
    dense, conv = kit.dense(5, 6), kit.conv(2, 3)
    assert [type(part) for part in dense] == [nn.Linear, nn.ReLU] and dense[0].bias is not None
    assert [type(part) for part in conv] == [nn.Conv2d, nn.ReLU] and conv[0].bias is not None
    assert nn.Identity not in leaves(Mlp((4,), 3, make_kit())) + leaves(Cnn((1, 8, 8), 3, make_kit()))


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 8), (3, 2, 4), (5, 1, 8), (1, 1, 8), (1, 2, 4)])
def test_a_convolution_keeps_the_image_at_stride_one(kernel, stride, side):
    assert make_kit().conv(2, 3, kernel, stride)(torch.zeros(1, 2, 8, 8)).shape == (1, 3, side, side)


def test_the_head_has_a_bias_and_nothing_behind_it():
    head = make_kit(Batch, [dropout]).head(5, 2)
    assert type(head) is nn.Linear and head.weight.shape == (2, 5) and head.bias is not None


def test_dropout_stands_behind_hidden_dense_layers_in_the_order_given():
    drops = [dropout, lambda: nn.AlphaDropout(0.1)]
    hidden = [nn.Linear, nn.ReLU, nn.Dropout, nn.AlphaDropout]
    assert leaves(Mlp((4,), 3, make_kit(drops=drops), hidden=[5, 6])) == [nn.Flatten, *hidden, *hidden, nn.Linear]
    assert nn.Dropout not in leaves(Linear((4,), 3, make_kit(drops=drops)))


def test_dropout_of_a_cnn_stands_before_its_dense_layer_alone():
    model = leaves(Cnn((1, 8, 8), 3, make_kit(drops=[dropout]), channels=[4, 6]))
    assert model.count(nn.Dropout) == 1 and model[-3:] == [nn.Flatten, nn.Dropout, nn.Linear]


@pytest.mark.parametrize(("input_shape", "pools"), [((1, 8, 8), 3), ((1, 4, 9), 2), ((1, 3, 3), 1), ((1, 1, 1), 0), ((1, 64, 64), 4)])
def test_a_cnn_pools_while_the_image_is_two_pixels_wide(input_shape, pools):
    assert leaves(Cnn(input_shape, 3, make_kit(), channels=[2, 2, 2, 2])).count(nn.MaxPool2d) == pools


def test_linear_is_a_matrix_product():
    model, images = Linear((1, 3, 4), 5, make_kit()), torch.rand(6, 1, 3, 4)
    weight, bias = model.parameters()
    torch.testing.assert_close(model(images), images.reshape(6, 12) @ weight.T + bias)


def test_an_mlp_is_the_net_written_out():
    model, images = Mlp((2, 3), 4, make_kit(act=nn.Tanh), hidden=[7, 5]), torch.rand(6, 2, 3)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    expected = ((images.reshape(6, 6) @ w1.T + b1).tanh() @ w2.T + b2).tanh() @ w3.T + b3
    torch.testing.assert_close(model(images), expected)


def test_an_mlp_with_batch_norm_is_the_net_written_out():
    model, table = Mlp((6,), 4, make_kit(Batch), hidden=[7]).double(), torch.rand(9, 6, dtype=torch.float64)
    w1, gamma, beta, w2, b2 = model.parameters()
    nn.init.normal_(gamma), nn.init.normal_(beta)
    hidden = table @ w1.T
    hidden = gamma * (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt() + beta
    torch.testing.assert_close(model(table), hidden.clamp(min=0) @ w2.T + b2)


def test_a_cnn_is_the_net_written_out():
    model, images = Cnn((2, 6, 9), 4, make_kit(), channels=[3, 7]), torch.rand(6, 2, 6, 9)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    x = F.max_pool2d(F.conv2d(images, w1, b1, padding=1).relu(), 2)
    x = F.max_pool2d(F.conv2d(x, w2, b2, padding=1).relu(), 2)
    torch.testing.assert_close(model(images), x.mean((2, 3)) @ w3.T + b3)


def test_dropout_of_an_mlp_acts_in_training_alone():
    model, table = Mlp((40,), 4, make_kit(drops=[dropout]), hidden=[100]), torch.rand(1, 40)
    assert not torch.equal(model(table), model(table))
    assert torch.equal(model.eval()(table), model(table))


@pytest.mark.parametrize("input_shape", [(30,), (4, 8)])
def test_a_cnn_refuses_tables(input_shape):
    with pytest.raises(ValueError, match=rf"needs images \(C, H, W\), the data has shape \({', ?'.join(map(str, input_shape))},?\)"):
        Cnn(input_shape, 3, make_kit())


@pytest.mark.parametrize(
    ("make", "field"),
    [(lambda: Mlp((4,), 3, make_kit(), hidden=[5, 0]), "hidden"), (lambda: Cnn((1, 8, 8), 3, make_kit(), channels=[0]), "channels")],
)
def test_a_layer_without_units_is_refused(make, field):
    with pytest.raises(ValueError, match=f"{field} must be >= 1, got 0"):
        make()
