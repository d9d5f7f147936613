"""Gap between training and validation at the best evaluation, and its mark in curves.png."""

import pytest

from trainer.rundir import curves_plot
from trainer.rundir.gap import gaps, training_averages

BEST = {"step": 20, "epoch": 2.0, "loss": 0.9, "accuracy": 0.6}


def row(split, step, loss, accuracy):
    return {"split": split, "step": step, "epoch": step / 10, "loss": loss, "accuracy": accuracy, "lr": 0.1}


ROWS = [
    row("val", 0, 2.0, 0.1),
    row("train", 4, 1.8, 0.2),
    row("train", 10, 1.5, 0.3),
    row("val", 10, 1.4, 0.4),
    row("train", 12, 1.0, 0.5),  # of two steps
    row("train", 20, 0.5, 0.75),  # of eight
    row("val", 20, 0.9, 0.6),
    row("train", 30, 0.1, 1.0),
    row("val", 30, 1.2, 0.5),
]


def test_the_training_average_is_that_of_the_steps_since_the_evaluation_before():
    assert training_averages(ROWS, 20) == pytest.approx({"loss": (2 * 1.0 + 8 * 0.5) / 10, "accuracy": 0.7})
    assert training_averages(ROWS, 10) == pytest.approx({"loss": (4 * 1.8 + 6 * 1.5) / 10, "accuracy": 0.26})
    found = gaps(ROWS, BEST)
    assert [*found] == ["loss", "accuracy"]
    assert found["loss"] == pytest.approx((0.6, 0.9)) and found["accuracy"] == pytest.approx((0.7, 0.6))
    assert gaps(ROWS, None) == {}


def test_a_loss_that_is_not_finite_has_no_gap():
    rows = [*ROWS[:5], {**ROWS[5], "loss": None}, ROWS[6]]
    assert [*gaps(rows, BEST)] == ["accuracy"]


def test_the_best_evaluation_is_marked_with_its_gap(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves_plot, "write_figure", lambda figure, path: drawn.append(figure))
    curves_plot.draw(ROWS, tmp_path / "curves.png", title="data=x model=y", best=BEST)
    loss, score, *_ = drawn[0].axes
    for axes in (loss, score):
        (line,) = [line for line in axes.get_lines() if line.get_label() == "best (epoch 2)"]
        assert {*line.get_xdata()} == {2.0} and line.get_linestyle() == ":"
    assert loss.get_title() == "loss   (val - train at the best: 0.3000)"
    assert score.get_title() == "accuracy   (val - train at the best: -0.1000)"
    assert [text.get_text() for text in drawn[0].texts] == ["data=x model=y"]


def test_a_summary_without_a_usable_best_draws_none(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves_plot, "write_figure", lambda figure, path: drawn.append(figure))
    for best in (None, "x", {"step": "x", "epoch": 1}):
        curves_plot.draw_run(tmp_path, ROWS, {"status": "finished", "best": best}, "")
        assert drawn[-1].axes[0].get_title() == "loss"
