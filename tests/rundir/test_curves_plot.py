"""The figure of a run's curves: what is drawn of few and of no points."""

import pytest
from matplotlib.figure import Figure

from trainer.rundir import curves_plot


def row(split, epoch, loss):
    return {"split": split, "epoch": epoch, "loss": loss, "accuracy": 0.5, "lr": 0.1}


@pytest.mark.parametrize(("epochs", "marker"), [([0.0], "o"), ([0.0, 1.0], "None")])
def test_a_single_evaluation_is_a_dot_and_several_are_a_line(epochs, marker):
    axes = Figure().subplots()
    curves_plot.draw_metric(axes, [row("val", epoch, 2.0 + epoch) for epoch in epochs], "loss")
    (line,) = [line for line in axes.get_lines() if line.get_label() == "val"]
    assert [*line.get_xdata()] == epochs and [*line.get_ydata()] == [2.0 + epoch for epoch in epochs]
    assert line.get_marker() == marker


@pytest.mark.parametrize(("rows", "empty"), [([row("val", 0, 2.3)], 2), ([row("train", 1, 2.3)], 1), ([], 4)])
def test_a_panel_without_a_point_says_so(rows, empty, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves_plot, "write_figure", lambda figure, path: drawn.append(figure))
    curves_plot.draw(rows, tmp_path / "curves.png")
    assert [text.get_text() for axes in drawn[0].axes for text in axes.texts] == ["no value was logged"] * empty


def test_a_moving_average_of_a_line_is_the_line():
    values = [0.5 * place for place in range(100)]
    assert curves_plot.moving_average(values) == pytest.approx(values, abs=1e-12)  # symmetric windows; rounding
    assert curves_plot.moving_average([0.0] * 50 + [1.0] + [0.0] * 49)[50] == pytest.approx(1 / 5)  # 100 // 20 // 2 = 2


@pytest.mark.parametrize(
    "values, found", [([3e5, 0.5, 0.4], True), ([30.0, 0.5, 0.4], False), ([1e5, 0.0, 0.1], False), ([2.0], False)]
)
def test_the_axis_of_gradients_is_logarithmic_where_one_would_hide_all_others(values, found):
    assert curves_plot.has_spike(values) == found
