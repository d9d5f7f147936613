"""Classes of pytorch_optimizer by name: with their arguments, in checkpoints, and with skipped steps."""

import copy
import random

import numpy as np
import pytest
import pytorch_optimizer
import torch
from stepping import Net, draws, make, parameter, reloaded, walk
from torch.testing import assert_close

from trainer.base.hooks import needs_graph
from trainer.base.layers import parameter_groups
from trainer.base.rng import seed_default
from trainer.config import libraries
from trainer.engine.state import plain
from trainer.optimizer.pytorch_optimizer import LIBRARY, PytorchOptimizer

NAMES = libraries.class_names(LIBRARY)
# One of each kind: what its state holds, what it draws from, which groups it needs, where it is evaluated.
KINDS = (
    "Yogi", "AdaHessian", "SophiaH", "Muon", "SCION", "AdaShift", "Kron", "ScheduleFreeSGD", "SPlus", "Ranger21",
    "AdaFactor", "ApolloDQN", "FlashAdamW", "QHAdam", "SPAM", "DAdaptAdam", "Prodigy", "Adam", "DASH", "AggMo", "Fira",
)  # fmt: skip


def closure_of(net, optimizer, seed):
    """Return a closure that seeds the draws of a step, as the loop does."""

    def evaluate():
        seed_default(torch.device("cpu"), seed)
        optimizer.zero_grad()
        loss = net.loss()
        loss.backward(create_graph=needs_graph(optimizer))
        return loss.detach()

    return evaluate


def tensors(value):
    """Every tensor in a state, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from tensors(child)


def test_the_names_are_those_of_the_library_but_for_those_that_are_refused():
    listed = {known.__name__ for known in pytorch_optimizer.optimizer.OPTIMIZER_LIST}
    refused = set(libraries.LIBRARIES[LIBRARY].refused)
    assert {*NAMES} == listed - refused and len(NAMES) > 100  # a version has others
    assert not [name for name in refused if name not in listed and not hasattr(pytorch_optimizer.optimizer, name)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_its_class_over_a_group_that_decays_and_one_that_does_not(name):
    known = libraries.arguments(LIBRARY, name)
    decay = {"weight_decay": 0.1} if "weight_decay" in known else {}
    optimizer = PytorchOptimizer(parameter_groups(Net()), name=name, lr=0.01, **decay)
    assert type(optimizer.base) is getattr(pytorch_optimizer, name)
    strengths = {(group["decays"], group.get("weight_decay")) for group in optimizer.param_groups}
    assert (False, 0.0) in strengths and (not decay or (True, 0.1) in strengths)
    rates = {group["lr"] for group in optimizer.param_groups if group.get("use_muon", True)}
    assert rates == {0.01 / 3 if name == "GrokFastAdamW" else 0.01}  # which divides it by 1 + lambda


@pytest.mark.parametrize("name", NAMES)
def test_the_arguments_read_from_its_file_are_those_of_the_class(name):
    import inspect

    fields = inspect.signature(getattr(pytorch_optimizer, name).__init__).parameters
    for key, argument in libraries.arguments(LIBRARY, name).items():
        default = fields[key].default
        assert argument.default == (list(default) if isinstance(default, tuple) else default), key
    lacking = {*fields} - {*libraries.arguments(LIBRARY, name)} - {"self", "params", "kwargs", "maximize"}
    lacking -= {"differentiable", "capturable", *libraries.fixed_arguments(LIBRARY, name)}
    functions = {"clip_lambda", "pre_conditioner_update_probability", "reduce_func"}
    objects = {"norm_type", "momentum_dtype", "compute_dtype", "fim_dtype", "precondition_dtype"}
    assert lacking <= functions | objects, lacking


def test_a_named_optimizer_steps_as_the_librarys_own_does():
    weights, others = ([parameter(start) for start in draws((3, 4), (5,))] for _ in range(2))
    series = [draws((3, 4), (5,), seed=t) for t in range(1, 6)]
    groups = [[{"params": each[:1]}, {"params": each[1:], "weight_decay": 0.0}] for each in (weights, others)]
    settings = {"lr": 0.3, "betas": [0.5, 0.9], "weight_decay": 0.2, "weight_decouple": False}
    found = walk(make("pytorch_optimizer", groups[0], name="Yogi", **settings), weights, series)
    expected = walk(pytorch_optimizer.Yogi(groups[1], **settings), others, series)
    for row, other in zip(found, expected):
        for one, two in zip(row, other):
            assert_close(one, two, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", KINDS)
def test_a_resumed_run_is_bit_for_bit_the_same_and_a_skipped_step_changes_nothing(name):
    settings = {"AdaShift": {"keep_num": 3}, "Kron": {"balance_prob": 0.5}}.get(name, {})  # moves, draws that early

    def walked(load_after=None, skip=False):
        net = Net()
        optimizer = PytorchOptimizer(parameter_groups(net), name=name, **settings)
        for count in range(6):
            if count == load_after:
                state, weights = reloaded(plain(optimizer.state_dict())), net.state_dict()
                net = Net()
                net.load_state_dict(weights)
                optimizer = PytorchOptimizer(parameter_groups(net), name=name, **settings)
                optimizer.load_state_dict(state)
                np.random.seed(5)
                random.seed(5)
            if skip and count == 3:
                before = copy.deepcopy(net.state_dict())
                with pytest.raises(KeyError):
                    optimizer.step(lambda: {}["skipped"])
                assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
            optimizer.step(closure_of(net, optimizer, count))
            optimizer.zero_grad()
            if load_after != 3:  # to evaluate changes nothing
                optimizer.eval()
                optimizer.train()
        state = optimizer.state_dict()["state"]
        return [weight.detach() for weight in net.parameters()], [
            *tensors([state[key] for key in sorted(state, key=str)])
        ]

    (once, state), *others = walked(), walked(load_after=3), walked(skip=True)
    for weights, other in others:
        assert all(map(torch.equal, once, weights)) and all(map(torch.equal, state, other)) and len(state) == len(other)
    moved = [not torch.equal(one, start) for one, start in zip(once, Net().parameters())]
    assert all(weight.isfinite().all() for weight in once)
    assert moved == [True] * 4 + [False] * 2  # the idle layer stays


@pytest.mark.parametrize("name", ["AdaFactor", "ApolloDQN", "Ranger21"])
def test_schedules_of_the_classes_own_are_off(name):
    """The rate that the run's schedule writes into the groups is the one that counts, from the first step on."""
    moved = []
    for rate in (0.0, 0.1):
        net = Net()
        optimizer = PytorchOptimizer(parameter_groups(net), name=name, weight_decay=0.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step(closure_of(net, optimizer, 0))
        pairs = zip(Net().parameters(), net.parameters())
        moved.append(max((one - two).abs().max().item() for one, two in pairs))
    assert moved[0] == 0 and moved[1] > 1e-3


def test_null_is_a_value_of_an_argument_and_the_default_of_the_weight_decay():
    weight = parameter([1.0])
    assert PytorchOptimizer([weight], name="Prodigy", eps=None).param_groups[0]["eps"] is None
    assert PytorchOptimizer([weight], name="BCOS").param_groups[0]["weight_decay"] > 0


def test_muon_gets_the_hidden_matrices():
    net = Net()
    optimizer = PytorchOptimizer(parameter_groups(net), name="Muon", lr=0.5, adamw_lr=0.25)
    found = {id(weight): group for group in optimizer.param_groups for weight in group["params"]}
    flags = {name: found[id(weight)]["use_muon"] for name, weight in net.named_parameters()}
    assert flags == {name: name in ("layers.0.weight", "layers.2.weight") for name in flags}  # idle comes last
    assert found[id(net.layers[0].weight)]["lr"] == 0.5 and found[id(net.idle.weight)]["lr"] == 0.25
    assert found[id(net.layers[0].bias)]["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "Yogii"}, r"name=Yogii: did you mean Yogi\?"),
        ({"name": "LOMO"}, "LOMO changes the weights before the whole gradient is known"),
        ({"name": "Yogi", "momentum": 0.9}, "Yogi has no momentum; "),
        ({"name": "Amos", "weight_decay": 0.1}, "Amos has no weight_decay; "),
        ({"name": "Ranger21", "num_iterations": 5}, "Ranger21 has no num_iterations; "),
        ({"name": "Yogi", "betas": [2.0, 0.9]}, "beta1 must be in the range"),
        ({"name": "Yogi", "lr": 0.0}, "lr must be > 0, got 0.0"),
        ({"name": "Yogi", "weight_decay": -1.0}, "weight_decay must be non-negative"),  # the library's own words
    ],
)
def test_a_mistake_is_told(settings, message):
    with pytest.raises(ValueError, match=message):
        PytorchOptimizer([parameter([1.0])], **settings)


@pytest.mark.parametrize("name", ["ScheduleFreeAdamW", "ScheduleFreeRAdam", "ScheduleFreeSGD", "SPlus"])
def test_a_checkpoint_at_the_point_of_evaluation_resumes_bit_for_bit(name):
    net = Net()
    optimizer = PytorchOptimizer(parameter_groups(net), name=name)
    optimizer.eval()  # of a fresh network
    optimizer.train()
    for count in range(8):  # ScheduleFreeRAdam moves from step 6 on
        optimizer.step(closure_of(net, optimizer, count))
    trained = copy.deepcopy(net.state_dict())
    optimizer.eval()
    assert not all(torch.equal(trained[key], value) for key, value in net.state_dict().items())
    other = Net()
    other.load_state_dict(net.state_dict())
    resumed = PytorchOptimizer(parameter_groups(other), name=name)
    resumed.load_state_dict(reloaded(plain(optimizer.state_dict())))
    for each in (optimizer, resumed):
        each.train()
    for key, value in trained.items():
        assert torch.equal(net.state_dict()[key], value) and torch.equal(other.state_dict()[key], value)
