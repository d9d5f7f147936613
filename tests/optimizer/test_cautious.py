"""Cautious steps around several optimizers, against the paper in NumPy."""

from functools import partial

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from stepping import LR, START, draws, gradient, heavy_ball, momentum, parameter, settings, stepper, walk
from torch.testing import assert_close

from trainer.config.instantiate import instantiate
from trainer.config.targets import LIBRARIES
from trainer.optimizer.cautious import Cautious
from trainer.optimizer.lookahead import Lookahead
from trainer.optimizer.sam import Sam

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # both sides in float64, weights near 1
SHAPES = [(3, 4), (5,)]


def masked(u, g, floor=1e-3):
    """Liang et al., 2024, algorithm 1: the step u where it agrees with g, over the mean of the mask."""
    mask = (u * g > 0).astype(float)
    return u * mask / max(mask.mean(), floor)


def adam_steps(gs, b1, b2, eps):
    """Yield Adam's step over lr."""
    m = v = 0.0
    for t, g in enumerate(gs, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        yield m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)


def lion_steps(gs, b1, b2):
    m = 0.0
    for g in gs:
        yield np.sign(b1 * m + (1 - b1) * g)
        m = b2 * m + (1 - b2) * g


BASES = [
    ("adam", {"lr": 0.1}, partial(adam_steps, b1=0.9, b2=0.999, eps=1e-8)),
    ("adamw", {"lr": 0.1, "weight_decay": 0.3}, partial(adam_steps, b1=0.9, b2=0.999, eps=1e-8)),
    ("lion", {"lr": 0.1, "weight_decay": 0.3}, partial(lion_steps, b1=0.9, b2=0.99)),
]


def around(base, params, floor=1e-3, **changes):
    """Return the option `cautious` around an option with some of its settings changed."""
    node = {
        "_target_": "trainer.optimizer.cautious.Cautious",
        "floor": floor,
        "base": {**OmegaConf.to_container(settings(base)), **changes},
    }
    return instantiate(node, "optimizer", "optimizer", LIBRARIES)(params)


@pytest.mark.parametrize(("base", "changes", "steps"), BASES, ids=[base for base, _, _ in BASES])
def test_a_cautious_optimizer_is_the_papers_with_decay_outside_of_the_mask(base, changes, steps):
    starts, series = draws(*SHAPES), [draws(*SHAPES, seed=t) for t in range(1, 11)]
    weights = [parameter(start) for start in starts]
    groups = [{"params": weights[:1]}, {"params": weights[1:], "weight_decay": 0.0}]
    optimizer = around(base, groups, **changes)
    found = walk(optimizer, weights, series)
    for index, w in enumerate(starts):
        gs, decay = [row[index] for row in series], (changes.get("weight_decay", 0.0), 0.0)[index]
        dropped = 0
        for t, (g, u) in enumerate(zip(gs, steps(gs))):
            dropped += (u * g <= 0).sum()
            w = (1 - 0.1 * decay) * w - 0.1 * masked(u, g)
            assert_close(found[t][index], w, **EXACT)
        assert dropped > 2
    assert [group["weight_decay"] for group in optimizer.param_groups] == [changes.get("weight_decay", 0), 0.0]


@pytest.mark.parametrize("floor", [0.5, 1.0])
def test_the_mean_of_the_mask_is_at_least_the_floor(floor):
    weight = parameter(np.zeros(4))
    optimizer = around("momentum", [weight], floor, fused=False, lr=0.1)
    series = [[np.ones(4)], [np.array([0.1, -0.1, -0.1, -0.1])]]  # then v = 0.9 + g > 0: one of four agrees
    first, second = (path[0] for path in walk(optimizer, [weight], series))
    assert_close(first, np.full(4, -0.1), **EXACT)
    assert_close(second - first, np.array([-0.1 * 1.0 / floor, 0, 0, 0]), **EXACT)


def test_a_step_that_agrees_nowhere_moves_nothing():
    weight = parameter([1.0, -2.0])
    optimizer = Cautious([weight], momentum)
    path = walk(optimizer, [weight], [[np.array([1.0, 1.0])], [np.array([-0.1, -0.1])]])
    assert (path[1][0] == path[0][0]).all()


def test_around_sam_the_gradient_is_that_of_its_step():
    weight, w, v = parameter(START), START, np.zeros(3)
    step = stepper(Cautious([weight], lambda params: Sam(params, momentum, rho=0.3)), [weight])
    for index in range(6):
        g = gradient(w + 0.3 * gradient(w) / np.linalg.norm(gradient(w)))
        _, v = heavy_ball(w, v, g)
        w = w - masked(LR * v, g)
        assert step().item() == 2 * index + 1  # the loss of the first pass
        assert_close(weight.detach().numpy(), w, **EXACT)


def test_an_l2_penalty_that_the_base_adds_to_the_gradient_is_in_the_step_and_not_in_the_mask():
    """pytorch_optimizer adds it in place to the gradient, which the mask must not see."""
    weight = parameter(np.array([5.0, 1.0]))
    changes = {"name": "SGDW", "lr": 0.1, "weight_decay": 1.0, "weight_decouple": False}
    optimizer = around("pytorch_optimizer", [weight], **changes)
    ((found,),) = walk(optimizer, [weight], [[np.array([-1.0, 2.0])]])
    assert_close(found, np.array([5.0, 1 - 0.1 * 3.0 / 0.5]), **EXACT)  # u = 0.1 (4, 3): the first disagrees with -1


def test_weights_without_a_gradient_stay():
    used, unused = parameter([1.0]), parameter([2.0])
    optimizer = around("adamw", [used, unused], weight_decay=0.5)
    used.grad = torch.ones(1, dtype=torch.float64)
    optimizer.step(lambda: torch.zeros(()))
    assert unused.item() == 2.0 and used.item() < 1.0


@pytest.mark.parametrize("base", ["lookahead", "ranger", "schedule_free", "ftrl"])
def test_an_optimizer_that_holds_weights_of_its_own_is_refused(base):
    with pytest.raises(ValueError, match=r"^base=\w+ holds weights of its own, .*; try optimizer.base=adam$"):
        around(base, [parameter(START)])


@pytest.mark.parametrize("inner", ["Ranger", "MADGRAD", "ScheduleFreeAdamW", "SPlus", "FTRL"])
def test_so_is_one_of_the_library_and_one_within_another(inner):
    with pytest.raises(ValueError, match="holds weights of its own"):
        around("pytorch_optimizer", [parameter(START)], name=inner)
    make_lookahead = partial(Lookahead, base=momentum)
    with pytest.raises(ValueError, match="holds weights of its own"):
        Cautious([parameter(START)], lambda params: Sam(params, make_lookahead))


def test_the_yaml_of_every_other_option_that_can_be_a_base_works():
    """One step each: a weight moves against its gradient, or not at all."""
    options = (
        "adadelta adagrad adam adamax ademamix adopt kfac lamb lars lion mars momentum momentum_velocity muon nadam "
    )
    options += "nesterov prodigy radam rmsprop sam sgd shampoo soap adam_uncorrected grokfast pytorch_optimizer"
    for option in options.split():
        layer = torch.nn.Linear(3, 2)
        images = torch.from_numpy(draws((8, 3))[0]).float()
        optimizer = around(option, list(layer.parameters()))
        optimizer.watch(layer)
        for _ in range(3):
            before = [weight.detach().clone() for weight in layer.parameters()]

            def closure(layer=layer, images=images):
                layer.zero_grad()
                loss = (layer(images) - 1).square().mean()
                loss.backward()
                return loss.detach()

            optimizer.step(closure)
            if option not in ("kfac", "sam"):  # whose gradient has become another one
                for start, weight in zip(before, layer.parameters()):
                    assert ((weight - start) * weight.grad <= 0).all(), option
