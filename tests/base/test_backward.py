"""The backward pass, against torch's."""

import pytest
import torch
from torch import nn

from trainer.base.backward import backward


def losses_and_penalty(net):
    inputs = torch.linspace(-1, 1, 12).view(4, 3)
    return net(inputs).square().sum(1), sum(weight.square().sum() for weight in net.parameters())


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.filterwarnings("ignore:Using backward")
def test_gradients_are_those_of_torch_and_are_added(create_graph):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    fractions = torch.tensor([0.1, 0.2, 0.3, 0.4])
    found = []
    for way in (torch.autograd.backward, backward):
        net.zero_grad()
        for _ in range(2):
            way(losses_and_penalty(net), [fractions, None], create_graph=create_graph)
        found.append([weight.grad for weight in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found))
    assert all(grad.requires_grad is create_graph for grad in found[1])


def test_second_derivatives_pass_through_it():
    weight = torch.tensor([2.0], requires_grad=True)
    backward([weight**3], [torch.ones(1)], create_graph=True)  # 3 w^2, whose derivative is 6 w
    assert torch.autograd.grad(weight.grad, weight)[0].item() == 12


def test_a_value_without_weights_is_refused():
    with pytest.raises(RuntimeError, match="does not require grad"):
        backward([torch.ones(2)], [torch.ones(2)])
