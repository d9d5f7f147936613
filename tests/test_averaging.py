"""Averages of weights against the recursion written out."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from trainer.averaging import Ema, Identity, Snapshots, Swa
from trainer.base.clock import Clock
from trainer.norm import Batch
from trainer.rundir.checkpoint import weights_digest
from trainer.sched.cyclic import CosineRestarts
from trainer.sched.decay import Cosine

CLOCK = Clock(total_steps=20, steps_per_epoch=5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), Batch()(4), nn.Linear(4, 2)).double()


def walk(model, averaging, steps=range(20)):
    """Move the weights and the running statistics at random; return each step's weights as NumPy."""
    rng, trail = torch.Generator().manual_seed(5 + steps[0]), []
    for step in steps:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
        model(torch.randn(6, 3, generator=rng, dtype=torch.float64))
        trail.append({name: value.detach().numpy().copy() for name, value in model.named_parameters()})
        averaging.update(model, CLOCK.at(step))
    return trail


@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_ema_is_the_recursion_of_the_weights(decay, warmup, model):
    expected = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    ema = Ema(model, decay=decay, warmup=warmup)
    for t, weights in enumerate(walk(model, ema)):
        d = min(decay, (1 + t) / (10 + t)) if warmup else decay
        expected = {name: d * average + (1 - d) * weights[name] for name, average in expected.items()}
    for name, value in ema.evaluated(model).named_parameters():
        assert_close(value.detach().numpy(), expected[name], rtol=1e-12, atol=1e-12)  # 20 float64 blends


def test_ema_without_warm_up_is_the_geometric_sum():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 8.0)
    ema = Ema(model, decay=0.5, warmup=False)
    nn.init.constant_(model.weight, 0.0)
    for step in range(3):
        ema.update(model, CLOCK.at(step))
    assert ema.evaluated(model).weight.item() == 1.0


def test_ema_copies_buffers_and_leaves_the_model_alone(model):
    ema = Ema(model)
    last = walk(model, ema)[-1]
    assert all(np.array_equal(value.detach().numpy(), last[name]) for name, value in model.named_parameters())
    buffers = dict(ema.evaluated(model).named_buffers())
    assert buffers.keys() == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert buffers["1.num_batches_tracked"] == 20


def test_without_an_average_the_model_itself_is_evaluated(model):
    averaging = Identity(model)
    averaging.update(model, CLOCK)
    assert averaging.evaluated(model) is model


@pytest.mark.parametrize(
    ("start", "every", "taken"),
    [
        ("50%", "3st", [9, 12, 15, 18]),
        ("2ep", "1ep", [9, 14, 19]),
        ("1st", "1st", list(range(20))),
        ("20st", "1ep", [19]),
        ("75%", "1ep", [14, 19]),
        ("55%", "1ep", [14, 19]),  # 11 steps: in mid-epoch
        ("11st", "1ep", [10, 15]),
    ],
)
def test_swa_is_the_mean_of_the_weights_after_start_and_then_every_so_many_steps(start, every, taken, model):
    swa = Swa(model, start=start, every=every)
    trail = walk(model, swa)
    assert swa.count == len(taken)
    for name, value in swa.evaluated(model).named_parameters():
        expected = np.mean([trail[step][name] for step in taken], axis=0)
        assert_close(value.detach().numpy(), expected, rtol=1e-12, atol=1e-12)  # float64


def test_a_start_in_percent_of_a_run_that_ends_in_mid_epoch_is_not_put_off_beyond_its_end():
    model, clock = nn.Linear(1, 1), Clock(total_steps=8, steps_per_epoch=5)
    swa = Swa(model, start="75%")
    for step in range(8):
        swa.update(model, clock.at(step))
    assert swa.count == 1


def test_swa_evaluates_the_model_itself_before_its_start_and_then_leaves_it_alone(model):
    swa = Swa(model, start="11st", every="5st")
    walk(model, swa, range(10))
    assert swa.evaluated(model) is model
    last = walk(model, swa, range(10, 20))[-1]
    before = weights_digest(model)
    evaluated = swa.evaluated(model)
    assert evaluated is not model and weights_digest(model) == before and model.training
    assert all(np.array_equal(value.detach().numpy(), last[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize(
    "make", [lambda model: Ema(model, decay=0.9), lambda model: Swa(model, start="5st", every="2st")]
)
def test_an_average_resumed_from_its_state_is_the_uninterrupted_one(make, tmp_path, model):
    one = copy.deepcopy(model)
    whole = make(one)
    walk(one, whole, range(9))
    torch.save({"model": one.state_dict(), "averaging": whole.state_dict()}, tmp_path / "state.pt")
    walk(one, whole, range(9, 16))

    other = model
    again = make(other)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other.load_state_dict(state["model"])
    again.load_state_dict(state["averaging"])
    walk(other, again, range(9, 16))
    assert weights_digest(again.evaluated(other)) == weights_digest(whole.evaluated(one))


def test_the_weights_of_a_run_do_not_depend_on_the_average_beside_them(fitted):
    overrides = ("model=mlp", "model.hidden=[8]", "norm=batch", "epochs=4", "threads=1")
    digests, losses = {}, {}
    for averaging in ("none", "ema", "swa"):
        run, curves = fitted(*overrides, f"averaging={averaging}")
        digests[averaging] = weights_digest(run.model)
        losses[averaging] = [row["loss"] for row in curves.rows if row["split"] == "val"]
    assert digests["ema"] == digests["swa"] == digests["none"]
    assert losses["none"][-1] not in (losses["ema"][-1], losses["swa"][-1])
    assert losses["swa"][:2] == losses["none"][:2]  # before its start


@pytest.mark.parametrize("field", ["start", "every"])
def test_swa_refuses_a_length_without_a_unit(field, model):
    with pytest.raises(ValueError, match="a length must be a number with a unit"):
        Swa(model, **{field: "3"})


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_ema_refuses_a_decay_outside_the_open_interval(decay, model):
    with pytest.raises(ValueError, match=rf"decay must be in \(0, 1\), got {decay}"):
        Ema(model, decay=decay)


@pytest.mark.parametrize(
    ("every", "sched", "steps"),
    [
        (None, CosineRestarts(length="1ep", growth=1.0), [5, 10, 15, 20]),
        (None, CosineRestarts(length="2st", growth=2.0), [2, 6, 14]),  # 2, 4 and 8 steps; the last cycle is cut short
        (None, CosineRestarts(length="3st", growth=1.5), [3, 8, 15]),  # 3, 4.5 and 6.75 steps: 3, 7.5, 14.25
        (None, Cosine(), [20]),
        ("8st", Cosine(), [8, 16]),
        ("25%", CosineRestarts(), [5, 10, 15, 20]),
    ],
)
def test_snapshots_are_the_weights_at_the_ends_of_the_cycles(every, sched, steps, model):
    kept = Snapshots(model, every=every)
    kept.follow(sched)
    trail = walk(model, kept)
    assert [*kept.snapshots] == steps and kept.evaluated(model) is model
    for step, weights in kept.snapshots.items():
        assert all(np.array_equal(weights[name].numpy(), value) for name, value in trail[step - 1].items())
    other = Snapshots(model)
    other.load_state_dict(kept.state_dict())
    assert [*other.snapshots] == steps and all(
        torch.equal(value, kept.snapshots[step][name])
        for step, weights in other.snapshots.items()
        for name, value in weights.items()
    )


def test_the_last_step_of_a_run_ends_a_cycle_that_rounding_has_made_too_long(model):
    """103 steps, 20% of them is 21: cycles end at 21, 42, 63, 84 and, two steps early, 103."""
    now, kept = Clock(total_steps=103, steps_per_epoch=10), Snapshots(model, every="20%")
    for step in range(103):
        kept.update(model, now.at(step))
    assert [*kept.snapshots] == [21, 42, 63, 84, 103]
    kept = Snapshots(model, every="30st")
    for step in range(103):
        kept.update(model, now.at(step))
    assert [*kept.snapshots] == [30, 60, 90]  # 17 of 30 steps are missing
