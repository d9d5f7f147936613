"""Properties of every optimizer of conf/optimizer, built by name and stepped with a closure as the loop does."""

import functools
import io

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.testing import assert_close

from trainer.base.errors import ConfigError
from trainer.config import catalog, schema
from trainer.config.hydra_context import Invocation
from trainer.engine import build

OPTIONS = catalog.options("optimizer")
RULED = [
    (option, key)
    for option in OPTIONS
    for path, key in schema.keys(catalog.file("optimizer", option), "optimizer").items()
    if path.startswith("optimizer.") and key.rule
]


class Point(nn.Module):
    """Two weights as the outputs of a layer, for methods that work on layers or on the inputs of a unit."""

    def __init__(self, start: tuple[float, float]) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.layer.weight.zero_()[:, 0] = torch.tensor(start)

    def forward(self) -> torch.Tensor:
        return self.layer(torch.tensor([[1.0, 0.0, 0.0]]))[0]


class Net(nn.Module):
    """A small net with layers that no loss reaches."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.idle = nn.Linear(4, 2)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=rng) / 2)
        self.images, self.targets = torch.randn(8, 3, generator=rng), torch.randn(8, 2, generator=rng)

    def loss(self) -> torch.Tensor:
        return (self.layers(self.images) - self.targets).square().mean()


@pytest.fixture(scope="module")
def configuration(composed):
    """The configuration with an option, composed once: that takes longer than the steps here."""
    return functools.cache(lambda option: composed(f"optimizer={option}"))


@pytest.fixture
def made(configuration):
    """The optimizer of an option over a model, and a step: the loss where the closure was asked first."""

    def make(option, model, loss):
        optimizer = build.make_optimizer(configuration(option), model, 64, Invocation())

        def step():
            seen = []

            def closure():
                assert torch.is_grad_enabled()
                optimizer.zero_grad()
                value = loss()
                value.backward(create_graph=getattr(optimizer, "create_graph", False))
                seen.append(value.detach())
                return value.detach()

            optimizer.step(closure)
            return seen[0]  # an IndexError where the closure was not called

        return optimizer, step

    return make


def rest(optimizer):
    """Where the optimizer evaluates its weights, as the loop tells it."""
    if hasattr(optimizer, "eval"):
        optimizer.eval()


def bowl(w):
    return (2 * w[0].square() + w[1].square() / 2) / 2


def rosenbrock(w):
    """Over 1000, so that its curvature at the start, 1500, is what the learning rates here are meant for."""
    return ((1 - w[0]).square() + 100 * (w[1] - w[0].square()).square()) / 1000


@pytest.mark.parametrize(
    ("function", "start"), [(bowl, (1.0, -2.0)), (rosenbrock, (-1.2, 1.0))], ids=["bowl", "rosenbrock"]
)
@pytest.mark.parametrize("option", OPTIONS)
def test_the_loss_falls(option, function, start, made):
    model = Point(start)
    before = function(model()).item()
    optimizer, step = made(option, model, lambda: function(model()))
    for _ in range(60):
        step()
    rest(optimizer)
    assert function(model()).item() < before * 0.995


def stepped(made, option, plan):
    """Return the weights after steps; the optimizer is saved and loaded between the parts of `plan`, as of [3, 3]."""
    net, saved = Net(), None
    for count in plan:
        model = Net()
        model.load_state_dict(net.state_dict())
        net = model
        optimizer, step = made(option, net, net.loss)
        if saved is not None:
            optimizer.load_state_dict(torch.load(io.BytesIO(saved), weights_only=True))
        for _ in range(count):
            step()
        buffer = io.BytesIO()
        torch.save(optimizer.state_dict(), buffer)
        saved = buffer.getvalue()
    return [weight.detach().clone() for weight in net.parameters()]


@pytest.mark.parametrize("option", OPTIONS)
def test_two_runs_and_a_resumed_one_are_bit_for_bit_the_same(option, made):
    once, again, resumed = (stepped(made, option, plan) for plan in ([6], [6], [3, 3]))
    assert all(torch.equal(a, b) for a, b in zip(once, again)), "two runs differ"
    assert all(torch.equal(a, b) for a, b in zip(once, resumed)), "a resumed run differs"
    assert not any(torch.equal(a, b) for a, b in zip(once, Net().layers.parameters())), (
        "weights with a gradient stand still"
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_weights_without_a_gradient_stand_still(option, made):
    net = Net()
    _, step = made(option, net, net.loss)
    for _ in range(4):
        step()
    for weight, before in zip(net.idle.parameters(), Net().idle.parameters()):
        assert torch.equal(weight, before)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_loss_of_the_closures_first_call_is_returned(option, configuration):
    net = Net()
    optimizer = build.make_optimizer(configuration(option), net, 64, Invocation())
    seen = []

    def closure():
        optimizer.zero_grad()
        value = net.loss()
        value.backward(create_graph=getattr(optimizer, "create_graph", False))
        seen.append(value.detach())
        return value.detach()

    assert_close(optimizer.step(closure), seen[0], rtol=0, atol=0)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_rate_in_the_groups_is_the_rate_of_the_step(option, made):
    """The loop writes it there: with a rate of zero a first step goes nowhere."""
    net = Net()
    optimizer, step = made(option, net, net.loss)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    step()
    for weight, before in zip(net.parameters(), Net().parameters()):
        assert_close(weight, before, rtol=0, atol=1e-6)  # a wrapper may go and come back in float32


@pytest.mark.parametrize(("option", "key"), RULED, ids=[f"{option}-{key.path}" for option, key in RULED])
def test_what_a_yaml_refuses_the_optimizer_refuses(option, key, configuration):
    cfg = configuration(option).copy()
    if not cfg.optimizer._target_.startswith("trainer."):
        return  # torch's classes check what they check
    kind = int if key.rule.whole else float
    for bad in map(kind, (-1, 0, 1, 2)):
        value = [bad, *key.default[1:]] if isinstance(key.default, list) else bad
        if key.violation(value) is not None:
            OmegaConf.update(cfg, key.path, value)
            with pytest.raises(ConfigError):
                build.make_optimizer(cfg, Net(), 64, Invocation())
