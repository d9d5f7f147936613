"""Two ranks take the steps of one process: the same curves, weights and scores, whatever draws, mixes or averages."""

import json
import os
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
import torch.nn.functional as F
from hydra import compose
from omegaconf import DictConfig
from rank_processes import start
from torch import Tensor, nn

from trainer.base import ranks
from trainer.base.errors import UserError
from trainer.config.hydra_context import Invocation, initialized
from trainer.data.loader import Loader
from trainer.data.splits import Split
from trainer.engine.build import build_run
from trainer.engine.evaluate import counting
from trainer.engine.followers import follow, leading, require_shareable
from trainer.engine.loop import fit, never
from trainer.engine.run import Run
from trainer.engine.whole_batch import Draws, FindDraws, SharedDraws, SharedNorms
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

SMALL = ["data.train_samples=100", "model=mlp", "epochs=6st", "batch_size=35", "log_every=1"]
SMALL += ["eval_every=3st", "threads=1", "device=cpu", "optimizer=momentum"]
IMAGES = ["model=cnn", "batch_size=50", "epochs=2st"]
CASES = {
    "plain": [],
    "uneven": ["batch_size=99"],  # 100 samples: the last batch of an epoch has one, which no two ranks can share
    "batch norm": ["norm=batch"],
    "dropout": ["reg=[dropout]"],
    "dropconnect": ["reg=[dropconnect]"],
    "both": ["reg=[dropout,dropconnect]", "norm=batch"],
    "spatial dropout": [*IMAGES, "reg=[spatial_dropout]"],
    "stochastic depth": ["model=resnet20", "reg=[stochastic_depth,dropout]", "batch_size=20", "epochs=2st"],
    "fractional pooling": [*IMAGES, "pool=fractional"],
    "augmented": [*IMAGES, "aug=[crop,flip,rotate,mixup,cutmix,noise]"],
    "penalties": ["reg=[l2,l1_proximal,label_smoothing,max_norm]"],
    "gradient edits": ["reg=[grad_clip,grad_noise]"],
    "hard examples": ["sampler=hard_examples"],
    "accumulated": ["accumulate=2", "batch_size=25", "reg=[dropout]"],
    "sam": ["optimizer=sam"],
    "lbfgs": ["optimizer=lbfgs", "optimizer.max_iter=5", "epochs=1st"],
    "muon": ["optimizer=muon"],
    "wrapped": ["optimizer=lookahead"],
    "shampoo": ["optimizer=shampoo"],
    "schedule free": ["optimizer=schedule_free"],
    "ema": ["averaging=ema", "norm=batch"],
    "plateau": ["sched=plateau", "sched.patience=0"],
    "regression": ["data=diabetes"],
    "skips": ["on_nan=skip"],
}
REFUSED = {
    "kfac": (["optimizer=kfac"], "optimizer=kfac: sees the samples of one rank alone (devices=2); try devices=1"),
    "newton": (["optimizer=newton", "model=linear"], "optimizer=newton: differentiates a gradient that is one rank's"),
    "compiled": (["compile=step"], "compile=step: cannot trace the sums over the ranks (devices=2); try devices=1"),
    "halved": (["on_oom=halve"], "on_oom=halve: memory that one rank lacks stops the others (devices=2)"),
    "mixing": (["act._target_=test_ranks.Mixing", "allow=[test_ranks]"], "devices=2: a layer of the model mixes"),
    "different": (
        ["+reg.weights.tamper._target_=test_ranks.Tamper", "allow=[test_ranks]"],
        "devices=2: rank 1 has other weights than rank 0 after step 3",
    ),
}


CURVES = ("loss", "accuracy", "r2", "lr")
NORMS = ("grad_norm", "update_ratio", "param_norm", "grad_kept")

SIZES = (1, 7, 13)  # of evaluations
PROJECTION = torch.randn(108, 5, generator=torch.Generator().manual_seed(0))
DRAWING = {
    "dropout": lambda x: F.dropout(x, 0.5),
    "channels last": lambda x: F.dropout(x.to(memory_format=torch.channels_last), 0.5),
    "transposed": lambda x: F.dropout(x.transpose(1, 3), 0.5),
    "channels": lambda x: F.dropout2d(x, 0.5),
    "alpha": lambda x: F.alpha_dropout(x, 0.5, training=True),
    "noise": lambda x: x + torch.randn_like(x),
    "by size": lambda x: x * torch.rand(len(x), 1, 1, 1),
    "gumbel": lambda x: F.gumbel_softmax(x.flatten(1)),
    "multinomial": lambda x: torch.multinomial(x.flatten(1).softmax(1) + 0.01, 3),
    "pooling": lambda x: F.fractional_max_pool2d(x, 2, output_ratio=(0.6, 0.6)),
    "tokens": lambda x: F.dropout(x.reshape(len(x) * 3, 36), 0.5).reshape(x.shape),
    "weights": lambda x: x.flatten(1) @ F.dropout(PROJECTION, 0.5),
    "one for all": lambda x: x * torch.rand(()),
    "none": lambda x: x + 1,
}


class Mixing(nn.Module):
    """Activation that subtracts the mean of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Tamper:
    """Edit of the weights that only rank 1 makes, in the third step."""

    def __call__(self, model, optimizer, now):
        if os.environ.get("RANK") == "1" and now.step == 2:
            with torch.no_grad():
                next(model.parameters()).flatten()[0] += 1e-6


def compare(cases: dict, folder: Path) -> None:
    """Train each case alone and together with the other rank, and write what both have recorded; for every rank."""
    ranks.begin()
    if ranks.place.rank:
        follow()
        return
    with ranks.dismissed():
        for name, words in cases.items():
            try:
                found = {"alone": recorded(words, alone=True), "together": recorded(words, alone=False)}
            except UserError as error:
                found = {"error": str(error)}
            except Exception:
                found = {"error": traceback.format_exc()}
            (folder / f"{name}.json").write_text(json.dumps(found))


def built(*words: str) -> tuple[Run, DictConfig, Invocation]:
    """Return a small run of some overrides, the last of each key, with its configuration and its invocation."""
    last = {word.partition("=")[0]: word for word in (*SMALL, *words)}
    with initialized():
        cfg = compose("config", [*last.values()])
    invocation = Invocation(overrides=tuple(last.values()), choices={"optimizer": last["optimizer"].partition("=")[2]})
    return build_run(cfg, invocation), cfg, invocation


def recorded(words: list[str], alone: bool) -> dict:
    """Return rows and weights of a training of some steps, by this process alone or with the others."""
    run, cfg, invocation = built(*words)
    require_shareable(run, cfg, invocation)
    train = fit if alone else leading(cfg, invocation)
    with TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), run.data.task)
        train(run, recorder, Console(silent=True), never)
        recorder.close()
    with run.evaluation_model() as model:
        weights = {name: value.flatten().tolist() for name, value in model.state_dict().items()}
    return {"rows": recorder.rows, "weights": weights, "losses": run.progress.losses.tolist()}


def layers_and_scores(folder: Path) -> None:
    """Write what layers and evaluations give by this rank's share, and what they give by the whole; for every rank."""
    ranks.begin()
    ranks.connect()
    found = {f"{size} samples": scores(size) for size in SIZES}
    with ranks.joined():
        found |= {f"norm of {size}": norms(size) for size in (2, 7)}
        found |= {name: draw(layer) for name, layer in DRAWING.items()}
    torch.save(found, folder / f"{ranks.place.rank}.pt")


def scores(size: int) -> tuple[dict, dict]:
    """Return scores and counts of the first validation samples, by shares of batches of 4, and by the whole."""
    run, *_ = built("eval_batch_size=4")
    val = run.data.val
    split = Loader(Split(val.images[:size], val.targets[:size]), run.train.preprocess, run.device)
    found = []
    for shared in (True, False):
        counts = run.no_confusion()
        with ranks.joined() if shared else nullcontext():
            score = run.evaluate(run.model, split, observe=counting(counts), shared=shared)
            ranks.sum_in_place(counts)
        found.append({**score, "counts": counts})
    return tuple(found)


def norms(size: int) -> tuple[dict, dict]:
    """Return outputs, gradients and running statistics of a batch norm, by shares and by the whole, for its rows."""
    rows, found = ranks.share(size), []
    for own in (rows, slice(None)):
        torch.manual_seed(0)
        images, weights = 3 + 2 * torch.randn(size, 3, 4, 4), torch.randn(size, 3, 4, 4)
        layer, x = nn.BatchNorm2d(3), images[own].clone().requires_grad_()
        nn.init.normal_(layer.weight)
        with SharedNorms() if own is rows else nullcontext():
            outputs = layer(x)
        (outputs * weights[own]).sum().backward()
        grads = [layer.weight.grad, layer.bias.grad]
        grads = [ranks.sum_in_place(grad) for grad in grads] if own is rows else grads
        place = slice(None) if own is rows else rows
        values = {"outputs": outputs.detach()[place], "x": x.grad[place], "weight": grads[0], "bias": grads[1]}
        found.append(values | {name: value.clone() for name, value in layer.named_buffers()})
    return tuple(found)


def draw(layer: Callable[[Tensor], Tensor]) -> tuple[dict, dict]:
    """Return this rank's rows of what a layer makes of 7 samples, by the share and by the whole."""
    passes = []
    for samples in (5, 11):
        with FindDraws() as draws:
            layer(torch.ones(samples, 3, 6, 6))
        passes.append((samples, draws.found))
    rows, images = ranks.share(7), torch.arange(1.0, 7 * 108 + 1).view(7, 3, 6, 6)
    torch.manual_seed(1)
    with SharedDraws(Draws(passes), rows, 7):
        own = layer(images[rows])
    after = torch.rand(())
    torch.manual_seed(1)
    return {"rows": own, "after": after}, {"rows": layer(images)[rows], "after": torch.rand(())}


@pytest.fixture(scope="module")
def by_rank(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("layers")
    started = start(layers_and_scores, folder, errors=folder / "errors")
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0], (folder / "errors").read_text()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("size", SIZES)
def test_shares_of_an_evaluation_give_the_scores_of_the_whole(by_rank, size):
    for found in by_rank:
        shared, whole = found[f"{size} samples"]
        assert shared["counts"].sum() == size
        assert torch.equal(shared.pop("counts"), whole.pop("counts"))
        assert shared == pytest.approx(whole, rel=1e-6)  # rounding of smaller matrices
        assert shared["accuracy"] * size == pytest.approx(round(shared["accuracy"] * size))


@pytest.mark.parametrize("size", [2, 7])
def test_a_batch_norm_takes_the_statistics_of_all_ranks(by_rank, size):
    for found in by_rank:
        shared, whole = found[f"norm of {size}"]
        for name, value in whole.items():
            assert torch.allclose(shared[name], value, rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("name", DRAWING)
def test_a_rank_draws_its_rows_of_what_one_process_draws(by_rank, name):
    for found in by_rank:
        shared, whole = found[name]
        assert torch.equal(shared["rows"], whole["rows"])
        assert torch.equal(shared["after"], whole["after"])


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    refused = {name: words for name, (words, _) in REFUSED.items()}
    started = start(compare, {**refused, **CASES}, folder, errors=folder / "errors")
    for process in started:
        process.join(300)
    assert [process.exitcode for process in started] == [0, 0], (folder / "errors").read_text()
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_take_the_steps_of_one_process(results, name):
    found = json.loads((results / f"{name}.json").read_text())
    assert "error" not in found, found["error"]
    alone, together = found["alone"], found["together"]
    assert [(row["step"], row["split"]) for row in together["rows"]] == [
        (row["step"], row["split"]) for row in alone["rows"]
    ]
    for row, expected in zip(together["rows"], alone["rows"]):
        for keys, tolerance in ((CURVES, 1e-5), (NORMS, 1e-4)):
            values = {key: expected[key] for key in keys if key in expected}
            assert {key: row.get(key) for key in values} == pytest.approx(values, rel=tolerance, abs=1e-5), row["step"]
    for key, weights in together["weights"].items():
        assert weights == pytest.approx(alone["weights"][key], rel=1e-4, abs=1e-4), key
    assert together["losses"] == pytest.approx(alone["losses"], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_ranks_cannot_share_is_refused(results, name):
    found = json.loads((results / f"{name}.json").read_text())
    assert found["error"].startswith(REFUSED[name][1])
