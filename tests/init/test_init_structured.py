"""Orthogonal, identity and Dirac weights: their matrices as maps, and the layers each needs."""

import pytest
import torch
from nets import BATCH, RELU, chain
from torch import nn

from trainer.act import Maxout
from trainer.init.structured import Dirac, Identity, Orthogonal


@pytest.mark.parametrize(("inputs", "outputs"), [(30, 20), (20, 30), (25, 25)])
@pytest.mark.parametrize("chosen", [1.0, 0.5, "act"])
def test_orthogonal_makes_rows_or_columns_orthonormal(inputs, outputs, chosen):
    dense, conv = nn.Linear(inputs, outputs), nn.Conv2d(2 * inputs, 8 * outputs, (1, 3), groups=2)
    Orthogonal(gain=chosen)(nn.Sequential(conv, dense), *BATCH, RELU)
    square = 2 if chosen == "act" else chosen**2
    for weight in (dense.weight, *conv.weight.flatten(1).chunk(2)):
        weight = weight.detach()
        product = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(product, square * torch.eye(len(product)), rtol=0, atol=1e-5)  # float32 QR


def test_identity_sets_the_hidden_layers_only():
    model = chain(6, 3, nn.Tanh, inputs=4)
    before = [model[index].weight.clone() for index in (0, 6)]
    Identity()(model, *BATCH, nn.Tanh)
    assert torch.equal(model[2].weight, torch.eye(6)) and torch.equal(model[4].weight, torch.eye(6))
    assert torch.equal(model[0].weight, before[0]) and torch.equal(model[6].weight, before[1])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)], "6 inputs and 5 outputs; try hidden layers of one width"),
        ([nn.Conv2d(4, 6, 3), nn.Conv2d(6, 6, 3), nn.Linear(6, 3)], "try init=dirac"),
        ([nn.Linear(4, 6), nn.Linear(6, 3)], "the model has none"),
    ],
)
def test_identity_needs_square_hidden_dense_layers(layers, message):
    with pytest.raises(ValueError, match=message):
        Identity()(nn.Sequential(*layers), *BATCH, RELU)


def test_identity_with_maxout_advises_another_activation():
    layers = nn.Linear(4, 12), Maxout(), nn.Linear(6, 12), Maxout(), nn.Linear(6, 3)
    with pytest.raises(ValueError, match="6 inputs and 12 outputs; try act=relu, init=orthogonal"):
        Identity()(nn.Sequential(*layers), *BATCH, Maxout)


def test_dirac_passes_channels_on_and_leaves_the_other_filters():
    wide, grouped, dense = (
        nn.Conv2d(3, 5, 3, padding=1, bias=False),
        nn.Conv2d(4, 6, (1, 5), padding=(0, 2), groups=2, bias=False),
        nn.Linear(2, 2),
    )
    before = {layer: layer.weight.clone() for layer in (wide, grouped, dense)}
    Dirac()(nn.Sequential(wide, grouped, dense), *BATCH, RELU)
    x, y = torch.randn(2, 3, 6, 7), torch.randn(2, 4, 6, 7)
    assert torch.equal(wide(x)[:, :3], x) and torch.equal(wide.weight[3:], before[wide][3:])
    through = grouped(y)
    assert torch.equal(through[:, [0, 1, 3, 4]], y) and torch.equal(grouped.weight[[2, 5]], before[grouped][[2, 5]])
    assert torch.equal(dense.weight, before[dense])


@pytest.mark.parametrize(
    ("layer", "message"),
    [(nn.Linear(3, 3), "try init=auto"), (nn.Conv2d(3, 3, (3, 2)), "one is 3 x 2; try odd")],
)
def test_dirac_needs_convolutions_with_a_centre(layer, message):
    with pytest.raises(ValueError, match=message):
        Dirac()(nn.Sequential(layer), *BATCH, RELU)
