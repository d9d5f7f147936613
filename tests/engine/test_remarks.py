"""Remarks before a run: one line where a setting cannot act or a figure misleads, and silence elsewhere."""

import pytest
import torch

from trainer.base.cores import cores
from trainer.engine.remarks import remarks

SAID = [  # overrides; parts of the line. digits has 20 steps an epoch, iris 3
    (
        "sched=multistep sched.milestones=[30ep,60ep,90ep]",
        ["the run ends after 600 steps (30 epochs)", "30ep, 60ep, 90ep never come", "sched.milestones=[50%,75%]"],
    ),
    ("sched=multistep sched.milestones=[10ep,40ep]", ["40ep never comes;", "epochs=41"]),
    ("sched=step sched.length=30ep", ["sched.length=30ep", "never comes"]),
    ("sched=cosine_restarts sched.length=31ep", ["31ep never comes"]),
    ("sched=inverse_sqrt sched.length=700st", ["700st never comes", "epochs=36"]),
    (
        "sched=cosine warmup=linear warmup.length=5000st epochs=3",
        ["the run ends after 60 steps (3 epochs)", "the learning rate never reaches optimizer.lr", "warmup.length=5%"],
    ),
    ("averaging=swa averaging.start=31ep", ["averaging.start=31ep", "averaging.start=75%"]),
    ("reg=early_stopping epochs=5", ["reg.stop.early_stopping.patience=10: the run has 5 evaluations"]),
    ("sched=plateau sched.patience=4 epochs=40st", ["sched.patience=4: the run has 2 evaluations", "sched.patience=1"]),
    ("optimizer=gd batch_size=64 epochs=3", ["gradients of 64 of 1,259 samples", "batch_size=full", "optimizer=sgd"]),
    ("optimizer=gd", ["an epoch is one step", "training loss is that before its step"]),
    ("optimizer=lbfgs model=linear", ["an epoch is one step"]),
    ("norm=batch norm.momentum=0.99", ["0.99 here is the weight of the newest batch", "norm.momentum=0.01"]),
    ("norm=batch norm.momentum=0.9", ["Keras's 0.9 is norm.momentum=0.1"]),
    (  # 0.9^20 = 0.12, and 0.861^20 = 0.05
        "norm=batch epochs=1",
        ["after the run's 20 steps", "hold 12% of their initial values", "try norm.momentum=0.2,"],
    ),
    ("averaging=ema averaging.warmup=false", ["after the run's 600 steps the average holds 55%"]),  # 0.999^600
    ("reg=label_smoothing", ["the training loss is that of smoothed labels"]),
    ("aug=mixup", ["aug=mixup: the training loss is that of mixed labels"]),
    (
        "aug=[cutmix] reg=label_smoothing",
        ["aug=cutmix, reg=label_smoothing: the training loss is that of mixed labels"],
    ),
    ("tta=flip aug=flip", ["tta=flip: acts on the test split alone"]),
    ("compile_mode=max-autotune", ["compile_mode=max-autotune: nothing is compiled; try compile=step"]),
    ("model=mlp channels_last=on", ["channels_last=on: the model convolves no images"]),
]
UNSAID = [
    "", "sched=step sched.length=29ep", "sched=cosine_restarts sched.length=30ep", "warmup=linear warmup.length=30ep",
    "averaging=swa averaging.start=30ep", "reg=early_stopping epochs=11",
    "optimizer=gd batch_size=full data.val_fraction=0",
    "norm=batch norm.momentum=0.5", "norm=batch epochs=2 averaging=ema", "norm=batch epochs=29st", "averaging=ema",
    "model=linear norm=batch epochs=1", "eval_every=50ep", "aug=cutout", "reg=label_smoothing data.val_fraction=0",
    "model=cnn channels_last=on",
]  # fmt: skip


@pytest.mark.parametrize(("words", "parts"), SAID, ids=[words for words, _ in SAID])
def test_what_cannot_act_or_misleads_is_said_in_one_line(words, parts, setup_of):
    (line,) = remarks(setup_of(lasting(words)))
    assert all(part in line for part in parts), line


@pytest.mark.parametrize(("threads", "count"), [(1, 0), (cores(), 0), (cores() + 1, 1)])
def test_more_threads_than_cores_are_told(threads, count, setup_of):
    lines = remarks(setup_of(f"threads={threads} epochs=30"))
    assert len(lines) == count and all(f"threads={threads}: this process has {cores()} core" in line for line in lines)


def lasting(words):
    """Return words of a run of 30 epochs, 600 steps, but where they say how many."""
    return f"{words} threads=1" if "epochs=" in words else f"{words} epochs=30 threads=1"


@pytest.mark.parametrize("words", UNSAID, ids=lambda words: words or "defaults")
def test_nothing_is_said_of_settings_that_act(words, setup_of):
    assert remarks(setup_of(lasting(words))) == []


def test_remarks_stand_before_the_first_step_and_in_the_preview(run_in_process):
    words = ("sched=multistep", "sched.milestones=[30ep]", "epochs=1", "threads=1")
    for task in ("train", "preview"):
        code, out, errors = run_in_process(f"task={task}", *words)
        assert code == 0, errors
        assert "note: sched.milestones=[30ep]: the run ends after 20 steps (1 epoch)" in out.partition("step 0")[0]


@pytest.mark.parametrize(
    ("capabilities", "slow"),
    [
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, False),
        ({"architecture": "aarch64"}, False),
        ({}, False),
    ],
)
def test_bf16_without_instructions_for_it_is_said_to_be_slow(capabilities, slow, setup_of, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    lines = remarks(setup_of("precision=bf16 threads=1 device=cpu"))
    assert [line.startswith("precision=bf16: this CPU has neither AVX512-BF16 nor AMX") for line in lines] == [
        True
    ] * slow


def test_snapshots_need_a_schedule_with_cycles(setup_of):
    words = "data=iris model=mlp epochs=2 device=cpu threads=1 averaging=snapshot"
    (line,) = [line for line in remarks(setup_of(words)) if "averaging" in line]
    better = "try sched=cosine_restarts sched.length=20% sched.growth=1"
    assert line == f"averaging=snapshot: sched=cosine has no cycles, so it keeps only the last weights; {better}"
    for more in ("sched=cosine_restarts sched.length=50% sched.growth=1", "averaging.every=1ep"):
        assert not [line for line in remarks(setup_of(f"{words} {more}")) if "averaging" in line]
