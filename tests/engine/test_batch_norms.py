"""Statistics of batch norms for weights that were never trained, against NumPy."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from trainer.data.loader import Loader
from trainer.data.splits import Split
from trainer.engine.batch_norms import recomputed_statistics
from trainer.norm import Batch
from trainer.optimizer.base import HasEvaluationPoint
from trainer.rundir.checkpoint import weights_digest


def loader(samples, order=lambda images: images):
    images = torch.randn(samples, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return Loader(Split(order(images), torch.zeros(samples, 2)), lambda images: images, torch.device("cpu"))


@pytest.fixture
def model():
    """Two batch norms with an activation and dropout between them, and statistics that fit no weights."""
    torch.manual_seed(1)
    first, second = Batch(momentum=0.3)(6), Batch()(4)
    layers = [nn.Linear(3, 6), first, nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 4), second, nn.Linear(4, 2)]
    model = nn.Sequential(*layers).double()
    for _ in range(3):
        model(torch.randn(6, 3, dtype=torch.float64))
    return model


def test_the_statistics_are_those_of_the_whole_training_split_and_the_old_ones_come_back(model):
    before, train = weights_digest(model), loader(200)
    with recomputed_statistics(model, train, 512):
        weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
        x = train.images.numpy()
        for dense, norm in (("0", "1"), ("4", "5")):
            x = x @ weights[f"{dense}.weight"].T + weights[f"{dense}.bias"]
            module = model.get_submodule(norm)
            assert_close(module.running_mean.numpy(), x.mean(0), rtol=1e-10, atol=1e-10)  # float64
            assert_close(module.running_var.numpy(), x.var(0, ddof=1), rtol=1e-10, atol=1e-10)
            x = weights[f"{norm}.weight"] * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) + weights[f"{norm}.bias"]
            x = np.maximum(x, 0)
        assert [model[1].momentum, model[5].momentum] == [0.3, 0.1] and model.training
    assert weights_digest(model) == before


@pytest.mark.parametrize("batch_size", [1, 300])
def test_over_several_batches_they_are_the_splits_also_where_it_is_sorted(batch_size, model):
    train = loader(1001, lambda images: images[images[:, 0].argsort()])
    with recomputed_statistics(model, train, batch_size):
        x = train.images.numpy() @ model[0].weight.detach().numpy().T + model[0].bias.detach().numpy()
        assert_close(model[1].running_mean.numpy(), x.mean(0), rtol=1e-10, atol=1e-10)  # weighed by samples
        # The variance of random batches is the split's in the mean: 1001 values come within 5 sqrt(2 / 1000) = 22 %.
        assert_close(model[1].running_var.numpy(), x.var(0, ddof=1), rtol=0.22, atol=0)


def test_an_error_during_an_evaluation_brings_the_old_statistics_back(model):
    before = weights_digest(model)
    with pytest.raises(RuntimeError, match="no memory"), recomputed_statistics(model, loader(20), 512):
        raise RuntimeError("no memory")
    assert weights_digest(model) == before


SMALL = ("model=mlp", "model.hidden=[8]", "norm=batch", "epochs=4", "preprocess=none", "threads=1")
UNTRAINED = [
    ("averaging=ema", "averaging.warmup=false"),
    ("averaging=ema",),
    ("averaging=swa",),
    ("optimizer=lookahead", "optimizer.k=7"),
    ("optimizer=ranger", "optimizer.k=7"),
    ("optimizer=schedule_free",),
    ("optimizer=sam", "optimizer@optimizer.base=schedule_free"),
    ("optimizer=lookahead", "optimizer.k=7", "averaging=swa"),
]


@pytest.mark.parametrize("words", UNTRAINED, ids=" ".join)
def test_weights_that_no_step_has_had_are_evaluated_with_statistics_of_their_own(words, fitted):
    run, _ = fitted(*SMALL, *words)
    trained = weights_digest(run.model)
    with run.evaluation_model() as model:
        dense = next(layer for layer in model.modules() if isinstance(layer, nn.Linear))
        norm = next(layer for layer in model.modules() if hasattr(layer, "running_mean"))
        x = run.train.images.flatten(1).double().numpy() @ dense.weight.detach().double().numpy().T
        assert dense.bias is None
        assert_close(norm.running_mean.double().numpy(), x.mean(0), rtol=1e-4, atol=1e-5)  # float32
    assert weights_digest(run.model) == trained


@pytest.mark.parametrize("words", [(), ("optimizer=sam",), ("averaging=swa", "averaging.start=9ep")])
def test_the_weights_of_the_last_step_keep_the_running_averages(words, fitted):
    run, _ = fitted(*SMALL, *words)
    assert ("optimizer=sam" in words) == isinstance(run.optimizer, HasEvaluationPoint)
    trained = weights_digest(run.model)
    with run.evaluation_model() as model:
        assert weights_digest(model) == trained
