"""task=preview: the rates it shows are those that training uses; what it prints and writes."""

import io
import re
import struct
import sys

import numpy as np
import pytest
import rich.console

from trainer.config import catalog
from trainer.rundir.console import Console
from trainer.task.preview import HEIGHT, chart, plan_of, show, ticks

SAMPLES = 1259  # of the training split of digits: 20 updates an epoch of 64 each


def picture(folder):
    (found,) = (folder / "outputs").glob("*/*/preview-learning-rate.png")
    return found


@pytest.mark.parametrize(
    "words", [["sched=cosine", "warmup=linear"], ["optimizer=adam", "sched=step", "accumulate=3", "drop_last=true"]]
)
def test_the_rates_are_those_of_training(words, composed, fitted):
    words = [*words, "epochs=3", "log_every=1", "data=digits", "model=mlp", "threads=1"]
    run, curves = fitted(*words)
    logged = [row["lr"] for row in curves.rows if row["split"] == "train"]
    plan = plan_of(composed(*words), len(run.train))
    assert len(run.train) == SAMPLES and plan.clock == run.clock
    assert plan.rates == logged


def test_a_warmed_cosine_by_hand(composed):
    plan = plan_of(
        composed("optimizer.lr=0.4", "sched=cosine", "warmup=linear", "warmup.length=3ep", "epochs=50"), SAMPLES
    )
    t = np.arange(1000)
    np.testing.assert_allclose(
        plan.rates, 0.2 * (1 + np.cos(np.pi * t / 1000)) * np.minimum(1, (t + 1) / 60), rtol=1e-12
    )  # float64
    assert (plan.warming, plan.peak, plan.epoch(plan.peak), plan.observes) == (59, 60, 3.0, False)


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        (["optimizer=sgd", "optimizer.lr=0.3"], 0.3),
        (["optimizer=gd"], 0.5),  # of a batch as large as the split: one update an epoch
        (
            [
                "optimizer.lr=0.1",
                "optimizer.scale_lr=linear",
                "optimizer.base_batch=256",
                "batch_size=32",
                "accumulate=4",
            ],
            0.05,
        ),
        (["optimizer=lookahead"], 0.05),  # its own lr is null: momentum's
        (["optimizer=lookahead", "optimizer@optimizer.base=adam"], 1e-3),
        (["optimizer=lookahead", "optimizer.lr=0.7"], 0.7),
        (
            ["optimizer=muon", "optimizer.lr=0.03"],
            0.03,
        ),  # of the hidden matrices, which stand first; the rest has another
    ],
)
def test_the_rate_is_the_one_the_optimizer_takes(words, rate, composed):
    plan = plan_of(composed(*words), SAMPLES)
    assert plan.rates == pytest.approx([rate] * plan.clock.total_steps)
    assert plan.clock.steps_per_epoch == {"optimizer=gd": 1, "optimizer.lr=0.1": 10}.get(words[0], 20)


@pytest.mark.parametrize("option", catalog.options("sched"))
def test_every_schedule_can_be_drawn(option, composed):
    plan = plan_of(composed(f"sched={option}", "warmup=linear", "epochs=20"), SAMPLES)
    assert plan.observes == (option == "plateau") and plan.warming == 19 and len(plan.rates) == 400
    lines = re.sub(r"\x1b\[[\d;]*m", "", chart(plan, 70)).rstrip("\n").split("\n")
    assert len(lines) == HEIGHT and {len(line) for line in lines} == {70}


@pytest.mark.parametrize("warmup", ["none", "linear"])
@pytest.mark.parametrize(("samples", "epochs", "width"), [(64, 1, 80), (65, 1, 20), (640, 1, 250), (64_000, 200, 80)])
def test_the_chart_of_short_and_long_runs_has_the_width_asked_for(samples, epochs, width, warmup, composed):
    plan = plan_of(composed("sched=linear", f"warmup={warmup}", f"epochs={epochs}"), samples)
    lines = re.sub(r"\x1b\[[\d;]*m", "", chart(plan, width)).rstrip("\n").split("\n")
    assert {len(line) for line in lines} == {max(width, 40)}


def test_the_chart_falls_where_the_rate_falls_and_shades_the_warm_up(composed):
    plan = plan_of(composed("sched=linear", "warmup=linear", "warmup.length=25%", "epochs=40"), SAMPLES)
    lines = re.sub(r"\x1b\[[\d;]*m", "", chart(plan, 100)).split("\n")[3 : HEIGHT - 3]
    rows = [line.partition("\u2524")[2] or line.partition("\u2502")[2] for line in lines]  # what stands behind the axis
    rows = [row.rstrip("\u2502") for row in rows]
    curve = {
        column: next((index for index, row in enumerate(rows) if "\u2800" < row[column] <= "\u28ff"), None)
        for column in range(len(rows[0]))
    }
    heights = [curve[column] for column in range(30, 90)]  # braille characters, behind the peak
    assert None not in heights and heights == sorted(heights) and heights[0] < heights[-1]
    shaded = {column for row in rows for column, character in enumerate(row) if character == "\u2591"}
    assert max(shaded) in (23, 24, 25) and len(shaded) > 15  # a quarter of about 94 columns


@pytest.mark.parametrize(
    ("end", "most", "whole", "expected"),
    [
        (1000, 8, True, [0, 200, 400, 600, 800, 1000]),
        (1400, 4, True, [0, 500, 1000]),
        (3, 8, True, [0, 1, 2, 3]),
        (0.3, 8, True, [0]),
        (0.05, 5, False, [0, 0.01, 0.02, 0.03, 0.04, 0.05]),
        (7e-4, 5, False, [0, 2e-4, 4e-4, 6e-4]),
        (1.0, 5, False, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_marks_are_round_numbers(end, most, whole, expected):
    assert ticks(end, most, whole) == pytest.approx(expected)


def test_what_is_printed_and_written(run_in_process, tmp_path):
    code, out, err = run_in_process(
        "task=preview",
        "sched=cosine",
        "warmup=linear",
        "warmup.length=4ep",
        "optimizer.lr=0.2",
        "epochs=40",
        "threads=1",
    )
    assert (code, err) == (0, "")
    assert "\x1b" not in out  # not a terminal
    assert "optimizer=momentum sched=cosine warmup=linear" in out
    # 0.2 / 80; 0.1 (1 + cos(79 pi / 800)) at the 80th update, where the ramp is full; 0.1 (1 + cos(799 pi / 800))
    assert "first 0.0025, peak 0.1952 at update 80 (epoch 4), last 7.711e-07" in out
    assert "800 updates, 20 an epoch" in out and "until update 80 (epoch 4)" in out and "validation loss" not in out
    for words in ("epoch", "update", "0.15"):
        assert words in out
    header = picture(tmp_path).read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", header[16:]) == (
        990,
        495,
    )  # 9 x 4.5 inches of 110 dots
    folder = picture(tmp_path).parent
    assert {path.name.partition(".tfevents")[0] for path in folder.iterdir()} == {
        "config.yaml",
        "overrides.txt",
        "events.out",
        "preview-images.png",
        "preview-learning-rate.png",
    }
    assert str(picture(tmp_path).relative_to(tmp_path)) in out


def test_plateau_says_that_it_goes_by_the_loss_and_is_drawn_flat(run_in_process):
    code, out, _ = run_in_process("task=preview", "sched=plateau", "threads=1")
    assert code == 0 and "validation loss, which only training shows" in out
    assert "first 0.05, peak 0.05 at update 1 (epoch 0.05), last 0.05" in out and "shaded" not in out


def test_no_model_is_built(run_in_process):
    """A net that cannot take these images, and would stop a run before it starts, is none of its business."""
    assert run_in_process("model=alexnet", "data=iris", "epochs=1", "threads=1")[0] == 2
    assert run_in_process("task=preview", "model=alexnet", "data=iris", "threads=1")[0] == 0


def test_a_sweep_draws_each_schedule_in_a_folder_of_its_own(run_in_process, tmp_path):
    assert run_in_process("-m", "task=preview", "sched=linear,power", "epochs=2", "threads=1")[0] == 0
    assert len(list((tmp_path / "outputs").rglob("preview-learning-rate.png"))) == 2


def test_without_plotext_there_are_still_words_and_a_picture(run_in_process, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotext", None)  # its import fails where its compiled part does not load
    code, out, _ = run_in_process("task=preview", "epochs=2", "threads=1")
    assert code == 0 and "no chart here" in out and "first 0.05" in out and picture(tmp_path).is_file()


def test_a_terminal_without_block_characters_gets_words(composed, monkeypatch):
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", file)
    show(plan_of(composed("epochs=2"), SAMPLES), Console())
    file.flush()
    printed = file.buffer.getvalue().decode("ascii")
    assert "no chart here" in printed and "first 0.05" in printed


def test_a_terminal_gets_the_chart_in_colours_and_as_wide_as_it_is(composed):
    console = Console()
    console.terminal = rich.console.Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=64)
    show(plan_of(composed("sched=cosine", "warmup=linear"), SAMPLES), console)
    lines = console.terminal.file.getvalue().split("\n")
    coloured = [line for line in lines if "\x1b[" in line]
    framed = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines if "\u2502" in line or "\u2524" in line]
    assert len(coloured) >= 10 and len(framed) >= 10 and {len(line) for line in framed} == {64}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["batch_size=5000"], "batch_size=5000: larger than the 1259 training samples"),
        (["sched.milestones=[20ep,30]", "sched=multistep"], "30"),
    ],
)
def test_what_a_run_would_refuse_it_refuses_and_writes_nothing(words, message, run_in_process, tmp_path):
    code, _, err = run_in_process("task=preview", *words, "threads=1")
    assert code == 2 and message in err and "Traceback" not in err and not (tmp_path / "outputs").exists()
