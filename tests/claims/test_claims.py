"""Every claim of the lectures holds for the project's techniques, and fails for a wrong one in their place."""

from functools import partial

import pytest
import torch
from torch import nn

from trainer.claims import regularisation
from trainer.claims.claim import Option
from trainer.claims.claims import BY_NUMBER, CLAIMS
from trainer.engine.robbins_monro import RateSums, tail_exponent
from trainer.loss import CrossEntropy
from trainer.norm import Batch
from trainer.reg.penalties import L2
from trainer.reg.weight_decay import WeightDecay
from trainer.sched.decay import Constant, Exponential, Inverse


def test_the_claims_are_those_of_the_catalogue():
    assert [claim.number for claim in CLAIMS] == [f"Y{number}" for number in range(1, 23)]
    assert len({claim.check for claim in CLAIMS}) == 22
    assert all(claim.check.__doc__.startswith("Check") for claim in CLAIMS)


@pytest.mark.parametrize("number", BY_NUMBER)
def test_a_claim_holds_for_the_project(number):
    before = torch.get_rng_state()
    found = BY_NUMBER[number].measure()
    assert found.holds, found
    assert torch.equal(torch.get_rng_state(), before)


# Wrong implementations


class BatchScale(nn.Module):
    """Batch norm that does not centre, or takes the unbiased variance."""

    def __init__(self, channels, eps, centre, correction):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps, self.centre, self.correction = eps, centre, correction

    def forward(self, x):
        variance, mean = torch.var_mean(x, 0, correction=self.correction)
        return self.weight * (x - self.centre * mean) / (variance + self.eps).sqrt() + self.bias


def batch_scale(eps, centre=1, correction=0):
    return partial(BatchScale, eps=eps, centre=centre, correction=correction)


class StraightThrough(nn.Module):
    """ReLU whose gradient ignores the mask."""

    def forward(self, x):
        return x + (x.relu() - x).detach()


class MultipliesByDropped(nn.Module):
    """Vanilla dropout that multiplies by the probability of dropping in evaluation, as the lecture's words have it."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return x * torch.empty_like(x).bernoulli_(1 - self.p) if self.training else x * self.p


class DecaysAfterwards(WeightDecay):
    """Decay of the weights behind the step."""

    def __call__(self, model, optimizer, now):
        self.before(model, optimizer, now)
        super().__call__(model, optimizer, now)


class Normalised(torch.optim.SGD):
    """SGD along the direction of the gradient."""

    def step(self, closure):
        loss = closure()
        weights = self.param_groups[0]["params"]
        torch.nn.utils.clip_grad_norm_(weights, 1e-3)
        super().step()
        return loss


def by_the_largest(outputs, targets):
    losses = CrossEntropy()(outputs, targets)
    return losses * losses.max().detach()


def scaled_normal(variance):
    """Draw weights of a variance that follows from the fan-in."""
    return lambda model, *rest: model[0].weight.data.normal_(0, variance(model[0].in_features) ** 0.5)


def only_the_scale(model, images):
    """Fuse batch norms, but forget what they subtract."""
    from trainer.engine.fuse import fuse

    for norm in (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)):
        norm.running_mean.zero_()
    return fuse(model, images)


def returns_the_last(watch):
    last = {}

    def remember(run, history):
        last.update({name: value.clone() for name, value in run.model.state_dict().items()})
        return watch(run, history)

    regularisation.train_in_a_directory(remember)
    return last


ADAM, MOMENTUM, NESTEROV = (Option("optimizer", name) for name in ("adam", "momentum", "nesterov"))
SGD, RMSPROP, UNCORRECTED = (Option("optimizer", name) for name in ("sgd", "rmsprop", "adam_uncorrected"))
WRONG = {
    "Y1, momentum overshoots": ("Y1", {"gd": MOMENTUM}),
    "Y1, a rate beyond 1 / l": ("Y1", {"gd": lambda weights, lr: torch.optim.SGD(weights, lr=2.1 * lr)}),
    "Y2, every schedule keeps the rule": ("Y2", {"classify": lambda sched: RateSums(True, True)}),
    "Y2, squares are forgotten": ("Y2", {"classify": lambda sched: first_condition(sched)}),
    "Y3, a constant rate": ("Y3", {"sched": Constant}),
    "Y3, a rate that stops short": ("Y3", {"sched": partial(Exponential, rate=20.0)}),
    "Y4, momentum is faster": ("Y4", {"gd": MOMENTUM}),
    "Y4, a constant rate": ("Y4", {"sched": Constant}),
    "Y5, with replacement": ("Y5", {"sampler": Option("sampler", "replacement")}),
    "Y5, a loss that knows its batch": ("Y5", {"criterion": lambda: by_the_largest}),
    "Y6, no mask": ("Y6", {"act": StraightThrough}),
    "Y6, a mean over the outputs": ("Y6", {"criterion": Option("loss", "mse")}),
    "Y7, steps of the gradient's direction": ("Y7", {"sgd": Normalised}),
    "Y7, Adam": ("Y7", {"sgd": ADAM}),
    "Y8, squared error": ("Y8", {"softmax_loss": Option("loss", "mse")}),
    "Y8, a mean over the classes": ("Y8", {"sigmoid_loss": lambda: lambda o, t: Option("loss", "bce")()(o, t) / 5}),
    "Y9, inverted for vanilla": ("Y9", {"vanilla": Option("reg", "dropout")}),
    "Y9, vanilla for inverted": ("Y9", {"inverted": Option("reg", "dropout_scaled")}),
    "Y9, the probability of dropping": ("Y9", {"vanilla": MultipliesByDropped}),
    "Y10, PST's Xavier": ("Y10", {"xavier": lambda: scaled_normal(lambda fan: fan**-0.5)}),
    "Y10, PST's He": ("Y10", {"he": lambda: scaled_normal(lambda fan: 2 * fan**-0.5)}),
    "Y10, N(0, 0.01) as a variance": ("Y10", {"small": lambda: scaled_normal(lambda fan: 0.01)}),
    "Y11, not centred": ("Y11", {"norm": partial(batch_scale, centre=0)}),
    "Y11, layer norm": ("Y11", {"norm": Option("norm", "layer")}),
    "Y12, uncorrected": ("Y12", {"corrected": UNCORRECTED}),
    "Y12, corrected": ("Y12", {"uncorrected": ADAM}),
    "Y13, one form twice": ("Y13", {"inside": MOMENTUM}),
    "Y13, Nesterov": ("Y13", {"outside": NESTEROV}),
    "Y14, heavy ball": ("Y14", {"nesterov": MOMENTUM}),
    "Y15, no factor 1/2": ("Y15", {"penalty": lambda strength: L2(strength=2 * strength)}),
    "Y15, decay behind the step": ("Y15", {"decay": DecaysAfterwards}),
    "Y16, RMSprop does not decay": ("Y16", {"adagrad": RMSPROP}),
    "Y16, SGD": ("Y16", {"adagrad": SGD}),
    "Y17, the unbiased variance": ("Y17", {"norm": partial(batch_scale, correction=1)}),
    "Y17, layer norm": ("Y17", {"norm": Option("norm", "layer")}),
    "Y18, means are forgotten": ("Y18", {"fuse": only_the_scale}),
    "Y18, nothing is fused": ("Y18", {"fuse": lambda model, images: (model, 0)}),
    "Y19, hard sigmoid": ("Y19", {"sigmoid": Option("act", "hard_sigmoid")}),
    "Y19, softsign": ("Y19", {"tanh": Option("act", "softsign")}),
    "Y19, mish": ("Y19", {"swish": Option("act", "mish")}),
    "Y20, gradient descent": ("Y20", {"lbfgs": partial(Option("optimizer", "gd"), lr=1.0)}),
    "Y21, no momentum": ("Y21", {"momentum": lambda weights, lr, momentum: SGD(weights, lr=lr)}),
    "Y21, momentum for both": ("Y21", {"plain": MOMENTUM}),
    "Y22, the last weights": ("Y22", {"train": returns_the_last}),
}


def first_condition(sched):
    if type(sched).__name__ == "Plateau":
        return None
    diverges = tail_exponent(sched) <= 1.001
    return RateSums(diverges=diverges, squares_converge=True)


@pytest.mark.parametrize("case", WRONG)
def test_a_claim_fails_for_a_wrong_implementation(case):
    number, replaced = WRONG[case]
    found = BY_NUMBER[number].measure(**replaced)
    assert not found.holds, found


def test_every_claim_has_a_wrong_implementation():
    assert {number for number, _ in WRONG.values()} == {*BY_NUMBER}


def test_y2_fails_where_a_schedule_is_wrong(monkeypatch):
    monkeypatch.setattr(Inverse, "__call__", lambda self, now: (1 + now.step) ** -2.0)
    assert not BY_NUMBER["Y2"].measure().holds


def test_y22_fails_where_the_run_goes_on_beyond_the_patience(monkeypatch):
    longer = [word.replace("patience=3", "patience=5") for word in regularisation.SHORT_RUN]
    monkeypatch.setattr(regularisation, "SHORT_RUN", tuple(longer))
    assert not BY_NUMBER["Y22"].measure().holds


def test_an_option_is_what_conf_sets():
    assert Option("norm", "batch")() == Batch()
    assert Option("norm", "batch")(eps=0.1) == Batch(eps=0.1)
    assert Option("reg", "l2")(strength=2.0) == L2(strength=2.0)
    assert Option("optimizer", "gd")([torch.zeros(1)]).defaults["lr"] == 0.5
