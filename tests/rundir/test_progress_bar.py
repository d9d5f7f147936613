"""Progress bar: the time that is left, and figures that are those of now."""

import io

import pytest
import rich.console
import torch

from trainer.base.accumulator import Glance, MetricAccumulator
from trainer.base.clock import Clock
from trainer.base.text import columns
from trainer.rundir.progress_bar import Bar, Pace, countdown

CLOCK = Clock(total_steps=1000, steps_per_epoch=100)


def test_the_estimate_of_a_steady_run_is_exact_and_leaves_the_first_step_out():
    pace = Pace(CLOCK, 0, 100)
    pace.add_steps(1, 30.0)  # compiles
    assert pace.seconds_left is None
    for step in range(2, 101):
        pace.add_steps(step, 0.1)
        assert pace.seconds_left == pytest.approx((1000 - step) * 0.1)


def test_evaluations_are_counted_as_many_as_will_come():
    pace = Pace(CLOCK, 0, 300)
    pace.add_steps(1, 1.0)
    pace.add_evaluation(2.0)  # of the fresh network
    pace.add_steps(101, 10.0)
    assert pace.seconds_left == pytest.approx(899 * 0.1 + 4 * 2.0)  # at 300, 600, 900 and the end
    pace.add_steps(300, 19.9)
    assert pace.seconds_left == pytest.approx(700 * 0.1 + 3 * 2.0)
    pace.add_steps(1000, 70.0)
    assert pace.seconds_left == pytest.approx(0.0)


def test_the_newest_evaluation_counts_most():
    pace = Pace(CLOCK, 0, 1000)
    pace.add_steps(1, 1.0)
    for seconds in (3.0, 0.9, 0.9):
        pace.add_evaluation(seconds)
    pace.add_steps(2, 0.1)
    # A weight in proportion to the number of the evaluation: (1 * 3.0 + 2 * 0.9 + 3 * 0.9) / 6.
    assert pace.seconds_left == pytest.approx(998 * 0.1 + 1.25)


@pytest.mark.parametrize("before, after", [(0.01, 0.1), (0.1, 0.01)])
def test_the_estimate_follows_a_machine_that_becomes_slower_or_faster(before, after):
    pace, step = Pace(Clock(100_000, 100), 0, 100_000), 1
    pace.add_steps(step, 1.0)
    for _ in range(40):  # 10 s
        step += round(0.25 / before)
        pace.add_steps(step, 0.25)
    for _ in range(80):  # 20 s more
        step += round(0.25 / after)
        pace.add_steps(step, 0.25)
    truth = (100_000 - step) * after
    assert truth / 1.5 < pace.seconds_left < truth * 1.5


def test_a_resumed_run_begins_where_it_is():
    pace = Pace(CLOCK, 900, 100)
    pace.add_steps(901, 5.0)
    pace.add_steps(902, 0.1)
    assert pace.seconds_left == pytest.approx(98 * 0.1)


@pytest.mark.parametrize(
    "seconds, since, shown", [(None, 0, "-:--:--"), (3671.2, 0.4, "1:01:11"), (1.0, 5.0, "0:00:00")]
)
def test_the_time_counts_down_between_estimates(seconds, since, shown):
    assert countdown(seconds, since) == shown


def drawn(bar: Bar, width: int) -> str:
    console = rich.console.Console(file=io.StringIO(), width=width)
    console.print(bar)
    return console.file.getvalue().rstrip("\n")


def test_figures_are_those_of_the_step_shown():
    figures = iter([{"loss": 2.0, "accuracy": 0.1}, {}, {"loss": 0.5, "accuracy": 0.75}])
    bar = Bar(Pace(CLOCK, 0, 100), True, lambda: next(figures), samples=64)
    bar.advance(CLOCK.at(1, 0.1))
    assert "epoch 1/10" in drawn(bar, 120) and "loss 2.0000  accuracy 0.1000  lr 0.1" in drawn(bar, 120)
    bar.advance(CLOCK.at(2, 0.1))
    assert "loss 2.0000" in drawn(bar, 120)  # the newest known
    bar._asked -= 1.0  # a second later
    bar.advance(CLOCK.at(250, 0.05))
    assert "epoch 3/10" in drawn(bar, 120) and "loss 0.5000  accuracy 0.7500  lr 0.05" in drawn(bar, 120)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_figure_is_shown_whole_or_not_at_all(width):
    bar = Bar(Pace(CLOCK, 0, 100), True, lambda: {"loss": 12.3456, "accuracy": 0.98765}, samples=64)
    bar.advance(CLOCK.at(1, 1.23e-5))
    shown = drawn(bar, width)
    assert "\n" not in shown and columns(shown) <= width
    words = shown.replace("━", " ").replace("╺", " ").split()
    numbers = {"loss": "12.3456", "accuracy": "0.9877", "lr": "1.23e-05", "epoch": "1/10"}
    for word, number in zip(words, words[1:]):
        assert numbers.get(word, number) == number
    assert "loss" in words and "left" in words


def test_an_evaluation_that_takes_long_is_named():
    bar = Bar(Pace(CLOCK, 0, 100), True, lambda: {"loss": 1.0}, samples=64)
    bar.advance(CLOCK.at(1, 0.1))
    with bar.evaluating():
        assert "evaluating" not in drawn(bar, 80)
        bar._evaluating_since -= 1.0
        assert "evaluating" in drawn(bar, 80)
    assert "evaluating" not in drawn(bar, 80)


@pytest.mark.parametrize("task", ["classification", "binary", "regression"])
def test_a_glance_at_the_sums_changes_nothing(task):
    torch.manual_seed(0)
    batches = [(torch.rand(8), torch.randn(8, 3), torch.rand(8, 3).round()) for _ in range(100)]
    looked, plain, glance = MetricAccumulator(task), MetricAccumulator(task), Glance()
    for number, batch in enumerate(batches, start=1):
        looked.add(*batch)
        plain.add(*batch)
        if number % 7 == 0:
            so_far = MetricAccumulator(task)
            for earlier in batches[:number]:
                so_far.add(*earlier)
            assert looked.means(glance(looked.sums())) == pytest.approx(so_far.compute_and_reset(), rel=1e-5)  # float32
    assert looked.compute_and_reset() == plain.compute_and_reset()  # bit for bit


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_glance_does_not_wait_for_the_device():
    glance, numbers = Glance(), torch.arange(3.0, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert glance(numbers) == []
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert glance(numbers) == [0.0, 1.0, 2.0]
