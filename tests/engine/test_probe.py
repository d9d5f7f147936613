"""Probe: its figures against closed forms, no trace in the run, and what it leaves out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from trainer.base.clock import Clock
from trainer.engine import layer_statistics
from trainer.engine import probe as probes
from trainer.engine.build import build_run
from trainer.engine.layer_statistics import activation_modules, of_activation
from trainer.engine.loop import Update
from trainer.engine.order import batches
from trainer.engine.probe import is_probe, probe
from trainer.rundir.checkpoint import weights_digest
from trainer.rundir.recorder import Recorder

SMALL = ("data=digits", "threads=1", "device=cpu", "epochs=2")


class Net(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def built(composed):
    return lambda *words: build_run(composed(*SMALL, *words))


def test_of_an_activation_by_hand():
    """Four samples and four units of a ReLU: on, off, off on all, on for one."""
    before = torch.tensor([[1.0, -1, -1, -1], [2, -1, -2, -1], [3, 1, -3, -1], [4, 1, -4, 2]], requires_grad=True)
    after = before.relu()
    slopes = torch.autograd.grad(after.sum(), before)[0]
    found = {key: value.item() for key, value in of_activation(after.detach(), slopes).items()}
    values = [1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 0, 0, 4, 1, 0, 2]
    mean = sum(values) / 16
    assert found["mean"] == pytest.approx(mean) and found["slope"] == 7 / 16
    assert found["std"] == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in values) / 15))
    assert found["dead"] == 0.25 and found["saturated"] == 0


@pytest.mark.parametrize(
    ("act", "flat"),
    [(nn.Sigmoid(), 4.6), (nn.Tanh(), 2.99)],
    ids=["sigmoid", "tanh"],
)
def test_saturated_is_where_the_slope_is_below_a_hundredth(act, flat):
    """sigmoid' = s (1 - s) < 0.01 beyond ln(98.99) = 4.595; tanh' = 1 - t^2 < 0.01 beyond atanh(sqrt(0.99)) = 2.993."""
    before = torch.tensor([[-2 * flat, -flat - 0.01, -flat + 0.02, 0.0, flat - 0.02, flat + 0.01, 2 * flat, 1.0]])
    before.requires_grad_()
    after = act(before)
    slopes = torch.autograd.grad(after.sum(), before)[0].abs()
    assert of_activation(after.detach(), slopes)["saturated"] == 0.5


def test_units_are_channels_of_maps_and_features_of_tokens():
    assert layer_statistics.by_unit(torch.zeros(5, 3)).shape == (5, 3, 1)
    assert layer_statistics.by_unit(torch.zeros(5, 3, 2, 4)).shape == (5, 3, 8)
    assert layer_statistics.by_unit(torch.zeros(5, 7, 3)).shape == (5, 3, 7)
    maps = torch.zeros(5, 2, 3, 3)
    maps[:, 1, 0, 0] = 1.0  # a channel is on where any of its places is
    assert of_activation(maps, (maps > 0).float())["dead"] == 0.5


def test_gradients_and_penalties_are_those_of_autograd(built):
    run = built("model=mlp", "model.hidden=[8]", "reg=l2", "reg.loss.l2.strength=0.1")
    images, targets = probes.probe_batch(run)
    found = probe(run, 3)
    loss = run.criterion(run.model(images), targets).mean()
    weights = [weight for name, weight in run.model.named_parameters()]
    grads = torch.autograd.grad(loss, weights)
    matrices = [weight for weight in weights if weight.dim() > 1]
    assert found["step"] == 3 and found["samples"] == 64 and found["loss"] == pytest.approx(loss.item())
    assert found["grad_norm"] == pytest.approx(math.sqrt(sum(grad.double().square().sum() for grad in grads)))
    wanted = math.sqrt(sum(weight.double().square().sum() for weight in matrices))
    assert found["penalty_grad_norm"] == pytest.approx(0.1 * wanted)
    assert found["penalty"] == pytest.approx(0.05 * wanted**2)
    by_name = dict(zip([name for name, _ in run.model.named_parameters()], grads))
    for row, name in zip(found["layers"], ("1.weight", "3.weight")):
        assert row["grad_norm"] == pytest.approx(by_name[name].norm().item())
        assert row["grad_mean"] == pytest.approx(by_name[name].abs().mean().item())
        assert row["weight_std"] == pytest.approx(run.model.get_parameter(name).std(correction=0).item())
        assert found["parameters"][name]["norm"] == pytest.approx(run.model.get_parameter(name).norm().item())


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("init=zeros",), True),
        (("init=constant",), True),
        ((), False),
        (("init=orthogonal",), False),
    ],
)
def test_units_that_begin_alike_are_found(words, wanted, built):
    first, *_, last = probe(built("model=mlp", "model.hidden=[8,8]", *words), 0)["layers"]
    assert bool(first["identical"]) is wanted and first["name"] == "1" and last["name"] == "5"


def test_dead_units_and_the_most_common_answer_are_found(built):
    found = probe(built("model=mlp", "bias=constant", "bias.value=-10"), 0)
    assert [row["dead"] for row in found["activations"]] == [1.0, 1.0] and found["common"] == 1.0
    assert [row["grad_norm"] for row in found["layers"]][:2] == [0, 0]


@pytest.mark.parametrize(
    "words",
    [
        ("model=cnn", "norm=batch", "reg=[dropout,dropconnect]", "aug=[crop,mixup]"),
        ("model=cnn", "pool=fractional", "act=relu"),
        ("model=resnet20", "norm=batch", "reg=[stochastic_depth]", "optimizer=sam"),
        ("model=mlp", "act=prelu", "optimizer=kfac"),
        ("data=diabetes", "model=mlp", "act=maxout", "optimizer=lbfgs", "batch_size=full"),
        ("data=breast_cancer", "model=mlp", "averaging=ema", "optimizer=schedule_free", "sched=constant"),
    ],
    ids=lambda words: words[0],
)
def test_a_probe_leaves_no_trace(words, built, tmp_path):
    """Two steps with a probe before each give the weights of two steps without, bit for bit."""

    def trained(probing):
        run = built(*words)
        update = Update(run, Recorder(tmp_path / str(probing), run.data.task))
        for step, (indices, batch) in zip(range(2), batches(run)):
            modes, random = [module.training for module in run.model.modules()], torch.get_rng_state()
            if probing:
                found = probe(run, step)
                assert is_probe(found) and found["loss"] is not None
            assert [module.training for module in run.model.modules()] == modes
            assert torch.equal(torch.get_rng_state(), random)
            update(run.clock.at(step, 0.01), indices, batch, False)
        return weights_digest(run.model), [buffer.clone() for buffer in run.model.buffers()]

    (tmp_path / "True").mkdir()
    (tmp_path / "False").mkdir()
    (probed, buffers), (plain, wanted) = trained(True), trained(False)
    assert probed == plain and all(map(torch.equal, buffers, wanted))


def test_what_is_no_activation_is_left_out():
    layers = [nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Dropout(), nn.BatchNorm1d(3), nn.Identity(), nn.Flatten()]
    names = [name for name, _ in activation_modules(Net(*layers, nn.AdaptiveAvgPool1d(1), nn.Softmax(1), nn.GELU()))]
    assert names == ["layers.1", "layers.8"]


class OwnNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim, self.scale = dim, nn.Parameter(torch.ones(()))

    def forward(self, x):
        return (x - x.mean(self.dim, keepdim=True)) * self.scale


class OwnAct(nn.Module):
    def __init__(self):
        super().__init__()
        self.slopes = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return x.tanh() * self.slopes


def test_a_norm_of_the_users_own_is_no_activation(built):
    """Its outputs sum to 0, whatever it sees: each slope of the sum is 0, and nothing is saturated."""
    run = built("data=iris", "model=linear")
    model = Net(nn.Linear(4, 4), OwnNorm(0), nn.Linear(4, 4), OwnNorm(1), OwnAct(), nn.Linear(4, 3))
    found = probe(replace(run, model=model), 0)
    assert [row["kind"] for row in found["activations"]] == ["OwnAct"]


def test_a_batch_that_does_not_fit_gives_no_probe(built, monkeypatch):
    run = built("model=mlp")

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(nn.Linear, "forward", full)
    assert probe(run, 0) is None


@pytest.mark.parametrize(
    "forged",
    [None, [], {}, {"step": 0}, {"step": "0", "input": {}, "parameters": {}, "activations": [], "layers": []}],
)
def test_what_is_no_probe(forged):
    assert not is_probe(forged)


def test_probes_are_made_at_the_start_and_the_end_and_kept_by_a_checkpoint(fitted):
    for steps, wanted in ((127, [0]), (128, [0, 64]), (1023, [0, 64]), (1024, [0, 8, 64])):
        run, _ = fitted(*SMALL, "data=iris", "model=linear", f"epochs={steps}st")
        assert [each["step"] for each in run.progress.probes] == wanted
    assert isinstance(run.clock, Clock)


def test_multiply_adds_by_hand(built):
    """Of images of 8 x 8: a layer of 64 x 8 and one of 8 x 10; of a convolution of 3 x 3, 1 to 4, and its head."""
    assert probe(built("model=mlp", "model.hidden=[8]"), 0)["multiply_adds"] == 64 * 8 + 8 * 10
    run = built("model=linear")
    model = Net(nn.Conv2d(1, 4, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2), nn.Flatten())
    model.layers.append(nn.Linear(64, 10))
    wanted = 9 * 4 * 16 + 2 * 4 * 16 + 64 * 10
    assert (
        probe(replace(run, model=model), 0)["multiply_adds"]
        == probes.multiply_adds(replace(run, model=model))
        == wanted
    )


@pytest.mark.parametrize(
    ("multiply_adds", "steps", "batch_size", "samples"),
    [
        (10**9, 60, 64, 32),  # a 400th of 3,840 is under the least
        (10**9, 300, 64, 48),
        (10**9, 10_000, 64, 64),  # no more than a batch
        (10**9, 10_000, 1_000, 256),
        (1_000, 60, 64, 64),  # 5,000 samples of it cost nothing
        (125_000, 60, 64, 40),
    ],
)
def test_a_probe_of_the_record_takes_as_many_samples_as_the_run_pays_for(
    multiply_adds, steps, batch_size, samples, built
):
    run = built("model=linear")
    run = replace(run, clock=run.clock._replace(total_steps=steps), batch_size=batch_size)
    run.progress.probes.append({"step": 7, "multiply_adds": multiply_adds})
    probes.record_probe(run)
    assert run.progress.probes[-1]["samples"] == samples


def test_the_loss_of_a_sample_beside_that_in_half_of_the_batch(built):
    run = built("data=iris", "model=linear")
    assert probe(run, 0)["loss_in_batch"] == pytest.approx(1)
    summed = replace(run, criterion=lambda outputs, targets: run.criterion(outputs, targets) * len(outputs))
    assert probe(summed, 0)["loss_in_batch"] == pytest.approx(2)
    assert probe(run, 0, run.train.batch(torch.tensor([3])))["loss_in_batch"] is None


def test_the_running_averages_are_measured_behind_the_first_step(built):
    """Those of a fresh network are of no network."""
    run = built("model=cnn", "norm=batch")
    images, targets = probes.probe_batch(run)
    assert "loss_in_evaluation" not in probe(run, 0) and "loss_in_evaluation" not in probe(built("model=cnn"), 1)
    wanted = run.criterion(run.model.eval()(images), targets).mean().item()
    assert probe(run, 1)["loss_in_evaluation"] == pytest.approx(wanted)


@pytest.mark.parametrize("values", [torch.randn(7, 5), torch.randn(3, 4, 2) * 1e-3 + 5, torch.zeros(4)])
@pytest.mark.parametrize("correction", [0, 1])
def test_mean_and_deviation_are_those_of_torch(values, correction):
    found = layer_statistics.mean_and_deviation(values, correction)
    wanted = values.double().mean().item(), values.double().std(correction=correction).item()
    assert [each.item() for each in found] == pytest.approx(wanted, rel=1e-4)  # float32, 5,000 deviations from 0
    assert math.isnan(layer_statistics.mean_and_deviation(torch.ones(1), 1)[1])


@pytest.mark.parametrize(
    ("rows", "gradient", "wanted"),
    [
        ([[1, 2], [1, 2], [1, 2]], [[3, 4]] * 3, True),
        ([[1, 2], [1, 2], [1, 2]], None, True),
        ([[0, 0], [0, 0], [0, 0]], [[0, 0]] * 3, True),
        ([[1, 2], [5, 6], [1, 2]], [[3, 4]] * 3, False),  # the first row and the last are alike
        ([[1, 2], [1, 2], [1, 2]], [[3, 4], [3, 5], [3, 4]], False),
        ([[1, 2], [1, 2], [1, 2.1]], [[3, 4]] * 3, False),
        ([[1, 2]], [[3, 4]], False),  # one unit is like no other
    ],
)
def test_units_are_alike_where_all_rows_are(rows, gradient, wanted):
    weight = torch.tensor(rows, dtype=torch.float32)
    gradients = {weight: torch.tensor(gradient, dtype=torch.float32)} if gradient else {}
    (found,) = layer_statistics.of_weights([weight], gradients)
    assert bool(found["identical"]) is wanted
    assert float(found["grad_mean"]) == pytest.approx(np.abs(gradient).mean() if gradient else 0)


def test_activations_that_overflow_are_measured_all_the_same(built):
    """exp(2000) is not finite, in a class of the project's own, whose outputs are looked at for mixing."""
    run = built("model=mlp", "model.hidden=[4,4]", "act=exponential")
    before = probe(run, 0)
    with torch.no_grad():
        for weight in run.model.parameters():
            weight.fill_(1e3)
    after = probe(run, 8)
    assert is_probe(after) and [row["name"] for row in after["activations"]] == [
        row["name"] for row in before["activations"]
    ]
    assert after["activations"][0]["mean"] is None
