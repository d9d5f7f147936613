"""Whole runs: what they leave behind, what they print, and that they are what they say."""

import json
import math
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
import torch.nn.functional as F
from conftest import command, only_run
from omegaconf import OmegaConf
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from trainer.config import catalog
from trainer.engine import summary as report
from trainer.engine.build import build_run
from trainer.engine.validation import best_constant
from trainer.rundir import checkpoint
from trainer.tta import MultiScale

SHORT = ("model=mlp", "epochs=3")


def summary(folder):
    return json.loads((only_run(folder) / "summary.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Directory of a finished run, and what it printed; shared, not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    code, printed, errors = command(folder, "optimizer=adam", "sched=cosine", "epochs=4", "log_every=10")
    assert code == 0, errors
    return only_run(folder), printed


def test_the_directory_holds_what_the_design_lists(finished):
    run, _ = finished
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "overrides.txt",
        "metrics.jsonl",
        "checkpoints",
        "curves.png",
        "summary.json",
        "run.log",
        "train",
        "val",
    } <= names
    assert not names & {"test", *(name for name in names if name.startswith("events"))}  # two rows in TensorBoard
    assert (run / "overrides.txt").read_text().split() == ["optimizer=adam", "sched=cosine", "epochs=4", "log_every=10"]
    assert run.name.endswith("-adam+cosine+epochs-4")
    assert (run / "checkpoints" / (run / "checkpoints" / "best").read_text()).is_file()


def test_the_summary_holds_the_figures_of_the_run(finished):
    run, _ = finished
    told = json.loads((run / "summary.json").read_text())
    keys = {
        "status",
        "best",
        "final",
        "test",
        "steps",
        "epochs",
        "seconds",
        "images_per_second",
        "parameters",
        "device",
        "seed",
        "verdicts",
        "weights_sha256",
        "versions",
    }
    assert keys <= set(told)
    assert (
        told["status"] == "finished" and told["steps"] == 80 and told["epochs"] == 4
    )  # ceil(1259 / 64) = 20 steps an epoch
    assert told["parameters"] == (9 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 128 + 129 * 10
    assert len(told["weights_sha256"]) == 64 and told["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_metrics_hold_a_row_an_evaluation_and_averages_of_training(finished):
    run, _ = finished
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "val"] == [0, 20, 40, 60, 80]
    logged = sorted({1, 2, 4, 8, 16, 32, 64, *range(10, 81, 10)})
    assert [row["step"] for row in rows if row["split"] == "train"] == logged
    assert [row["step"] for row in rows if row["split"] == "test"] == [80]
    for row in rows:
        assert {"step", "epoch", "split", "loss", "accuracy", "lr", "seconds"} <= set(row)


def scalars(run, split):
    """Step and value of each point, by tag, as TensorBoard reads the folder of a split."""
    events = EventAccumulator(str(run / split), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def hparams_row(run):
    """The row of HParams: the values that make a column, those that make none, and the status of the run."""
    events = EventAccumulator(str(run / "val")).Reload()
    read = [
        HParamsPluginData.FromString(events.SummaryMetadata(f"_hparams_/session_{part}_info").plugin_data.content)
        for part in ("start", "end")
    ]
    columns, others = {}, {}
    for key, value in read[0].session_start_info.hparams.items():
        listed = value.WhichOneof("kind") == "list_value"
        (item,) = value.list_value.values if listed else [value]
        (others if listed else columns)[key] = getattr(item, item.WhichOneof("kind"))
    return columns, others, read[1].session_end_info.status


def test_a_run_has_two_rows_train_and_val_which_share_the_tags_of_loss_and_score(finished):
    run, _ = finished
    assert {path.parent.name for path in run.rglob("events*")} == {"train", "val"}
    train, val = scalars(run, "train"), scalars(run, "val")
    assert set(train) == {"loss", "accuracy", "lr", "grad_norm", "update_ratio", "param_norm", "throughput"}
    assert set(val) == {
        "loss",
        "accuracy",
        "hparams/best_loss",
        "hparams/best_accuracy",
        "hparams/test_loss",
        "hparams/test_accuracy",
        "test/macro_f1",
        "test/balanced_accuracy",
        "test/ece",
    }
    events = EventAccumulator(str(run / "train")).Reload()
    assert events.Tags()["images"] == ["first_batch"] and "config/text_summary" in events.Tags()["tensors"]
    logged = sorted({1, 2, 4, 8, 16, 32, 64, *range(10, 81, 10)})
    expected = [0.001 * (1 + math.cos(math.pi * (step - 1) / 80)) / 2 for step in logged]
    assert [value for _, value in train["lr"]] == pytest.approx(expected, rel=1e-6)  # float32 in the file


def test_the_scores_of_hparams_are_those_of_the_summary_at_their_steps(finished):
    run, _ = finished
    told, read = json.loads((run / "summary.json").read_text()), scalars(run, "val")
    for tag, row in (("best", told["best"]), ("test", {**told["test"], "step": 80})):
        for name in ("loss", "accuracy"):
            assert read[f"hparams/{tag}_{name}"] == [(row["step"], pytest.approx(row[name], rel=1e-6))]
    assert read["accuracy"][-1] == (80, pytest.approx(told["final"]["val"]["accuracy"], rel=1e-6))


def test_the_hparams_row_has_columns_for_what_was_typed_and_every_other_decision_without_one(finished):
    columns, others, status = hparams_row(finished[0])
    assert columns == {"optimizer": "adam", "sched": "cosine", "epochs": 4}  # log_every is of the recording
    assert status == STATUS_SUCCESS
    assert set(catalog.groups()) <= {*columns, *others}
    wanted = {"optimizer.lr": 0.001, "batch_size": 64, "seed": 0, "reg": "none", "norm": "none", "drop_last": "false"}
    assert {key: others[key] for key in wanted} == wanted
    unique = {"overrides", "output", "lr", "resume.run", "runs", "allow"}  # and what is no setting of a run
    assert not unique & {*columns, *others} and not any("_target_" in key for key in {*columns, *others})


def test_the_hparams_of_a_job_have_a_column_for_each_key_that_its_sweep_varies(run_in_process, tmp_path):
    varied = ("reg=[],[l2]", "model.hidden=[8],[8,4]", "batch_size=100,full")
    code, _, errors = run_in_process("-m", "model=mlp", "epochs=1", "threads=1", *varied, "hydra.sweep.dir=s")
    assert code == 0, errors
    rows = [hparams_row(path.parent)[0] for path in (tmp_path / "s").glob("*/summary.json")]
    assert len(rows) == 8
    found = {tuple(sorted(row.items())) for row in rows}
    assert found == {
        (("batch_size", size), ("model.hidden", hidden), ("reg", reg))
        for size in (100, 1259)  # `full` is a number, too: else TensorBoard could neither sort nor filter
        for hidden in ("[8]", "[8,4]")
        for reg in ("none", "l2")
    }


def test_the_hparams_of_a_run_that_went_on_are_those_of_its_end(run_in_process, tmp_path):
    typed = ("model=mlp", "optimizer=adam", "epochs=2", "threads=1", "eval_every=10st")
    assert run_in_process(*typed)[0] == 0
    run = only_run(tmp_path)
    before = scalars(run, "val")
    assert hparams_row(run)[0] == {"model": "mlp", "optimizer": "adam", "epochs": 2, "eval_every": "10st"}
    assert run_in_process(f"resume={run}", "epochs=+1", "optimizer.lr=0.002", "resume.allow=[optimizer.lr]")[0] == 0
    columns, _, _ = hparams_row(run)
    assert columns == {"model": "mlp", "optimizer": "adam", "epochs": 3, "eval_every": "10st", "optimizer.lr": 0.002}
    told, after = summary(tmp_path), scalars(run, "val")
    assert after["accuracy"][:5] == before["accuracy"] and [step for step, _ in after["loss"]] == [*range(0, 61, 10)]
    assert after["hparams/test_accuracy"] == [(60, pytest.approx(told["test"]["accuracy"], rel=1e-6))]
    assert after["hparams/best_loss"] == [(told["best"]["step"], pytest.approx(told["best"]["loss"], rel=1e-6))]
    texts = EventAccumulator(str(run / "train")).Reload().Tensors("config/text_summary")
    lines = [(event.step, event.tensor_proto.string_val[0].decode().split("\n")[0].strip()) for event in texts]
    assert lines == [
        (0, f"train {' '.join(typed)}"),
        (40, "train model=mlp optimizer=adam threads=1 eval_every=10st epochs=3 optimizer.lr=0.002"),
    ]


def test_a_job_that_goes_on_alone_keeps_the_columns_of_its_sweep_and_has_that_of_what_changed(run_in_process, tmp_path):
    sweep = ("-m", "model=mlp", "epochs=1", "threads=1", "optimizer=sgd,adam", "hydra.sweep.dir=s")
    assert run_in_process(*sweep)[0] == 0
    assert run_in_process("resume=s/adam", "epochs=+1")[0] == 0
    assert hparams_row(tmp_path / "s" / "adam")[0] == {"optimizer": "adam", "epochs": 2}
    columns, others, _ = hparams_row(tmp_path / "s" / "sgd")
    assert columns == {"optimizer": "sgd"} and others["epochs"] == 1


def test_a_run_that_diverged_has_a_row_with_that_status(run_in_process, tmp_path):
    assert run_in_process("model=mlp", "optimizer.lr=1e30", "threads=1")[0] == 5
    columns, _, status = hparams_row(only_run(tmp_path))
    assert status == STATUS_FAILURE and columns["model"] == "mlp"


def test_the_console_says_what_was_chosen_and_where_to_look(finished):
    run, printed = finished
    said = " ".join(printed.split())
    assert "* optimizer adam lr=0.001" in said and "preprocess channel_standardize" in said
    assert (
        "epoch 4/4 train loss" in said
        and "tensorboard --logdir outputs" in said
        and str(run.relative_to(run.parents[2])) in said
    )
    log = (run / "run.log").read_text()
    decays = [line for line in log.splitlines() if line.startswith(("parameters that weight decay", "and the others"))]
    assert [line.partition(": ")[2] for line in decays] == [
        "0.weight, 3.weight, 6.weight, 11.weight",
        "0.bias, 3.bias, 6.bias, 11.bias",
    ]
    for line in decays:
        log = log.replace(line, "")
    assert log.split() == printed.split()


def test_evaluate_gives_a_finished_runs_scores_again(finished, run_in_process):
    run, _ = finished
    code, shown, errors = run_in_process("task=evaluate", f"runs=[{run}]")
    assert code == 0, errors
    told = json.loads((run / "summary.json").read_text())
    assert f"test {told['test']['loss']:.4f} {told['test']['accuracy']:.4f}" in " ".join(shown.split())


@pytest.mark.parametrize("words", [("data=breast_cancer", "loss=bce"), ("data=iris",), ("data=diabetes", "loss=mse")])
def test_the_scores_of_the_best_constant_are_those_of_the_split(words, composed):
    run = build_run(composed("model=linear", "threads=1", "device=cpu", *words))
    for split in (run.val, run.test):
        targets = split.targets.double().numpy()
        if run.data.task == "regression":
            expected = {"r2": 0.0, "loss": targets.var()}
        else:
            shares = targets.mean(0) if run.data.outputs > 1 else np.array([targets.mean(), 1 - targets.mean()])
            expected = {"accuracy": shares.max(), "loss": -(shares * np.log(shares)).sum()}
        assert best_constant(run, split) == pytest.approx(expected, rel=1e-5)  # the loss is in float32


def test_the_summary_says_what_the_scores_are_of(finished, composed):
    told = json.loads((finished[0] / "summary.json").read_text())
    assert told["samples"] == {"train": 1259, "val": 179, "test": 359} and told["fresh"]["step"] == 0
    assert told["constant_loss"] == "entropy of the labels" and set(told["constant"]) == {"val", "test"}
    words = ("model=mlp", "threads=1", "device=cpu")
    known = [
        report.describe_data(build_run(composed(*words, word)))["samples_sha256"]
        for word in ("data.split_seed=0", "preprocess=none", "seed=1", "data.split_seed=1", "data.val_fraction=0.2")
    ]
    assert known[0] == known[1] == known[2] == told["samples_sha256"]
    assert known[0]["val"] != known[3]["val"] != known[4]["val"] and known[0]["test"] == known[4]["test"]


def test_evaluate_takes_every_run_of_a_folder(finished, run_in_process, tmp_path):
    run, _ = finished
    for name in ("a", "b", "c"):
        shutil.copytree(run, tmp_path / "all" / name)
    shutil.rmtree(tmp_path / "all" / "b" / "checkpoints")
    code, shown, errors = run_in_process("task=evaluate", "runs=[all]")
    assert code == 0, errors
    told = json.loads((run / "summary.json").read_text())["test"]
    scores = f"{told['loss']:.4f} {told['accuracy']:.4f}"
    assert " ".join(shown.split()).endswith(f"Test split of all runs: run loss accuracy all/a {scores} all/c {scores}")
    assert (
        "note: 1 of 3 runs in all left out, without weights: all/b" in shown
        and " ".join(shown.split()).count(f"test {scores}") == 2
    )
    code, shown, _ = run_in_process("task=evaluate", "runs=[all/a*,all/a]")
    assert code == 0 and "all/c" not in shown and "Test split of all" not in shown
    assert run_in_process("task=evaluate", "runs=[all/b]")[0] == 3


def test_data_without_a_test_split_is_trained_evaluated_compared_and_swept(run_in_process, tmp_path):
    """The validation split stands in for the test where there is none; without both, the training split."""
    from PIL import Image

    for number in range(40):
        path = tmp_path / "set" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 5 * number).save(path)
    words = ["data=image_folder", f"data.root={tmp_path / 'set'}", "data.test_fraction=0", "model=linear"]
    words += ["epochs=2", "batch_size=8", "tta=flip", "threads=1", "device=cpu"]
    none = "data.val_fraction=0"
    for more, splits in (([], ["train", "val"]), ([none], ["train"])):
        code, shown, errors = run_in_process(*words, *more, f"output=runs-{len(splits)}")
        assert code == 0 and "there is no test at the end" in shown, errors
        (run,) = (tmp_path / f"runs-{len(splits)}").glob("*/*")
        summary = json.loads((run / "summary.json").read_text())
        assert summary["test"] is None and (summary["best"] is None) == (splits == ["train"])
        assert (run / "weights.safetensors").is_file() and (run / "curves.png").is_file()
        code, shown, errors = run_in_process("task=evaluate", f"runs=['{run}']")
        rows = [line.split()[0] for line in shown.splitlines() if line.startswith(("train ", "val ", "test "))]
        assert code == 0 and rows == splits, errors
        code, shown, errors = run_in_process("-m", *words, *more, "seed=0,1", "sweep.dry_run=true", "output=dry")
        assert code == 0 and "2 jobs, about" in shown, errors
    runs = f"runs=['{tmp_path / 'runs-2'}','{tmp_path / 'runs-1'}']"
    code, shown, errors = run_in_process("task=evaluate", runs)
    assert code == 0 and "(val)" in shown and "(train)" in shown, errors
    assert run_in_process("task=compare", runs)[0] == 0
    code, shown, errors = run_in_process("-m", *words, none, "seed=0,1", "output=sweep")
    assert code == 0 and "best" not in shown.partition("[1/2]")[2].splitlines()[0], errors


def test_views_are_averaged_by_evaluate_and_by_a_run_that_asks_for_them(finished, run_in_process, composed):
    run, _ = finished
    code, shown, _ = run_in_process("task=evaluate", f"runs=[{run}]", "tta=multi_scale", "tta.scales=[0.75,1.25]")
    assert code == 0
    built = build_run(OmegaConf.load(run / "config.yaml"))
    built.model.load_state_dict(
        checkpoint.load(checkpoint.resolve_pointer(run / "checkpoints", "best"), built.device)["weights"]
    )
    built.model.eval()
    with torch.no_grad():
        outputs = MultiScale(scales=(0.75, 1.25))(built.model, built.test.images)
    loss = F.nll_loss(outputs.softmax(2).mean(0).log(), built.test.targets.argmax(1)).item()
    assert f"test {loss:.4f}" in " ".join(shown.split())
    code, _, _ = run_in_process("model=cnn", "model.channels=[8]", "epochs=1", "tta=flip")
    with_views = json.loads((only_run(Path.cwd()) / "summary.json").read_text())["test"]
    code, shown, _ = run_in_process("task=evaluate", f"runs=[{only_run(Path.cwd())}]")
    assert f"test {with_views['loss']:.4f}" in " ".join(shown.split())  # the run's own views
    code, shown, _ = run_in_process("task=evaluate", f"runs=[{only_run(Path.cwd())}]", "tta=none")
    assert f"test {with_views['loss']:.4f}" not in " ".join(shown.split())


@pytest.mark.parametrize(
    "typed, said",
    [
        ("optimizer=adam", "optimizer: task=evaluate takes it from the run"),
        ("data=iris", "data=iris: the run in"),
        ("seed=3", "seed: task=evaluate"),
    ],
)
def test_evaluate_refuses_what_it_would_ignore(typed, said, finished, run_in_process):
    code, _, errors = run_in_process("task=evaluate", f"runs=[{finished[0]}]", typed)
    assert code == 2 and said in errors


@pytest.mark.parametrize(
    "words, said",
    [
        ("epochs", ["epochs=20", "passes over the training split"]),
        ("adam", ["optimizer=adam", "optimizer.betas"]),
        ("sweep", ["sweep.on_error=continue", "sweep.dry_run=false"]),
        ("hydra/launcher", ["hydra/launcher=joblib", "hydra/launcher=ray", "pip install 'trainer[slurm]'"]),
        ("hydra/sweeper", ["hydra.sweeper.n_trials=20", "'optimizer.lr=tag(log,interval(1e-4,1e-1))'"]),
        ("experiment=mnist_mlp", ["It chooses data=mnist model=mlp norm=batch optimizer=adam sched=cosine"]),
    ],
)
def test_help_knows_numbers_options_and_recipes(words, said, run_in_process):
    code, shown, _ = run_in_process("--help", words)
    assert code == 0 and all(word in " ".join(shown.split()) for word in said)


def test_two_runs_are_equal_bit_for_bit_and_another_seed_differs(run_in_process, tmp_path):
    everything = (
        *SHORT,
        "aug=[crop,flip,mixup]",
        "reg=[dropout,l2,grad_clip]",
        "norm=batch",
        "averaging=ema",
        "warmup=linear",
    )
    digests = []
    for seed in (0, 0, 1):
        assert run_in_process(*everything, f"seed={seed}", f"output=run{len(digests)}")[0] == 0
        told = next((tmp_path / f"run{len(digests)}").glob("*/*/summary.json"))
        digests.append(json.loads(told.read_text())["weights_sha256"])
    assert digests[0] == digests[1] != digests[2]


def test_runs_started_in_the_same_second_do_not_share_a_directory(tmp_path):
    from trainer.rundir.directory import make_unique

    assert [make_unique(tmp_path, "a").name for _ in range(3)] == ["a", "a-2", "a-3"]


def test_the_defaults_reach_97_percent_on_digits(run_in_process, tmp_path):
    code, said, _ = run_in_process()
    assert code == 0 and "Run directory: outputs/" in said
    assert summary(tmp_path)["test"]["accuracy"] >= 0.97


def test_a_sweep_runs_every_job_and_a_failing_one_does_not_stop_it(run_in_process, tmp_path):
    code, _, errors = run_in_process("-m", "model=mlp", "epochs=1", "optimizer.lr=0.01,1e30,0.02")
    assert code == 5 and "train: 1 of 3 jobs failed, the first with: diverged: the loss" in errors.splitlines()[-1]
    jobs = {
        path.parent.name: json.loads(path.read_text())["status"]
        for path in (tmp_path / "outputs" / "sweeps").glob("*/*/*/summary.json")
    }
    assert sorted(jobs.values()) == ["diverged", "finished", "finished"]
    assert set(jobs) == {
        "lr-0.01",
        "lr-1e30",
        "lr-0.02",
    }  # what all have in common is no part of a name


def test_a_loss_that_explodes_ends_the_run_with_exit_code_5(run_in_process, tmp_path):
    code, _, errors = run_in_process("model=mlp", "optimizer.lr=1e30")
    assert code == 5 and "the loss is not finite (NaN or Inf) at step 2" in errors
    told = summary(tmp_path)
    assert told["status"] == "diverged" and told["test"] is None and told["steps"] < 50
    assert "the loss is not finite (NaN or Inf) at step 2" in (only_run(tmp_path) / "run.log").read_text()


def test_a_crash_leaves_its_traceback_in_the_log(run_in_process, tmp_path, monkeypatch):
    (tmp_path / "broken_sched.py").write_text(
        "class Broken:\n    def __call__(self, now):\n        return 1 / (now.step - 5)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, _, _ = run_in_process(*SHORT, "sched=constant", "sched._target_=broken_sched.Broken", "allow=[broken_sched]")
    assert code == 2 and summary(tmp_path)["status"] == "failed"
    assert "ZeroDivisionError" in (only_run(tmp_path) / "run.log").read_text()


def test_early_stopping_ends_a_run_before_its_last_epoch(run_in_process, tmp_path):
    code, _, _ = run_in_process(
        "model=mlp",
        "optimizer=adam",
        "optimizer.lr=0.01",
        "epochs=200",
        "reg=early_stopping",
        "reg.stop.early_stopping.patience=3",
    )
    told = summary(tmp_path)
    assert code == 0 and told["status"] == "stopped" and told["epochs"] < 200
    rows = [json.loads(line) for line in (only_run(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["split"] == "val"]
    assert len(losses) - 1 - losses.index(min(losses)) == 3


def test_the_test_split_is_evaluated_with_the_best_weights_not_the_last(package, run_in_process, tmp_path):
    """A linear model descends for two epochs and ascends its convex loss for one: the last weights are not the best."""
    mine = package("class Turning:\n    def __call__(self, now):\n        return 1.0 if now.epoch < 2 else -1.0\n")
    words = (
        "model=linear",
        "optimizer=sgd",
        "epochs=3",
        "monitor=loss",
        "sched=constant",
        f"sched._target_={mine}.Turning",
    )
    assert run_in_process(*words, f"allow=[{mine}]")[0] == 0
    told, run = summary(tmp_path), only_run(tmp_path)
    assert told["best"]["step"] == 40 and told["steps"] == 60
    _, said, _ = run_in_process("task=evaluate", f"runs=[{run}]", f"allow=[{mine}]")
    assert "(best weights)" in said and f"test {told['test']['loss']:.4f}" in " ".join(said.split())
    assert told["final"]["val"]["loss"] > told["best"]["loss"] + 0.01
    (run / "checkpoints" / "best").unlink()  # the newest checkpoint names the best one, too
    _, said, _ = run_in_process("task=evaluate", f"runs=[{run}]", f"allow=[{mine}]")
    assert "(best weights)" in said and f"test {told['test']['loss']:.4f}" in " ".join(said.split())


@pytest.mark.parametrize("words", [["epochs=12st"], ["epochs=30st", "eval_every=8st"], ["epochs=3"]])
def test_the_best_evaluation_has_the_epoch_of_its_point_also_within_one(words, run_in_process, tmp_path):
    """An epoch of digits has 1,258 training samples: 20 steps."""
    assert run_in_process("model=mlp", *words)[0] == 0
    best = summary(tmp_path)["best"]
    rows = [json.loads(line) for line in (only_run(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    (point,) = [row for row in rows if row["split"] == "val" and row["step"] == best["step"]]
    assert best["epoch"] == point["epoch"] == best["step"] / 20


@pytest.mark.parametrize("words", [["epochs=100000"], ["-m", "epochs=100000,100001"]])
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_in_order_and_the_sweep_it_belongs_to(number, code, words, tmp_path):
    process = processes.begin(tmp_path, "model=mlp", *words, errors=tmp_path / "errors")
    while not any('"val"' in rows.read_text() for rows in tmp_path.rglob("metrics.jsonl")):
        assert process.is_alive()
        time.sleep(0.05)
    asked = time.monotonic()
    os.kill(process.pid, number)
    process.join(60)
    errors = (tmp_path / "errors").read_text()
    assert process.exitcode == code and "interrupted" in errors and "Traceback" not in errors, errors
    assert time.monotonic() - asked < 10
    (told,) = (tmp_path / "outputs").rglob("summary.json")
    assert json.loads(told.read_text())["status"] == "interrupted"


def test_an_exact_directory_may_be_asked_for_once(run_in_process, tmp_path):
    assert run_in_process(*SHORT, "hydra.run.dir=mine")[0] == 0
    assert (tmp_path / "mine" / "summary.json").is_file()
    code, _, errors = run_in_process(*SHORT, "hydra.run.dir=mine")
    assert code == 4 and "not empty; a run needs its own directory" in errors


def test_an_option_of_ones_own_comes_from_a_folder_of_ones_own(run_in_process, tmp_path):
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "gentle.yaml").write_text(
        "# SGD at a small rate.\n_target_: torch.optim.SGD\nlr: 0.003 # learning rate; > 0\n"
    )
    own = (*SHORT, "--config-dir", "mine", "optimizer=gentle")
    code, _, errors = run_in_process(*own, "optimizer.lr=-1")
    assert code == 2 and "optimizer.lr=-1: must be > 0" in errors
    _, said, _ = run_in_process("--config-dir", "mine", "--help", "optimizer")
    assert "optimizer=gentle" in said and "SGD at a small rate." in said
    code, _, errors = run_in_process(*own)
    assert code == 0, errors


@pytest.mark.parametrize("averaging", ["none", "ema"])
def test_the_zeros_of_the_summary_are_those_of_the_weights_that_are_kept(averaging, tmp_path):
    words = (*SHORT, "threads=1", "reg=l1_proximal", "reg.weights.l1_proximal.strength=0.05")
    code, _, errors = command(tmp_path, *words, f"averaging={averaging}")
    assert code == 0, errors
    weights = load_file(only_run(tmp_path) / "weights.safetensors")
    zeros = sum(int((weight == 0).sum()) for weight in weights.values() if weight.dim() > 1)
    assert summary(tmp_path)["zeros"] == zeros
