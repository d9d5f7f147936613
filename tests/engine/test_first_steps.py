"""The first steps of a run, which explain it: the fresh network, log points at powers of two, runs of a few steps."""

import math
import shutil

import pytest
import torch
import torch.nn.functional as F
from conftest import command, only_run
from torch import nn

from trainer.engine.build import build_run
from trainer.rundir.checkpoint import weights_digest
from trainer.rundir.reader import read_rows, read_summary

SMALL = ("model=mlp", "model.hidden=[8]", "threads=1")


def test_log_points_are_the_powers_of_two_up_to_64_and_then_every_so_many_steps(fitted):
    _, recorder = fitted(*SMALL, "epochs=10", "eval_every=10ep", "log_every=70")
    steps = [row["step"] for row in recorder.rows if row["split"] == "train"]
    assert steps == [1, 2, 4, 8, 16, 32, 64, 70, 140, 200]
    assert all(row["grad_norm"] > 0 and row["update_ratio"] > 0 for row in recorder.rows if row["split"] == "train")


def test_the_first_row_is_the_loss_of_the_fresh_network_and_no_evaluation_to_stop_or_choose_by(fitted, composed):
    words = (*SMALL, "epochs=2")
    run, recorder = fitted(*words)
    fresh = build_run(composed(*words))
    images, targets = fresh.val.batch(torch.arange(len(fresh.val)))
    with torch.no_grad():
        outputs = fresh.model.eval()(images)
    first = recorder.rows[0]
    assert (first["step"], first["split"]) == (0, "val")
    assert first["loss"] == pytest.approx(F.cross_entropy(outputs, targets.argmax(1)).item(), rel=1e-5)  # float32
    assert first["accuracy"] == pytest.approx((outputs.argmax(1) == targets.argmax(1)).float().mean().item())
    assert [evaluation["step"] for evaluation in run.progress.history] == [20, 40]


def test_a_fresh_batch_norm_is_evaluated_with_the_statistics_of_a_batch(fitted, composed):
    words = (*SMALL, "norm=batch", "preprocess=none", "epochs=1")
    _, recorder = fitted(*words)
    fresh = build_run(composed(*words))
    images, _ = fresh.train.batch(torch.randperm(len(fresh.train), generator=torch.Generator().manual_seed(0))[:256])
    dense, norm = (next(m for m in fresh.model.modules() if kind(m)) for kind in (
        lambda m: isinstance(m, nn.Linear), lambda m: hasattr(m, "running_mean"),
    ))  # fmt: skip
    with torch.no_grad():
        hidden = images.flatten(1) @ dense.weight.T
        norm.running_mean.copy_(hidden.mean(0))
        norm.running_var.copy_(hidden.var(0))
        val, targets = fresh.val.batch(torch.arange(len(fresh.val)))
        loss = F.cross_entropy(fresh.model.eval()(val), targets.argmax(1)).item()
    assert recorder.rows[0]["loss"] == pytest.approx(loss, rel=1e-5)  # float32


def entropy(counts):
    return -sum(count / sum(counts) * math.log(count / sum(counts)) for count in counts)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "log 10 = 2.3026"),
        (("data=breast_cancer",), "log 2 = 0.6931"),
        (("loss=bce",), "outputs of 0: 6.9315, entropy of the labels 3.25"),  # ten times log 2; ten of 1 against 9
        (("data=diabetes",), "outputs of 0: 1.0000"),  # standardised targets
        (("loss=mse",), "outputs of 0: 0.1000, variance of the targets 0.0900"),
        (("data.val_fraction=0",), "step 0  train loss "),
    ],
)
def test_the_first_loss_stands_beside_that_of_knowing_nothing(words, said, tmp_path):
    code, out, errors = command(tmp_path, *SMALL, *words, "epochs=1")
    assert code == 0, errors
    (line,) = [line for line in out.splitlines() if line.startswith("step 0")]
    assert said in line


def test_for_unequal_classes_the_entropy_of_the_labels_is_given_too(tmp_path, composed):
    words = (*SMALL, "data=gaussians", "data.imbalance=50", "epochs=1")
    counts = build_run(composed(*words)).train.targets.sum(0).tolist()
    _, out, _ = command(tmp_path, *words)
    assert f"log 3 = 1.0986, entropy of the labels {entropy(counts):.4f})" in out


def test_no_epoch_evaluates_the_fresh_network(tmp_path):
    code, out, errors = command(tmp_path, *SMALL, "epochs=0")
    assert code == 0, errors
    summary = read_summary(only_run(tmp_path))
    assert (summary["status"], summary["steps"], summary["best"]) == ("finished", 0, None)
    (row, test) = read_rows(only_run(tmp_path))
    assert (row["split"], test["split"]) == ("val", "test") and summary["final"]["val"] == row
    code, _, errors = command(tmp_path, *SMALL, "epochs=0", "task=preview")
    assert code == 2 and "epochs=0: there is no step to draw" in errors


def test_a_length_in_steps_ends_the_run_within_an_epoch(fitted, tmp_path):
    whole, _ = fitted(*SMALL, "epochs=1", "sched=constant", "batch_size=180")  # 7 steps
    part, recorder = fitted(*SMALL, "epochs=7st", "sched=constant", "batch_size=180")
    assert weights_digest(part.model) == weights_digest(whole.model)
    run, recorder = fitted(*SMALL, "epochs=10st", "batch_size=180")
    assert [row["step"] for row in recorder.rows if row["split"] == "val"] == [0, 7, 10]
    assert run.clock.total_epochs == pytest.approx(10 / 7)


@pytest.mark.parametrize("epochs", ["1.5", "0st", "10%", "2ep", "-1", "st", "1e2st"])
def test_other_lengths_are_refused(epochs, tmp_path):
    code, _, errors = command(tmp_path, f"epochs={epochs}")
    assert code == 2 and "must be a whole number >= 0, or steps (100st)" in errors, errors


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Run that stopped early, after its second evaluation: none is an improvement of 10."""
    folder = tmp_path_factory.mktemp("stopped")
    words = ("reg=early_stopping", "reg.stop.early_stopping.patience=1", "reg.stop.early_stopping.min_delta=10")
    code, _, errors = command(folder, *SMALL, *words, "epochs=50")
    run = only_run(folder)
    assert code == 0 and (read_summary(run)["status"], read_summary(run)["steps"]) == ("stopped", 40), errors
    return run


@pytest.mark.parametrize(("added", "epochs", "steps"), [("+3", "5", 80), ("+30st", "70st", 70)])
def test_a_run_that_stopped_early_is_extended_from_where_it_stopped(added, epochs, steps, stopped, tmp_path):
    run = shutil.copytree(stopped, tmp_path / "run")
    code, out, errors = command(tmp_path, f"resume={run}", f"epochs={added}", "threads=1")
    assert code == 0, errors
    summary = read_summary(run)
    # The rule begins anew: the first evaluation is its best, the second ends the run again.
    assert summary["steps"] == steps and f"epochs was 50, is {epochs}" in out
