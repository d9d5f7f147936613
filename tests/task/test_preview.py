"""task=preview: the learning rates it shows are those of training; what it prints and writes."""

import io
import re
import struct
import sys

import numpy as np
import pytest
import rich.console

from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.engine.lr_curve import HEIGHT, chart, describe, make_lr_curve, ticks
from trainer.rundir.console import Console
from trainer.task.preview import print_lr_curve

SAMPLES = 1259  # of the training split of digits: 20 steps per epoch with batches of 64
COLORS = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture
def curve_of(composed):
    """Make the learning-rate curve that overrides give."""
    return lambda *words, samples=SAMPLES: make_lr_curve(composed(*words), samples, Invocation())


def lines_of(chart):
    return COLORS.sub("", chart).rstrip("\n").split("\n")


def figure(folder):
    (found,) = (folder / "outputs").glob("*/*/preview-learning-rate.png")
    return found


@pytest.mark.parametrize(
    "words", [["sched=cosine", "warmup=linear"], ["optimizer=adam", "sched=step", "accumulate=3", "drop_last=true"]]
)
def test_the_rates_are_those_of_training(words, curve_of, fitted):
    words = [*words, "epochs=3", "log_every=1", "data=digits", "model=mlp", "threads=1"]
    run, recorder = fitted(*words)
    logged = [row["lr"] for row in recorder.rows if row["split"] == "train"]
    curve = curve_of(*words, samples=len(run.train))
    assert len(run.train) == SAMPLES and curve.clock == run.clock
    assert curve.rates == logged


def test_a_warmed_cosine_by_hand(curve_of):
    curve = curve_of("optimizer.lr=0.4", "sched=cosine", "warmup=linear", "warmup.length=3ep", "epochs=50")
    t = np.arange(1000)
    expected = 0.2 * (1 + np.cos(np.pi * t / 1000)) * np.minimum(1, (t + 1) / 60)
    np.testing.assert_allclose(curve.rates, expected, rtol=1e-12)  # float64
    assert (curve.warmup_steps, curve.peak, curve.epoch(curve.peak), curve.observes_loss) == (59, 60, 3.0, False)


@pytest.mark.parametrize(
    ("words", "rate", "steps_per_epoch"),
    [
        (["optimizer=sgd", "optimizer.lr=0.3"], 0.3, 20),
        (["optimizer=gd"], 0.5, 1),  # a batch as large as the split
        (["optimizer.lr=0.1", "scale_lr=linear", "base_batch=256", "batch_size=32", "accumulate=4"], 0.05, 10),
        (["optimizer=lookahead"], 0.05, 20),  # its own lr is null: momentum's
        (["optimizer=lookahead", "optimizer@optimizer.base=adam"], 1e-3, 20),
        (["optimizer=lookahead", "optimizer.lr=0.7"], 0.7, 20),
        (["optimizer=muon", "optimizer.lr=0.03"], 0.03, 20),  # of the hidden matrices, which come first
    ],
)
def test_the_rate_is_the_one_the_optimizer_takes(words, rate, steps_per_epoch, curve_of):
    curve = curve_of("sched=constant", *words)
    assert curve.rates == pytest.approx([rate] * curve.clock.total_steps)
    assert curve.clock.steps_per_epoch == steps_per_epoch


@pytest.mark.parametrize("option", catalog.options("sched"))
def test_every_schedule_can_be_drawn(option, curve_of):
    curve = curve_of(f"sched={option}", "warmup=linear", "epochs=20")
    assert curve.observes_loss == (option == "plateau") and curve.warmup_steps == 19 and len(curve.rates) == 400
    lines = lines_of(chart(curve, 70))
    assert len(lines) == HEIGHT and {len(line) for line in lines} == {70}


@pytest.mark.parametrize("warmup", ["none", "linear"])
@pytest.mark.parametrize(("samples", "epochs", "width"), [(64, 1, 80), (65, 1, 20), (640, 1, 250), (64_000, 200, 80)])
def test_the_chart_of_short_and_long_runs_has_the_given_width(samples, epochs, width, warmup, curve_of):
    curve = curve_of("sched=linear", f"warmup={warmup}", f"epochs={epochs}", samples=samples)
    assert {len(line) for line in lines_of(chart(curve, width))} == {max(width, 40)}


def test_the_chart_falls_where_the_rate_falls_and_shades_the_warm_up(curve_of):
    curve = curve_of("sched=linear", "warmup=linear", "warmup.length=25%", "epochs=40")
    lines = lines_of(chart(curve, 100))[3 : HEIGHT - 3]
    rows = [line.partition("\u2524")[2] or line.partition("\u2502")[2] for line in lines]  # right of the axis
    rows = [row.rstrip("\u2502") for row in rows]
    curve = {
        column: next((index for index, row in enumerate(rows) if "\u2800" < row[column] <= "\u28ff"), None)
        for column in range(len(rows[0]))
    }
    heights = [curve[column] for column in range(30, 90)]  # braille characters, right of the peak
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
def test_ticks_are_round_numbers(end, most, whole, expected):
    assert ticks(end, most, whole) == pytest.approx(expected)


def test_the_main_values_are_described(curve_of):
    values, steps, warmup = describe(
        curve_of("sched=cosine", "warmup=linear", "warmup.length=4ep", "optimizer.lr=0.2", "epochs=40")
    )
    # 0.2 / 80; 0.1 (1 + cos(79 pi / 800)) at the 80th step, where the ramp is full; 0.1 (1 + cos(799 pi / 800))
    assert values == "first 0.0025, peak 0.1952 at step 80 (epoch 4), last 7.711e-07"
    assert steps == "800 steps, 20 per epoch"
    assert warmup == "shaded: warm-up, until step 80 (epoch 4) reaches the schedule's rate"
    *_, longer = describe(curve_of("warmup=linear", "warmup.length=3ep", "epochs=2"))
    assert longer == "shaded: warm-up, which is longer than the run"


def test_plateau_is_drawn_flat_and_explained(curve_of):
    values, _, note = describe(curve_of("sched=plateau"))
    assert values == "first 0.05, peak 0.05 at step 1 (epoch 0.05), last 0.05"
    assert note.startswith("the schedule depends on the validation loss")


def test_what_is_printed_and_written(run_in_process, tmp_path):
    code, out, err = run_in_process("task=preview", "sched=cosine", "warmup=linear", "epochs=40", "threads=1")
    assert (code, err) == (0, "")
    assert "\x1b" not in out  # not a terminal
    assert "Learning rate of optimizer=momentum sched=cosine warmup=linear" in out and "800 steps, 20 per epoch" in out
    assert all(label in out for label in (" epoch ", " step ", "0.04\u2524"))  # of the axes
    header = figure(tmp_path).read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:]) == (990, 495)  # 9 x 4.5 inches of 110 dots
    assert {path.name.partition(".tfevents")[0] for path in figure(tmp_path).parent.iterdir()} == {
        "config.yaml",
        "overrides.txt",
        "events.out",
        "preview-activation.png",
        "preview-images.png",
        "preview-learning-rate.png",
        "preview-preprocess.png",
    }
    assert f"saved {figure(tmp_path).relative_to(tmp_path)}\n" in out


def test_no_model_is_built(run_in_process):
    """A net that cannot take these images, and would stop a run before it starts, does not stop a preview."""
    assert run_in_process("model=alexnet", "data=iris", "epochs=1", "threads=1")[0] == 2
    assert run_in_process("task=preview", "model=alexnet", "data=iris", "threads=1")[0] == 0


def test_a_sweep_draws_each_schedule_in_a_folder_of_its_own(run_in_process, tmp_path):
    words = ("task=preview", "data=iris", "sched=linear,power", "epochs=2", "threads=1")
    assert run_in_process("-m", *words)[0] == 0
    assert len(list((tmp_path / "outputs").rglob("preview-learning-rate.png"))) == 2


def test_without_plotext_the_values_are_printed(curve_of, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "plotext", None)  # its import fails where its compiled part does not load
    print_lr_curve(curve_of("epochs=2"), Console())
    printed = capsys.readouterr().out
    assert "(no chart: plotext cannot be loaded" in printed and "first 0.05" in printed


def test_a_terminal_without_block_characters_gets_the_values(curve_of, monkeypatch):
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", file)
    print_lr_curve(curve_of("epochs=2"), Console())
    file.flush()
    printed = file.buffer.getvalue().decode("ascii")
    assert "the terminal has no block characters)" in printed and "first 0.05" in printed


def test_a_terminal_gets_the_chart_in_colours_and_as_wide_as_it_is(curve_of):
    console = Console()
    console.terminal = rich.console.Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=64)
    print_lr_curve(curve_of("sched=cosine", "warmup=linear"), console)
    lines = console.terminal.file.getvalue().split("\n")
    coloured = [line for line in lines if "\x1b[" in line]
    framed = [COLORS.sub("", line) for line in lines if "\u2502" in line or "\u2524" in line]
    assert len(coloured) >= 10 and len(framed) >= 10 and {len(line) for line in framed} == {64}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["batch_size=5000"], "batch_size=5000: larger than the 1259 training samples"),
        (["sched.milestones=[20ep,30]", "sched=multistep"], "30"),
    ],
)
def test_what_a_run_would_refuse_a_preview_refuses_and_writes_nothing(words, message, run_in_process, tmp_path):
    code, _, err = run_in_process("task=preview", *words, "threads=1")
    assert code == 2 and message in err and "Traceback" not in err and not (tmp_path / "outputs").exists()
