"""Evidence on runs, against closed forms and scikit-learn; and verdicts on real runs, small ones."""

import json
import math
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import command, only_run
from sklearn.metrics import confusion_matrix
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.diagnosis import speed
from trainer.engine import diagnose
from trainer.engine.build import build_run
from trainer.engine.evaluate import counting
from trainer.engine.loop import fit
from trainer.rundir.console import Console
from trainer.rundir.reader import read_summary
from trainer.rundir.recorder import Recorder

COMMON = ("threads=1", "device=cpu")


@pytest.fixture
def trained(composed, tmp_path):
    def made(*words):
        run = build_run(composed(*COMMON, *words))
        fit(run, Recorder(tmp_path, run.data.task), Console(silent=True))
        return run

    return made


def test_the_entropy_of_labels_within_batches():
    """Batches of one class have none; of two equal halves log 2; of 3 to 1 what the formula gives."""
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0])
    wanted = (0 + math.log(2) - 0.75 * math.log(0.75) - 0.25 * math.log(0.25)) / 3
    assert diagnose.batch_entropy(labels, 4) == pytest.approx(wanted)


def test_mixing_is_1_for_shuffled_and_near_0_for_sorted_samples(composed):
    run = build_run(composed(*COMMON, "data=gaussians", "model=linear"))
    assert diagnose.mixing(run) == pytest.approx(1, abs=0.05)
    order = run.train.targets.argmax(1).argsort()
    run.train.targets, run.train.images = run.train.targets[order], run.train.images[order]
    in_order = replace(run, sampler=lambda epoch, targets, losses, rng: torch.arange(len(targets)))
    assert diagnose.mixing(in_order) < 0.15
    assert diagnose.mixing(build_run(composed(*COMMON, "data=diabetes", "model=linear"))) is None
    assert diagnose.mixing(build_run(composed(*COMMON, "data=iris", "batch_size=full"))) is None


@pytest.mark.parametrize("words", [("data=iris",), ("data=breast_cancer",)], ids=["classes", "binary"])
def test_the_confusion_is_that_of_scikit_learn(words, trained):
    run = trained(*words, "model=linear", "epochs=2")
    (images, targets), *_ = run.val.in_order(10_000)
    outputs = run.model.eval()(images).detach()
    answers = outputs.argmax(1) if run.data.outputs > 1 else (outputs[:, 0] > 0).long()
    labels = targets.argmax(1) if run.data.outputs > 1 else targets[:, 0].long()
    wanted = confusion_matrix(labels, answers).tolist()
    assert diagnose.measure_fit(run)["confusion"] == wanted
    counts = run.no_confusion()
    run.evaluate(run.model, run.val, observe=counting(counts))
    run.evaluate(run.model, run.val, observe=counting(counts))
    assert (counts / 2).tolist() == wanted


def test_the_confusion_of_the_last_validation_is_kept_and_used(composed, tmp_path):
    """Of a run that ends between two validations there is none."""
    words = (*COMMON, "data=iris", "model=linear", "epochs=2")
    run = build_run(composed(*words))
    outcome = fit(run, Recorder(tmp_path, run.data.task), Console(silent=True))
    assert outcome.confusion.tolist() == diagnose.measure_fit(run)["confusion"]
    assert diagnose.measure_fit(run, outcome.confusion + 1)["confusion"] == (outcome.confusion + 1).tolist()
    (tmp_path / "other").mkdir()
    short = build_run(composed(*words, "eval_every=2ep"))
    assert fit(short, Recorder(tmp_path / "other", short.data.task), Console(silent=True), until=1).confusion is None


@pytest.mark.parametrize(
    ("words", "augmented", "dropping"),
    [
        ((), False, False),
        (("norm=batch", "reg=[l2]"), False, False),
        (("aug=[noise]",), True, False),
        (("reg=[dropout]",), False, True),
        (("reg=[dropconnect]", "norm=batch"), False, True),
    ],
    ids=["nothing", "batch norm", "noise", "dropout", "dropconnect"],
)
def test_what_training_sees_of_a_sample_is_measured_apart(words, augmented, dropping, trained):
    noisy, peak = diagnose.as_in_training(trained("model=mlp", "epochs=1", *words))
    assert bool(noisy) is (augmented or dropping) and peak == 1
    if noisy:
        assert (noisy["augmented"] != noisy["plain"]) is augmented and (noisy["dropping"] != noisy["plain"]) is dropping


def test_the_largest_target_of_smoothed_labels(trained):
    """1 - alpha + alpha / K."""
    words = ("reg=[label_smoothing]", "reg.batch.label_smoothing.alpha=0.6")
    assert diagnose.as_in_training(trained("model=mlp", "epochs=1", *words))[1] == pytest.approx(0.4 + 0.06)


def test_the_evaluation_of_the_training_split_is_that_of_its_samples(trained):
    run = trained("data=iris", "model=linear", "epochs=5")
    found = diagnose.measure_fit(run)["fit"]
    assert found["samples"] == len(run.train)
    whole = run.evaluate(run.model, run.train)
    assert found["accuracy"] == pytest.approx(whole["accuracy"]) and found["loss"] == pytest.approx(whole["loss"])


def test_the_training_samples_of_the_evaluation_are_a_hundredth_of_those_seen_or_cost_nothing(composed, monkeypatch):
    """2 x 20 steps of 64 samples give 25, and 128 at least; 640 multiply-adds of a sample go 31,250 times into 2e7."""
    run = build_run(composed(*COMMON, "model=linear", "epochs=2"))
    assert diagnose.measure_fit(run)["fit"]["samples"] == len(run.train)
    monkeypatch.setattr(diagnose, "FREE", 0.0)
    assert diagnose.measure_fit(run)["fit"]["samples"] == 128
    long = replace(run, clock=run.clock._replace(total_steps=400))
    assert diagnose.measure_fit(long)["fit"]["samples"] == 256


def test_nearest_neighbours_of_data_of_two_far_clouds_and_of_labels_without_signal(composed):
    run = build_run(composed(*COMMON, "data=gaussians", "data.classes=2", "data.separation=6", "model=linear"))
    assert diagnose.neighbours_score(run) > 0.99
    shuffled = run.train.targets[torch.randperm(len(run.train), generator=torch.Generator().manual_seed(1))]
    run.train.targets = shuffled
    assert diagnose.neighbours_score(run) < 0.6


def test_constant_features_of_a_table_and_not_of_images(composed):
    run = build_run(composed(*COMMON, "data=iris", "model=linear"))
    assert diagnose.constant_features(run) == []
    images = run.data.train.images.clone()
    images[:, 2] = 7.0
    changed = replace(run, data=replace(run.data, train=replace(run.data.train, images=images)))
    assert diagnose.constant_features(changed) == ["feature 3"]
    assert diagnose.constant_features(build_run(composed(*COMMON, "model=linear"))) == []  # digits have such pixels


def test_class_counts(composed):
    run = build_run(composed(*COMMON, "data=breast_cancer", "model=linear"))
    malignant = int(run.train.targets.sum())
    assert diagnose.class_counts(run) == [len(run.train) - malignant, malignant]
    iris = build_run(composed(*COMMON, "data=iris", "model=linear"))
    assert diagnose.class_counts(iris) == np.bincount(iris.train.targets.argmax(1)).tolist()


MLP = ("model=mlp", "model.hidden=[32,32]", *COMMON)
BROKEN = [
    ("symmetric_init", (*MLP, "init=zeros", "epochs=2")),
    ("dead_units", (*MLP, "bias=constant", "bias.value=-10", "epochs=2")),
    ("rate_too_high", (*MLP, "optimizer.lr=8", "epochs=3")),
    ("rate_too_low", (*MLP, "optimizer.lr=2e-5", "epochs=4")),
    ("penalty_outweighs", (*MLP, "reg=l2", "reg.loss.l2.strength=2", "epochs=6")),
    ("init_too_large", (*MLP, "init=normal", "init.std=2", "epochs=3")),
    ("exploding_activations", (*MLP, "act=exponential", "epochs=2")),
    ("overfitting", (*MLP, "data.train_samples=60", "epochs=60")),
    ("underfitting", ("data=spirals", "model=linear", "epochs=30", *COMMON)),
]


@pytest.mark.parametrize(("code", "words"), BROKEN, ids=[code for code, _ in BROKEN])
def test_a_broken_run_is_named_on_the_screen_and_in_its_summary_and_its_command_is_better(code, words, tmp_path):
    _, printed, errors = command(tmp_path, *words)
    run = only_run(tmp_path)
    summary = read_summary(run)
    verdict = summary["verdicts"][0]
    assert verdict["code"] == code and verdict["level"] == "problem", errors
    said = " ".join(printed.split())
    assert f"problem: {verdict['what']}" in said and f"try: {verdict['command']}" in said and verdict["meaning"] in said
    run.rename(tmp_path / "broken")
    better = [word for word in shlex.split(verdict["command"])[1:]]
    code, _, errors = command(tmp_path, *better)
    assert code == 0, errors
    mended = read_summary(only_run(tmp_path))
    assert mended["test"]["accuracy"] > (summary["test"] or {"accuracy": 0})["accuracy"] + 0.02


def test_a_healthy_run_is_left_alone_and_its_probes_are_written(tmp_path):
    code, printed, errors = command(tmp_path, *MLP, "epochs=8")
    run = only_run(tmp_path)
    assert code == 0 and read_summary(run)["verdicts"] == [] and "problem" not in printed and "hint" not in printed
    layers = json.loads((run / "layers.json").read_text())
    assert [probe["step"] for probe in layers["probes"]] == [0, 64, 160]


def test_a_sweep_names_the_problems_of_its_jobs(tmp_path):
    code, printed, errors = command(tmp_path, "-m", *MLP, "optimizer.lr=0.05,8", "epochs=3", "hydra.sweep.dir=s")
    assert code == 0, errors
    assert "; rate too high" in printed and "problem: rate too high (optimizer.lr=8)" in " ".join(printed.split())
    assert "problem: rate too high" in (tmp_path / "s" / "ranking.md").read_text()


def test_a_run_without_a_validation_split_is_judged_by_the_test_split(tmp_path):
    _, printed, errors = command(tmp_path, *MLP, "data.val_fraction=0", "optimizer.lr=1e-9", "epochs=1")
    assert read_summary(only_run(tmp_path))["verdicts"], errors


def test_certain_faults_are_told_while_the_run_trains_and_by_tensorboard(tmp_path):
    code, printed, errors = command(tmp_path, *MLP, "init=zeros", "epochs=7")
    said = " ".join(printed.split())
    warning = "warning: after 64 steps: all units of both hidden layers have the same weights and gradients"
    assert code == 0 and said.index(warning) < said.index("epoch 4/7"), errors
    read = EventAccumulator(str(only_run(tmp_path) / "val"), size_guidance={"tensors": 0}).Reload()
    (event,) = read.Tensors("verdicts/text_summary")
    shown = event.tensor_proto.string_val[0].decode()
    assert shown.startswith("**problem: all units of both hidden layers") and "    train model=mlp" in shown


GROWING = """
import torch
from torch import nn

class Growing(nn.Module):
    \"\"\"A linear model that does more and more beside it, from its 150th step on.\"\"\"
    def __init__(self, input_shape, outputs, kit):
        super().__init__()
        self.linear, self.calls = nn.Linear(torch.Size(input_shape).numel(), outputs), 0
    def forward(self, images):
        self.calls += self.training
        for _ in range(300 if self.training and self.calls > 150 else 0):
            torch.mm(square, square)
        return self.linear(images.flatten(1))

square = torch.ones(128, 128)
"""


def test_a_run_that_becomes_slower_is_told_so(tmp_path, monkeypatch):
    (tmp_path / "growing.py").write_text(GROWING)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(speed, "LOST", 0.2)  # seconds, of a run that takes 3
    words = ("model=linear", "model._target_=growing.Growing", "allow=[growing]", "data=iris", "batch_size=16")
    code, printed, errors = command(tmp_path, *words, "epochs=300st", "log_every=5", "eval_every=50st", *COMMON)
    assert code == 0, errors
    verdicts = read_summary(only_run(tmp_path))["verdicts"]
    (found,) = [verdict for verdict in verdicts if verdict["code"] == "throughput_dropped"]
    assert found["level"] == "hint" and found["numbers"]["throughput"]["value"] < 0.5
    assert f"hint: {found['what']}" in " ".join(printed.split())


def test_a_judgement_that_fails_ends_no_run(tmp_path, monkeypatch):
    def broken(*_):
        raise ValueError("no such thing")

    monkeypatch.setattr("trainer.engine.judgement.gather", broken)
    code, printed, errors = command(tmp_path, *MLP, "epochs=1")
    assert code == 0 and "note: the run could not be judged (no such thing)" in printed, errors
    assert read_summary(only_run(tmp_path))["verdicts"] == []
