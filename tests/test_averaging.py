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
    rng, seen = torch.Generator().manual_seed(5 + steps[0]), []
    for step in steps:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
        model(torch.randn(6, 3, generator=rng, dtype=torch.float64))
        seen.append({name: value.detach().numpy().copy() for name, value in model.named_parameters()})
        averaging.update(model, CLOCK.at(step))
    return seen


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


def test_nothing_scores_the_model_itself(model):
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
def test_swa_is_the_mean_of_the_weights_after_start_and_every_so_many_updates(start, every, taken, model):
    swa = Swa(model, start=start, every=every)
    seen = walk(model, swa)
    assert swa.count == len(taken)
    for name, value in swa.evaluated(model, loader(10)).named_parameters():
        expected = np.mean([seen[step][name] for step in taken], axis=0)
        assert_close(value.detach().numpy(), expected, rtol=1e-12, atol=1e-12)  # float64


def test_swa_scores_the_model_itself_before_its_start_and_then_leaves_it_alone(model):
    swa = Swa(model, start="11st", every="5st")
    walk(model, swa, range(10))
    assert swa.evaluated(model, loader(10)) is model
    last = walk(model, swa, range(10, 20))[-1]
    before = weights_digest(model)
    scored = swa.evaluated(model, loader(10))
    assert scored is not model and weights_digest(model) == before and model.training
    assert all(np.array_equal(value.detach().numpy(), last[name]) for name, value in model.named_parameters())


def wide():
    """Two batch norms, an activation and dropping between them."""
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


def test_swa_measures_batch_norms_anew_on_the_whole_training_split():
    model = wide()
    swa, train = Swa(model, start="1st", every="1st"), loader(200)
    walk(model, swa)
    scored = swa.evaluated(model, train)
    weights = {name: value.detach().numpy() for name, value in scored.named_parameters()}
    x = train.images.numpy()
    for dense, norm in (("0", "1"), ("4", "5")):
        x = x @ weights[f"{dense}.weight"].T + weights[f"{dense}.bias"]
        module = scored.get_submodule(norm)
        assert_close(module.running_mean.numpy(), x.mean(0), rtol=1e-10, atol=1e-10)  # float64
        assert_close(module.running_var.numpy(), x.var(0, ddof=1), rtol=1e-10, atol=1e-10)
        x = weights[f"{norm}.weight"] * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) + weights[f"{norm}.bias"]
        x = np.maximum(x, 0)
    assert [scored[1].momentum, scored[5].momentum] == [0.3, 0.1] and not any(
        module.training for module in scored.modules()
    )


def test_swas_statistics_over_several_batches_are_the_splits_also_where_it_is_sorted():
    model = wide()
    swa, train = Swa(model, start="1st", every="1st"), loader(1001, lambda images: images[images[:, 0].argsort()])
    walk(model, swa)
    scored = swa.evaluated(model, train)
    x = train.images.numpy() @ scored[0].weight.detach().numpy().T + scored[0].bias.detach().numpy()
    assert_close(
        scored[1].running_mean.numpy(), x.mean(0), rtol=1e-10, atol=1e-10
    )  # weighed by samples: 251 and three times 250
    # Of random batches each variance is the split's in the mean; four of 250 average to it within 5 sqrt(2 / 1000) = 22 %.
    assert_close(scored[1].running_var.numpy(), x.var(0, ddof=1), rtol=0.22, atol=0)


def test_swa_measures_again_after_a_further_update_and_not_before():
    model = wide()
    swa, train = Swa(model, start="1st", every="1st"), loader(50)
    for steps in (range(3), range(3, 6)):
        walk(model, swa, steps)
        scored = swa.evaluated(model, train)
        assert swa.evaluated(model, None) is scored
        x = train.images @ scored[0].weight.T + scored[0].bias
        assert_close(scored[1].running_mean, x.mean(0).detach(), rtol=1e-10, atol=1e-10)  # float64


@pytest.mark.parametrize(
    "make", [lambda model: Ema(model, decay=0.9), lambda model: Swa(model, start="5st", every="2st")]
)
def test_an_average_taken_up_from_its_state_goes_on_as_if_never_left(make, tmp_path):
    one, train = wide(), loader(60)
    whole = make(one)
    walk(one, whole, range(9))
    torch.save({"model": one.state_dict(), "averaging": whole.state_dict()}, tmp_path / "state.pt")
    torch.manual_seed(0)  # of the dropping
    walk(one, whole, range(9, 16))

    other = wide()
    again = make(other)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other.load_state_dict(state["model"])
    again.load_state_dict(state["averaging"])
    torch.manual_seed(0)
    walk(other, again, range(9, 16))
    assert weights_digest(again.evaluated(other, train)) == weights_digest(whole.evaluated(one, train))


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_the_run_is_the_same_whatever_is_averaged_beside_it(averaging, fitted):
    words = ("model=mlp", "model.hidden=[8]", "norm=batch", "epochs=4", "threads=1")
    plain, plain_curves = fitted(*words)
    run, curves = fitted(*words, f"averaging={averaging}")
    assert weights_digest(run.model) == weights_digest(plain.model)
    scores, plain_scores = (
        [row["loss"] for row in each.rows if row["split"] == "val"] for each in (curves, plain_curves)
    )
    assert scores[-1] != plain_scores[-1] and (averaging == "ema" or scores[:2] == plain_scores[:2])


@pytest.mark.parametrize("field", ["start", "every"])
def test_swa_refuses_a_length_without_a_unit(field, model):
    with pytest.raises(ValueError, match="a length must be a number with a unit"):
        Swa(model, **{field: "3"})


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_ema_refuses_a_decay_outside_the_open_interval(decay, model):
    with pytest.raises(ValueError, match=rf"decay must be in \(0, 1\), got {decay}"):
        Ema(model, decay=decay)
