"""The path of a batch on a device without values: no host sync, and no tensor of the CPU, between two log points."""

from collections import Counter
from contextlib import closing

import pytest
import torch
from fake_device import DEVICE, on_fake_device
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.config import catalog
from trainer.engine.build import build_run
from trainer.engine.cadence import Cadence
from trainer.engine.loop import Update
from trainer.engine.loss_watch import LossWatch
from trainer.engine.order import batches
from trainer.optimizer.fused_step import step_of
from trainer.rundir.recorder import Recorder

SMALL = ("threads=1", "device=cpu", "batch_size=50", "residency=device")
CNN = ("model=cnn", "model.channels=[4]", *SMALL)
ON_THE_HOST = {  # what decides between two log points by values, and why
    "bfgs": "a line search compares losses",
    "lbfgs": "a line search compares losses",
    "newton": "tries smaller steps where the loss rises",
    "prodigy": "the library's estimate of the distance is a number of the host",
}


def steps_on_device(words, tmp_path, monkeypatch, compose):
    """Make some steps as `fit` does between two log points."""
    run = build_run(compose(*words))
    assert run.labels is None or len(run.labels)  # found once, before the first step
    recorder = Recorder(tmp_path, run.data.task)
    with on_fake_device(compose(*words), run, monkeypatch) as there:
        assert next(there.model.parameters()).device.type == DEVICE.type
        update, cadence, watch = Update(there, None), Cadence(there), LossWatch(there.progress)
        there.model.train()
        with closing(batches(there)) as arriving:
            for step in range(3):
                now = cadence.set_learning_rate(step)
                indices, batch = next(arriving)
                loss, micro_outputs = update(now, indices, batch, log=False)
                there.progress.advance(now, indices, micro_outputs, keep_losses=there.uses_losses)
                watch.add(now, loss)
                for micro_output in micro_outputs:
                    assert all(part.device.type == DEVICE.type for part in micro_output)
                    recorder.add(*micro_output)
    return run


@pytest.fixture
def on_device(composed, tmp_path, monkeypatch):
    def steps(*words):
        try:
            return steps_on_device(words, tmp_path, monkeypatch, composed)
        except NotImplementedError as error:
            pytest.skip(f"this version of torch knows no shapes of {str(error).partition(':')[0]}")

    return steps


# torch's autocast, which kfac switches off around its factors, does not know the device.
@pytest.mark.parametrize("name", [name for name in catalog.options("optimizer") if name not in (*ON_THE_HOST, "kfac")])
def test_optimizers(name, on_device):
    on_device(*CNN, f"optimizer={name}")


@pytest.mark.parametrize("name", ON_THE_HOST)
def test_what_is_known_to_wait_for_values_does(name, on_device):
    with pytest.raises((DataDependentOutputException, RuntimeError)):
        on_device("data=iris", "model=linear", *SMALL, f"optimizer={name}")


def test_a_sampler_may_count_classes_once_an_epoch(on_device):
    with pytest.raises(DynamicOutputShapeException):
        on_device(*CNN, "sampler=balanced")


# The table of elastic is computed once, on the CPU, by values.
@pytest.mark.parametrize("name", [name for name in catalog.options("aug") if name != "elastic"])
def test_augmentations(name, on_device):
    on_device(*CNN, f"aug=[{name}]")


# Early stopping looks at evaluations; a pruning mask looks for weights that are 0, once.
@pytest.mark.parametrize(
    "name", [name for name in catalog.options("reg") if name not in ("early_stopping", "pruning_mask")]
)
def test_regularisers(name, on_device):
    on_device(*(("model=resnet20", *SMALL) if name == "stochastic_depth" else CNN), f"reg=[{name}]")


@pytest.mark.parametrize("group", ["sampler", "averaging", "act", "norm", "pool", "warmup", "sched", "bias"])
def test_other_groups(group, on_device):
    for name in catalog.options(group):
        if name == "balanced":
            continue
        on_device(*CNN, f"{group}={name}")


@pytest.mark.parametrize("name", ["cross_entropy", "hinge", "mse", "bce"])
def test_losses(name, on_device):
    on_device(*CNN, f"loss={name}")


@pytest.mark.parametrize("name", [name for name in catalog.options("model") if name not in ("torchvision", "timm")])
def test_models(name, on_device):
    on_device(f"model={name}", *SMALL, "optimizer=sgd")


@pytest.mark.parametrize("words", ["data=diabetes", "data=breast_cancer", "accumulate=2", "optimizer.layer_decay=0.5"])
def test_other_kinds_of_runs(words, on_device):
    on_device(*(CNN if "data" not in words else ("model=linear", *SMALL)), *words.split())


def test_a_host_sync_and_a_tensor_of_the_cpu_are_errors(on_device, package, composed, tmp_path, monkeypatch):
    """The device finds what it is for."""

    class Syncs(nn.Module):
        def forward(self, values):
            return values * values.abs().max().item()

    class Mixes(nn.Module):
        def forward(self, values):
            return values + torch.ones(values.shape[1:])

    for layer, error in ((Syncs(), DataDependentOutputException), (Mixes(), RuntimeError)):
        run = build_run(composed(*CNN))
        run.model.append(layer)
        with on_fake_device(composed(*CNN), run, monkeypatch) as there, pytest.raises(error):
            there.model(there.train.images[:2])


class Counting(TorchDispatchMode):
    """Count the operators that are dispatched."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[str(function)] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_the_calls_of_a_step_do_not_grow_with_the_number_of_parameters(name, composed):
    counts = []
    for hidden in ("[8]", "[8,8,8,8,8]"):
        run = build_run(composed("model=mlp", f"model.hidden={hidden}", *SMALL, f"optimizer={name}"))
        for weight in run.model.parameters():
            weight.grad = torch.zeros_like(weight)
        step = step_of(run.optimizer)
        step(lambda: torch.zeros(()))  # makes its state
        with Counting() as mode:
            step(lambda: torch.zeros(()))
        counts.append(mode.counts)
    assert counts[0] == counts[1] and sum(counts[0].values()) < 12


def test_a_step_waits_for_nothing(composed):
    """Nor does it make more calls than those of a bare loop, but for ten."""
    run = build_run(composed("model=mlp", *SMALL))
    update, cadence = Update(run, None), Cadence(run)
    run.model.train()
    bare = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.05, momentum=0.9, fused=True)

    def bare_step(indices):
        optimizer.zero_grad()
        nn.functional.cross_entropy(bare(run.train.images[indices]), run.labels[indices]).backward()
        optimizer.step()

    found = {}
    with closing(batches(run)) as arriving:
        for step in range(3):
            now = cadence.set_learning_rate(step)
            with Counting() as ours:
                indices, batch = next(arriving)
                update(now, indices, batch, log=False)
            with Counting() as theirs:
                bare_step(indices[0])
            found = {"ours": ours.counts, "theirs": theirs.counts}
    assert not [name for name in found["ours"] if "local_scalar" in name or "nonzero" in name]
    assert sum(found["ours"].values()) <= sum(found["theirs"].values()) + 10
