"""Equal groups of an optimizer as one: the same steps, and checkpoints of older versions."""

import copy

import pytest
import torch
from conftest import command, only_run
from torch import nn

from trainer.base.layers import parameter_groups
from trainer.engine import optimizer_groups
from trainer.engine.build import build_run
from trainer.engine.optimizer_groups import merge_equal_groups, with_merged_groups
from trainer.rundir import checkpoint
from trainer.rundir.reader import read_summary

SMALL = ("data=iris", "model=mlp", "model.hidden=[8]", "threads=1", "device=cpu", "batch_size=30")
TORCHS = ("SGD", "Adam", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Adamax")


@pytest.mark.parametrize("name", TORCHS)
def test_steps_are_the_same_bit_for_bit(name):
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
    nets = [net, copy.deepcopy(net)]
    made = [getattr(torch.optim, name)(parameter_groups(each), lr=0.1) for each in nets]
    merge_equal_groups(made[1])
    assert [len(optimizer.param_groups) for optimizer in made] == [2, 1]
    for step in range(4):
        images = torch.randn(11, 5, generator=torch.Generator().manual_seed(step))
        for each, optimizer in zip(nets, made):
            optimizer.zero_grad()
            each(images).square().sum().backward()
            optimizer.step()
    for first, second in zip(*(each.parameters() for each in nets)):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    "words, count",
    [
        ("optimizer=momentum", 1),
        ("optimizer=adam", 1),
        ("optimizer=adamw", 2),  # decays matrices alone
        ("optimizer=muon", 3),  # of our own, which asks which ones decay
        ("optimizer=momentum optimizer.head_lr=2", 4),
    ],
)
def test_groups_with_different_settings_stay_apart(words, count, composed):
    assert len(build_run(composed(*SMALL, *words.split())).optimizer.param_groups) == count


def test_a_checkpoint_with_two_groups_is_resumed(tmp_path, monkeypatch):
    """As older versions wrote it: the run ends as one that was never interrupted."""
    words = (*SMALL, "optimizer=adam", "seed=3")
    code, _, errors = command(tmp_path, *words, "epochs=4", "output=whole")
    assert code == 0, errors
    (whole,) = tmp_path.glob("whole/*/*/summary.json")
    with monkeypatch.context() as older:
        older.setattr("trainer.engine.build.merge_equal_groups", lambda optimizer: None)
        code, _, errors = command(tmp_path, *words, "epochs=2", "sched=constant")
        assert code == 0, errors
    run = only_run(tmp_path)
    state = checkpoint.load(checkpoint.resolve_pointer(run / "checkpoints", "last"), torch.device("cpu"))
    assert len(state["optimizer"]["param_groups"]) == 2
    code, out, errors = command(tmp_path, f"resume={run}", "epochs=4")
    assert code == 0 and "resumed after step" in out, errors
    code, _, errors = command(tmp_path, *words, "epochs=4", "sched=constant", "output=constant")
    (constant,) = tmp_path.glob("constant/*/*/summary.json")
    digests = [read_summary(place)["weights_sha256"] for place in (run, constant.parent, whole.parent)]
    assert digests[0] == digests[1] != digests[2]


def test_states_with_as_many_groups_as_the_optimizer_are_left_alone():
    state = {"state": {}, "param_groups": [{"lr": 1, "params": [0, 1]}, {"lr": 1, "params": [2]}]}
    assert with_merged_groups(state, 2) is state
    assert with_merged_groups(state, 1)["param_groups"] == [{"lr": 1, "params": [0, 1, 2]}]
    assert not optimizer_groups.is_torchs(build_nothing())


def build_nothing():
    """An optimizer whose step is not torch's."""

    class Own(torch.optim.SGD):
        def step(self, closure=None):
            return closure()

    return Own([nn.Parameter(torch.zeros(1))], lr=1.0)
