"""Range test on built runs: it leaves no trace, whatever the optimizer, and its steps are those of the loop."""

import hashlib
import pickle
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from trainer.base.hooks import state_of
from trainer.config import catalog
from trainer.config.auto_rate import rate_key
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.inspection import lr_finder
from trainer.inspection.lr_check import Check, check
from trainer.inspection.lr_finder import find_rate
from trainer.inspection.lr_range import GroupRates, range_test, training_losses
from trainer.inspection.training_state import preserved
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

SMALL = ("data=iris", "model=mlp", "model.hidden=[8]", "batch_size=30", "epochs=2", "threads=1", "device=cpu")
RICH = (
    "data=digits",
    "model=cnn",
    "model.channels=[4]",
    "norm=batch",
    "reg=[dropout,l2,grad_noise,max_norm]",
    "aug=[mixup,crop]",
)


def plain(value):
    """Return nested values without tensors: an equal text for equal states."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy().tobytes(), str(value.dtype), tuple(value.shape)
    if isinstance(value, dict):
        return [(str(key), plain(child)) for key, child in value.items()]
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    return value


def digest(run):
    """Return a digest of all that a run has become: model, gradients, modes, optimizer, progress, generators."""
    model, progress = run.model, run.progress
    parts = [
        model.state_dict(),
        {name: weight.grad for name, weight in model.named_parameters()},
        [module.training for module in model.modules()],
        run.optimizer.state_dict(),
        (progress.step, progress.order, progress.losses, progress.history),
        state_of(run.averaging),
        (torch.get_rng_state(), random.getstate(), pickle.dumps(np.random.get_state())),
    ]
    return hashlib.sha256(repr(plain(parts)).encode()).hexdigest()


def built(composed, *words):
    cfg = composed(*words)
    return cfg, build_run(cfg)


def rates_of(cfg, run):
    return GroupRates(cfg, run, Invocation(), rate_key(cfg, "optimizer"))


def trained(run, folder, until):
    folder.mkdir()
    recorder = Recorder(folder, run.data.task)
    fit(run, recorder, Console(silent=True), until=until)
    recorder.close()
    return digest(run)


@pytest.mark.parametrize("option", catalog.options("optimizer"))
def test_a_range_test_with_any_optimizer_leaves_no_trace(option, composed, tmp_path):
    """From rates that do nothing to those that diverge; three steps of training end as in a run without the test."""
    words = (*SMALL, f"optimizer={option}")
    cfg, run = built(composed, *words)
    before = digest(run)
    test = range_test(run, rates_of(cfg, run), 1e-6, 1e4, 30)
    assert digest(run) == before
    assert len(test.rates) == len(test.losses) > 10
    _, other = built(composed, *words)
    assert trained(run, tmp_path / "a", 3) == trained(other, tmp_path / "b", 3)


@pytest.mark.parametrize(
    "words",
    [
        RICH,
        (*RICH, "averaging=ema", "accumulate=2", "drop_last=true", "on_nan=skip"),
        (*SMALL, "sampler=hard_examples"),
        (*SMALL, "data=diabetes", "reg=[l1_proximal,early_stopping]", "sched=plateau", "warmup=linear"),
        (*SMALL, "data=breast_cancer", "residency=stream", "workers=1", "bias=marginal"),
        (*SMALL, "optimizer=sam", "optimizer@optimizer.base=adam", "init=data_dependent", "norm=batch"),
        (*SMALL, "epochs=0"),
        (*SMALL, "epochs=7st", "batch_size=full"),
    ],
)
def test_a_range_test_of_any_run_leaves_no_trace(words, composed):
    cfg, run = built(composed, "threads=1", "device=cpu", *words)
    before = digest(run)
    assert len(range_test(run, rates_of(cfg, run), 1e-6, 10.0, 25).losses) > 10
    check(run, rates_of(cfg, run), 1e3, 5)
    assert digest(run) == before


def test_a_run_in_the_middle_of_its_training_is_preserved_as_well(composed, tmp_path):
    words = (*SMALL, "optimizer=adam", "norm=batch", "epochs=4")
    cfg, run = built(composed, *words)
    before = trained(run, tmp_path / "a", 5)
    range_test(run, rates_of(cfg, run), 1e-4, 1.0, 12)
    assert digest(run) == before
    _, other = built(composed, *words)
    trained(other, tmp_path / "b", 5)
    assert trained(run, tmp_path / "c", 9) == trained(other, tmp_path / "d", 9)


def test_what_a_model_assigns_draws_and_switches_is_given_back():
    """A buffer that is replaced, a mode, gradients, Python's, NumPy's and torch's generators, and an error within."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.frozen = nn.Linear(2, 2), nn.BatchNorm1d(2).eval()
            self.register_buffer("seen", torch.zeros(1))
            self.register_buffer("hidden", torch.ones(2), persistent=False)
            self.register_buffer("none", None)

    model = Odd()
    model.layer.weight.grad = kept = torch.full((2, 2), 3.0)
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.step()
    run = Stub(model, optimizer)
    before, hidden = digest(run), model.hidden.clone()
    with pytest.raises(ZeroDivisionError), preserved(run):
        model.train()
        model.seen = torch.ones(1)
        model.hidden.zero_()
        model.layer.weight.grad = None
        with torch.no_grad():
            model.layer.weight += random.random() + np.random.rand() + torch.rand(1)
        model.layer.bias.grad = torch.ones(2)
        optimizer.step()
        1 / 0  # noqa: B018
    assert digest(run) == before and torch.equal(model.hidden, hidden) and model.layer.weight.grad is kept


class Stub:
    """As much of a run as its state needs."""

    def __init__(self, model, optimizer):
        from trainer.engine.progress import Progress

        self.model, self.optimizer, self.device = model, optimizer, torch.device("cpu")
        self.averaging = None
        self.progress = Progress(losses=torch.zeros(1))


def test_the_steps_are_those_of_the_loop(composed, tmp_path):
    """At one constant rate the losses are the training losses that a run with a constant schedule logs."""
    words = (
        *SMALL,
        "optimizer=adam",
        "reg=[dropout,grad_noise]",
        "aug=[mixup]",
        "sched=constant",
        "epochs=3",
        "log_every=1",
    )
    cfg, run = built(composed, *words)
    losses = [*training_losses(run, [rates_of(cfg, run)(1e-3)] * 8)]
    recorder = Recorder(tmp_path, run.data.task)
    fit(run, recorder, Console(silent=True))
    recorder.close()
    logged = [row["loss"] for row in recorder.rows if row["split"] == "train"]
    assert losses == pytest.approx(logged, rel=1e-6)


def test_the_rates_rise_by_one_factor_and_the_losses_are_those_after_each_step(composed):
    """SGD on a line, by hand: w -= lr g for each batch, the loss of the next one at the new weights."""
    cfg, run = built(composed, "data=diabetes", "model=linear", "optimizer=sgd", "batch_size=full", "threads=1")
    images, targets = run.train.batch(torch.arange(len(run.train)))
    (weight, bias), x = (
        [each.detach().double().numpy().copy() for each in run.model.parameters()],
        images.double().numpy(),
    )
    y, expected, rates = targets.double().numpy(), [], 1e-3 * 10 ** np.linspace(0, 2, 12)
    for rate in rates:
        error = x @ weight.T + bias - y
        weight -= rate * 2 * (error.T @ x) / len(x)
        bias -= rate * 2 * error.mean(0)
        expected.append(((x @ weight.T + bias - y) ** 2).mean())
    test = range_test(run, rates_of(cfg, run), 1e-3, 0.1, 12)
    np.testing.assert_allclose(test.rates, rates, rtol=1e-12)
    np.testing.assert_allclose(test.losses, expected, rtol=1e-4)  # float32


@pytest.mark.parametrize(
    "words, follows, at_one",
    [
        (("optimizer=adam",), [True], [1.0]),
        (("optimizer=muon", "optimizer.adamw_lr=0.004"), [True, False, False], [1.0, 0.004, 0.004]),
        (("optimizer=lookahead", "optimizer@optimizer.base=adam"), [True, True], [1.0, 1.0]),
        (("optimizer=sgd", "scale_lr=linear", "base_batch=60"), [True], [0.5]),
    ],
)
def test_a_key_sets_the_rates_of_the_groups_that_go_by_it(words, follows, at_one, composed):
    cfg, run = built(composed, *SMALL, *words)
    rates = rates_of(cfg, run)
    assert [bool(factor) for factor in rates.factors] == follows
    assert rates(1.0) == pytest.approx(at_one) and rates.follow


def test_schedule_warm_up_and_averaging_are_left_out(composed):
    plain_words = (*SMALL, "sched=constant")
    others = (*SMALL, "sched=step", "sched.length=2st", "warmup=linear", "averaging=ema")
    found = []
    for words in (plain_words, others):
        cfg, run = built(composed, *words)
        found.append(range_test(run, rates_of(cfg, run), 1e-4, 1.0, 20).losses)
    assert found[0] == found[1]


def test_an_optimizer_that_fails_on_numbers_that_are_not_finite_ends_the_test(composed):
    cfg, run = built(composed, *SMALL)

    class Failing(torch.optim.SGD):
        def step(self, closure):
            if self.param_groups[0]["lr"] > 1e-3:
                raise torch.linalg.LinAlgError("the input matrix contained non-finite values")
            return super().step(closure)

    run = replace(run, optimizer=Failing(run.model.parameters(), lr=0.1))
    run.optimizer.param_groups[0]["base_lr"] = 0.1
    test = range_test(run, lambda rate: [rate], 1e-5, 1.0, 50)
    assert test.diverged and np.isnan(test.losses[-1]) and test.rates[-1] == pytest.approx(1e-3, rel=0.3)


def losses_of(*points):
    return np.interp(range(points[-1][0] + 1), *zip(*points)).tolist()


@pytest.mark.parametrize("back, stable", [(0.4, True), (0.6, False)])
def test_a_check_is_stable_where_it_never_loses_half_of_what_it_learns(back, stable):
    """From 2 down to 1, back up by a part of that for long, and down again."""
    made = losses_of((0, 2.0), (100, 1.0), (200, 1.0), (201, 1.0 + back), (300, 1.0 + back), (400, 1.0), (500, 1.0))
    assert Check(rate=0.1, losses=made).stable == stable
    assert Check(rate=0.1, losses=made).rise[0] == pytest.approx(back, abs=0.01)  # of the average


@pytest.mark.parametrize("end, learns", [(1.45, True), (1.55, False)])
def test_a_check_learns_where_it_ends_below_half_of_the_fall(end, learns):
    """The range test fell by 1 from 2."""

    class Curve:
        level, fall = 2.0, 1.0

    made = Check(rate=0.1, losses=losses_of((0, 2.0), (50, end), (100, end)))
    assert made.learns(Curve) == learns and made.end == pytest.approx(end)


def test_a_check_that_is_not_finite_is_neither_stable_nor_ends_anywhere():
    made = Check(rate=0.1, losses=[2.0, 1.0, float("nan")])
    assert not made.stable and made.end == float("inf") and made.steps == 2


def test_of_rates_that_fail_the_one_that_ends_lowest_is_taken(monkeypatch, composed):
    """The range test of a net that only looks stable at its suggestion: a lower rate is checked."""
    cfg, run = built(composed, "data=spirals", "model=deep_mlp", "optimizer=momentum", "seed=2", "threads=1")
    finding = find_rate(cfg, run, Invocation(), "optimizer.lr")
    ends = {each.rate: each.end for each in finding.checks}
    assert len(ends) > 1 and finding.rate == min(ends, key=ends.get) and not finding.checks[0].stable
    assert f"{finding.checks[0].rate}" in finding.reason


def test_batches_that_do_not_fit_are_halved_where_that_is_asked_for(composed):
    """The same steps, in two parts: the range test finds the same rate, up to rounding."""

    class Small(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.sizes = model, []

        def forward(self, images):
            self.sizes.append(len(images))
            if len(images) > 20:
                raise torch.OutOfMemoryError("out of memory")
            return self.model(images)

    cfg, run = built(composed, *SMALL, "on_oom=halve")
    whole = find_rate(cfg, run, Invocation(), "optimizer.lr")
    forward = Small(run.model)
    halved = find_rate(cfg, replace(run, forward=forward), Invocation(), "optimizer.lr")
    assert (halved.run.batch_size, halved.run.accumulate) == (15, 2) and halved.rate == whole.rate
    assert forward.sizes[0] == 30 and set(forward.sizes[1:]) == {15}
    cfg.on_oom = "stop"
    with pytest.raises(Exception, match="batch_size=30: does not fit into the memory of cpu"):
        find_rate(cfg, replace(run, forward=forward), Invocation(), "optimizer.lr")
    assert lr_finder.STEPS == 200
