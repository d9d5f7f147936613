"""task=lr_find and optimizer.lr=auto, from the command line."""

import json
import shlex
import struct

import pytest
import yaml
from conftest import command, only_run
from sweeping import sweep_in
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.rundir.reader import read_summary

SMALL = ("data=iris", "model=mlp", "model.hidden=[8]", "epochs=3", "threads=1", "device=cpu")
FIND = ("task=lr_find", "task.probe=60st", *SMALL)
AUTO = (*SMALL, "optimizer.lr=auto")


def together(*words):
    """Return overrides of which the last one of each key counts."""
    return {word.partition("=")[0]: word for word in words}.values()


def directory(folder):
    (found,) = (folder / "outputs").glob("*/*")
    return found


def optimizer_of(run):
    return yaml.safe_load((run / "config.yaml").read_text())["optimizer"]


def rate_in(printed, key="optimizer.lr"):
    (line,) = (line for line in printed.splitlines() if line.startswith(f"suggested {key}="))
    return line.partition("=")[2].partition(":")[0]


def test_what_is_printed_and_written(run_in_process, tmp_path):
    code, printed, errors = run_in_process(*FIND, "optimizer=adam")
    assert (code, errors) == (0, "")
    lines = printed.splitlines()
    assert lines[0].startswith("range test: ") and "from 1e-06 to " in lines[0]
    rules = [line.split("  ")[0] for line in lines[2:6]]
    assert rules == ["steepest descent", "minimum / 10", "valley", "slide"]
    rate = rate_in(printed)
    assert f"use it: train {shlex.join(SMALL)} optimizer=adam optimizer.lr={rate}" in lines
    assert any(line.startswith("check: 60 steps at this rate bring the loss from ") for line in lines)
    assert any(line.startswith("warm-up: ") for line in lines)
    place = directory(tmp_path)
    header = (place / "lr_find.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", header[16:]) == (990, 550)
    names = {path.name.partition(".tfevents")[0] for path in place.iterdir()}
    assert names == {"config.yaml", "overrides.txt", "lr_find.png", "events.out"}
    events = EventAccumulator(str(place)).Reload()
    assert set(events.Tags()["scalars"]) == {"lr_find/lr", "lr_find/loss", "lr_find/loss_smoothed"}
    assert events.Tags()["images"] == ["lr_find"]
    rates = [point.value for point in events.Scalars("lr_find/lr")]
    assert rates[0] == pytest.approx(1e-6) and rates == sorted(rates)


def test_the_command_that_is_printed_trains(run_in_process, tmp_path):
    code, printed, _ = run_in_process(*FIND, "optimizer.lr=0.3", "output=found")
    (line,) = (line for line in printed.splitlines() if line.startswith("use it: "))
    words = shlex.split(line.removeprefix("use it: train "))
    assert "optimizer.lr=0.3" not in words
    code, _, errors = run_in_process(*words, "output=outputs")
    assert code == 0 and optimizer_of(only_run(tmp_path))["lr"] == float(rate_in(printed)), errors


@pytest.mark.parametrize(
    "words",
    [
        ("data=diabetes",),
        ("data=breast_cancer",),
        ("optimizer=schedule_free", "sched=constant", "averaging=none"),
        ("optimizer=sam", "averaging=ema", "norm=batch"),
        ("optimizer=newton",),
        ("batch_size=full", "loss=hinge"),
        ("task.length=20ep", "task.probe=null"),
    ],
)
def test_any_data_and_any_optimizer_get_a_rate_or_a_sentence(words, run_in_process, tmp_path):
    code, printed, errors = run_in_process(*together(*FIND, *words))
    assert (code, errors) == (0, "")
    assert "\nsuggested optimizer.lr=" in printed or "\nno learning rate to suggest: the loss" in printed
    assert (directory(tmp_path) / "lr_find.png").exists() and "None" not in printed


def test_without_a_rate_there_is_a_sentence_and_a_picture(run_in_process, tmp_path):
    code, printed, _ = run_in_process(*FIND, "optimizer=lbfgs")
    assert code == 0 and "no learning rate to suggest: the loss falls at once, from 1e-06 on" in printed
    assert "use it" not in printed and (directory(tmp_path) / "lr_find.png").exists()


def test_a_wrapper_is_measured_as_a_whole_or_within(run_in_process):
    base = ("optimizer=lookahead", "optimizer.base=adam")
    whole = rate_in(run_in_process(*FIND, *base)[1])
    within = run_in_process(*FIND, *base, "optimizer.base.lr=auto")[1]
    assert rate_in(within, "optimizer.base.lr") == whole
    assert f"optimizer.base.lr={whole}" in within and "optimizer.base.lr=auto" not in within.partition("use it")[2]


def test_a_sweep_finds_a_rate_for_each_job(tmp_path):
    folder, _, _ = sweep_in(tmp_path, *FIND, "task.probe=null", "optimizer=sgd,adam")
    assert len(list(folder.glob("*/lr_find.png"))) == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (("task.first=1", "task.last=0.1"), "task=lr_find: last must be larger than first=1, got 0.1"),
        (("task.length=0st",), "task.length=0st: must be a length (200st, 10ep, 5%)"),
        (("optimizer=muon", "model=linear"), "optimizer.lr: none of the model's weights are trained at this rate by"),
        (("optimizer=sam", "optimizer.lr=0.1", "optimizer.base.lr=auto"), "optimizer.lr=0.1 takes its place"),
        (("optimizer=sam", "optimizer.lr=auto", "optimizer.base.lr=auto"), "optimizer.lr=auto takes its place"),
    ],
)
def test_mistakes_are_answered_in_one_line_before_anything_is_written(words, message, run_in_process, tmp_path):
    words = [word for word in together(*FIND, *words) if "model=linear" not in words or "hidden" not in word]
    code, _, errors = run_in_process(*words)
    assert code == 2 and message in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


WITHOUT_LR = """
import torch


class Own(torch.optim.SGD):
    def __init__(self, params, step_size):
        super().__init__(params, lr=step_size)


class Wide(torch.optim.SGD):
    '''The biases at ten times the rate.'''
    def __init__(self, params, lr):
        super().__init__([{"lr": lr * (1 if group["decays"] else 10), **group} for group in params], lr=lr)
"""


def own_optimizer(package, tmp_path, name, yaml_text):
    module = package(WITHOUT_LR)
    place = tmp_path / "mine" / "optimizer"
    place.mkdir(parents=True, exist_ok=True)
    (place / "own.yaml").write_text(f"# Mine.\n_target_: {module}.{name}\n{yaml_text}\n")
    return ("--config-dir", "mine", "optimizer=own", f"allow=[{module}]")


def test_an_optimizer_without_the_key_is_named(package, run_in_process, tmp_path):
    words = own_optimizer(package, tmp_path, "Own", "step_size: 0.1")
    code, _, errors = run_in_process(*FIND, *words)
    assert code == 2 and errors.startswith("train: optimizer=own: has no key lr")


@pytest.mark.parametrize("text", ["lr: 0.1 # learning rate; > 0", "lr: 0.1"])
def test_the_rate_of_an_optimizer_of_the_users_own_is_measured(text, package, run_in_process, tmp_path):
    words = own_optimizer(package, tmp_path, "Wide", text)
    code, printed, errors = run_in_process(*FIND, *words)
    assert code == 0 and "--config-dir mine" in printed and rate_in(printed), errors
    code, _, errors = run_in_process(*AUTO, *words, "output=trained")
    (run,) = (tmp_path / "trained").glob("*/*")
    assert code == 0 and optimizer_of(run)["lr"] == float(rate_in(printed)), errors


# optimizer.lr=auto


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("optimizer=adam", "norm=batch", "reg=[dropout,l2]", "averaging=ema"),
        ("optimizer=sam", "optimizer.base=adam"),
        ("optimizer=muon", "sched=one_cycle", "warmup=linear"),
        ("optimizer=kfac",),
        ("optimizer=shampoo", "aug=[mixup]", "accumulate=2", "batch_size=10"),
        ("optimizer=schedule_free", "scale_lr=linear"),
        ("optimizer=lookahead", "sampler=hard_examples", "on_nan=rollback"),
        ("data=diabetes", "residency=stream", "workers=1"),
    ],
)
def test_a_run_with_a_measured_rate_is_the_run_with_that_rate_typed_bit_for_bit(words, run_in_process, tmp_path):
    code, printed, errors = run_in_process(*together(*AUTO, *words, "output=auto"))
    assert code == 0, errors
    (auto,) = (tmp_path / "auto").glob("*/*")
    rate = optimizer_of(auto)["lr"]
    assert isinstance(rate, float) and f"optimizer.lr={rate:g}" in printed
    assert "optimizer.lr=auto" in (auto / "overrides.txt").read_text().split()
    code, _, errors = run_in_process(*together(*SMALL, *words, f"optimizer.lr={rate}", "output=typed"))
    assert code == 0, errors
    (typed,) = (tmp_path / "typed").glob("*/*")
    one, other = read_summary(auto), read_summary(typed)
    assert one["weights_sha256"] == other["weights_sha256"] and one["best"] == other["best"]


def test_a_resumed_run_keeps_the_rate_and_measures_nothing(run_in_process, tmp_path):
    assert run_in_process(*AUTO)[0] == 0
    run = only_run(tmp_path)
    rate = optimizer_of(run)["lr"]
    for more in ((), ("optimizer.lr=auto",)):
        code, printed, errors = run_in_process(f"resume={run}", "epochs=+1", *more)
        assert code == 0 and "resumed after step" in printed and f"optimizer.lr={rate:g}, measured" in printed, errors
        assert optimizer_of(run)["lr"] == rate
        assert "optimizer.lr=auto" in (run / "overrides.txt").read_text().split()
    (run / "summary.json").unlink()
    code, printed, _ = run_in_process(*(word for word in AUTO if "epochs" not in word), "epochs=5", "resume=auto")
    assert code == 0 and "resumed after step 10" in printed


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew_with_its_rate(run_in_process, tmp_path):
    assert run_in_process(*AUTO)[0] == 0
    run = only_run(tmp_path)
    before, rate = read_summary(run), optimizer_of(run)["lr"]
    (run / "summary.json").unlink()
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    code, printed, _ = run_in_process(f"resume={run}")
    assert code == 0 and "the run starts anew" in printed and optimizer_of(run)["lr"] == rate
    assert read_summary(run)["weights_sha256"] == before["weights_sha256"]


def test_a_run_with_a_typed_rate_is_not_measured_later(run_in_process, tmp_path):
    assert run_in_process(*SMALL, "optimizer.lr=0.1")[0] == 0
    run = only_run(tmp_path)
    code, _, errors = run_in_process(f"resume={run}", "epochs=+1", "optimizer.lr=auto")
    assert code == 2 and "optimizer.lr=auto: a run that is resumed keeps its learning rate" in errors
    code, printed, errors = run_in_process(
        f"resume={run}", "epochs=+1", "optimizer.lr=0.2", "resume.allow=[optimizer.lr]"
    )
    assert code == 0 and "optimizer.lr was 0.1, is 0.2" in printed, errors


def test_evaluation_and_comparison_see_the_number(run_in_process, tmp_path):
    assert run_in_process(*AUTO)[0] == 0
    run = only_run(tmp_path)
    assert run_in_process("task=evaluate", f"runs=[{run}]", "threads=1")[0] == 0
    assert run_in_process(*SMALL, "optimizer.lr=0.5")[0] == 0
    code, printed, _ = run_in_process("task=compare", "runs=[outputs]")
    rate = f"{optimizer_of(run)['lr']:g}"
    assert code == 0 and f"auto {rate} " in printed and "0.5 " in printed


def test_a_sweep_measures_for_each_job_once_and_ranks_by_the_word_with_its_numbers(tmp_path):
    words = (*SMALL, "optimizer=sgd,adam", "optimizer.lr=auto,0.1", "seed=0,1")
    folder, printed, _ = sweep_in(tmp_path, *words)
    rates = {path.name: optimizer_of(path)["lr"] for path in folder.iterdir() if "seed" in path.name}
    assert len(rates) == 8 and all(isinstance(rate, float) for rate in rates.values())
    table = [
        line for line in printed.splitlines() if "optimizer.lr" not in line and "finished" in line and "[" not in line
    ]
    assert len(table) == 4 and all("2 finished" in line for line in table)
    own = sorted(rates[f"adam+lr-auto+seed-{seed}"] for seed in (0, 1))
    cell = f"auto {' to '.join(dict.fromkeys(f'{rate:g}' for rate in own))}"
    assert any(f"adam       {cell}" in line for line in table), printed
    assert (folder / f"MEAN of adam lr={cell}").is_dir()
    job = folder / "adam+lr-auto+seed-0"
    digest = json.loads((job / "summary.json").read_text())["weights_sha256"]
    (job / "summary.json").unlink()
    for path in (job / "checkpoints").iterdir():
        path.unlink()
    sweep_in(tmp_path, *words)
    assert optimizer_of(job)["lr"] == rates[job.name]
    assert json.loads((job / "summary.json").read_text())["weights_sha256"] == digest


def test_a_dry_run_of_a_sweep_and_a_preview_need_no_measurement(run_in_process):
    code, printed, errors = run_in_process("-m", *AUTO, "seed=0,1", "sweep.dry_run=true")
    assert code == 0 and "dry run" in printed, errors
    code, printed, errors = run_in_process("task=preview", *AUTO, "sched=cosine")
    assert code == 0 and "optimizer.lr=auto: only task=train measures it; here it is the usual 0.05" in printed, errors


def test_a_run_without_a_rate_to_suggest_ends_with_one_line_that_names_one(run_in_process, tmp_path):
    code, _, errors = run_in_process(*AUTO, "optimizer=lbfgs")
    assert code == 2 and len(errors.splitlines()) == 1 and not (tmp_path / "outputs").exists()
    assert errors.startswith("train: optimizer.lr=auto: the loss falls at once, from 1e-06 on")
    assert errors.endswith("; type a number, as optimizer.lr=1.0\n")
    assert run_in_process(*SMALL, "optimizer=lbfgs", "optimizer.lr=1.0")[0] == 0


@pytest.mark.parametrize("word", ["Auto", "AUTO", "atuo", "automatic"])
def test_misspelled_words_are_answered_with_auto(word, tmp_path):
    code, _, errors = command(tmp_path, *SMALL, f"optimizer.lr={word}")
    assert code == 2 and "did you mean optimizer.lr=auto?" in errors


def test_other_rates_of_an_optimizer_are_not_measured(tmp_path):
    code, _, errors = command(tmp_path, *SMALL, "optimizer=muon", "optimizer.adamw_lr=auto")
    assert code == 2 and "optimizer.adamw_lr=auto: must be a number > 0" in errors


def test_help_names_the_word(tmp_path):
    _, printed, _ = command(tmp_path, "--help", "optimizer=sgd")
    assert "(auto: measured before the first step); > 0, or auto" in " ".join(printed.split())
