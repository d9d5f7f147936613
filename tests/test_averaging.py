"""Averages of weights against the recursion written out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from trainer.averaging import Ema, Identity, Swa
from trainer.base.clock import Clock
from trainer.data.loader import Loader
from trainer.data.splits import Split
from trainer.norm import Batch
from trainer.rundir.checkpoint import weights_digest

CLOCK = Clock(total_steps=20, steps_per_epoch=5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), Batch()(4), nn.Linear(4, 2)).double()


def loader(samples, order=lambda images: images):
    images = torch.randn(samples, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return Loader(Split(order(images), torch.zeros(samples, 2)), lambda images: images, torch.device("cpu"))


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
    for name, value in ema.evaluated(model, None).named_parameters():
        assert_close(value.detach().numpy(), expected[name], rtol=1e-12, atol=1e-12)  # 20 float64 blends


def test_ema_without_warm_up_is_the_geometric_sum():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 8.0)
    ema = Ema(model, decay=0.5, warmup=False)
    nn.init.constant_(model.weight, 0.0)
    for step in range(3):
        ema.update(model, CLOCK.at(step))
    assert ema.evaluated(model, None).weight.item() == 1.0


def test_ema_copies_buffers_and_leaves_the_model_alone(model):
    ema = Ema(model)
    last = walk(model, ema)[-1]
    assert all(np.array_equal(value.detach().numpy(), last[name]) for name, value in model.named_parameters())
    buffers = dict(ema.evaluated(model, None).named_buffers())
    assert buffers.keys() == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert buffers["1.num_batches_tracked"] == 20


def test_without_an_average_the_model_itself_is_evaluated(model):
    averaging = Identity(model)
    averaging.update(model, CLOCK)
    assert averaging.evaluated(model, None) is model


@pytest.mark.parametrize(
    ("start", "every", "taken"),
    [
        ("50%", "3st", [9, 12, 15, 18]),
        ("2ep", "1ep", [9, 14, 19]),
        ("1st", "1st", list(range(20))),
        ("20st", "1ep", [19]),
        ("75%", "1ep", [14, 19]),
    ],
)
def test_swa_is_the_mean_of_the_weights_after_start_and_then_every_so_many_steps(start, every, taken, model):
    swa = Swa(model, start=start, every=every)
    trail = walk(model, swa)
    assert swa.count == len(taken)
    for name, value in swa.evaluated(model, loader(10)).named_parameters():
        expected = np.mean([trail[step][name] for step in taken], axis=0)
        assert_close(value.detach().numpy(), expected, rtol=1e-12, atol=1e-12)  # float64


def test_swa_evaluates_the_model_itself_before_its_start_and_then_leaves_it_alone(model):
    swa = Swa(model, start="11st", every="5st")
    walk(model, swa, range(10))
    assert swa.evaluated(model, loader(10)) is model
    last = walk(model, swa, range(10, 20))[-1]
    before = weights_digest(model)
    evaluated = swa.evaluated(model, loader(10))
    assert evaluated is not model and weights_digest(model) == before and model.training
    assert all(np.array_equal(value.detach().numpy(), last[name]) for name, value in model.named_parameters())


def wide():
    """Make two batch norms with an activation and dropout between them."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(3, 6),
        Batch(momentum=0.3)(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(6, 4),
        Batch()(4),
        nn.Linear(4, 2),
    ).double()


def test_swa_recomputes_batch_norms_on_the_whole_training_split():
    model = wide()
    swa, train = Swa(model, start="1st", every="1st"), loader(200)
    walk(model, swa)
    evaluated = swa.evaluated(model, train)
    weights = {name: value.detach().numpy() for name, value in evaluated.named_parameters()}
    x = train.images.numpy()
    for dense, norm in (("0", "1"), ("4", "5")):
        x = x @ weights[f"{dense}.weight"].T + weights[f"{dense}.bias"]
        module = evaluated.get_submodule(norm)
        assert_close(module.running_mean.numpy(), x.mean(0), rtol=1e-10, atol=1e-10)  # float64
        assert_close(module.running_var.numpy(), x.var(0, ddof=1), rtol=1e-10, atol=1e-10)
        x = weights[f"{norm}.weight"] * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) + weights[f"{norm}.bias"]
        x = np.maximum(x, 0)
    assert [evaluated[1].momentum, evaluated[5].momentum] == [0.3, 0.1]
    assert not any(module.training for module in evaluated.modules())


def test_swas_statistics_over_several_batches_are_the_splits_also_where_it_is_sorted():
    model = wide()
    swa, train = Swa(model, start="1st", every="1st"), loader(1001, lambda images: images[images[:, 0].argsort()])
    walk(model, swa)
    evaluated = swa.evaluated(model, train)
    x = train.images.numpy() @ evaluated[0].weight.detach().numpy().T + evaluated[0].bias.detach().numpy()
    # Weighed by samples: 251 and three times 250.
    assert_close(evaluated[1].running_mean.numpy(), x.mean(0), rtol=1e-10, atol=1e-10)
    # The variance of random batches is the split's in the mean: four of 250 come within 5 sqrt(2 / 1000) = 22 %.
    assert_close(evaluated[1].running_var.numpy(), x.var(0, ddof=1), rtol=0.22, atol=0)


def test_swa_recomputes_batch_norms_only_after_a_further_step():
    model = wide()
    swa, train = Swa(model, start="1st", every="1st"), loader(50)
    for steps in (range(3), range(3, 6)):
        walk(model, swa, steps)
        evaluated = swa.evaluated(model, train)
        assert swa.evaluated(model, None) is evaluated
        x = train.images @ evaluated[0].weight.T + evaluated[0].bias
        assert_close(evaluated[1].running_mean, x.mean(0).detach(), rtol=1e-10, atol=1e-10)  # float64


@pytest.mark.parametrize(
    "make", [lambda model: Ema(model, decay=0.9), lambda model: Swa(model, start="5st", every="2st")]
)
def test_an_average_resumed_from_its_state_is_the_uninterrupted_one(make, tmp_path):
    one, train = wide(), loader(60)
    whole = make(one)
    walk(one, whole, range(9))
    torch.save({"model": one.state_dict(), "averaging": whole.state_dict()}, tmp_path / "state.pt")
    torch.manual_seed(0)  # of the dropout
    walk(one, whole, range(9, 16))

    other = wide()
    again = make(other)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other.load_state_dict(state["model"])
    again.load_state_dict(state["averaging"])
    torch.manual_seed(0)
    walk(other, again, range(9, 16))
    assert weights_digest(again.evaluated(other, train)) == weights_digest(whole.evaluated(one, train))


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
