"""Images under their maps: their colours, their size."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from trainer.explanation.picture import Bars, draw_chart, overlaid, shortened


def test_where_the_map_is_0_the_image_is_grey_and_where_it_is_1_yellow():
    image, map_ = np.zeros((2, 130, 3)), np.zeros((2, 130))
    image[:, 65:] = (0.3, 0.6, 0.9)
    map_[1, 0] = map_[1, 129] = 1.0
    found = overlaid(image, map_)
    assert found.shape == (2, 130, 3)
    np.testing.assert_allclose(found[0, 0], [0.3] * 3)  # black
    np.testing.assert_allclose(found[0, 129], [0.3 + 0.4 * 0.6] * 3)
    for place, grey in ((0, 0.3), (129, 0.54)):  # matplotlib's brightest colour of inferno, of which a fifth is grey
        np.testing.assert_allclose(
            found[1, place], 0.2 * grey + 0.8 * np.array([0.988362, 0.998364, 0.644924]), atol=1e-6
        )


@pytest.mark.parametrize(
    "shape, size", [((8, 8), (128, 128)), ((1, 1), (128, 128)), ((50, 30), (150, 90)), ((200, 1), (200, 1))]
)
def test_small_images_are_enlarged_by_a_whole_number(shape, size):
    image = np.random.default_rng(0).random((*shape, 3))
    found = overlaid(image, np.zeros(shape))
    assert found.shape == (*size, 3) and found.min() >= 0.3 and found.max() <= 0.7
    assert len(np.unique(found)) <= shape[0] * shape[1]  # pixels stay squares


def test_a_long_name_is_cut_in_its_middle():
    assert shortened("x" * 24) == "x" * 24
    assert shortened("a" * 30 + "b" * 30) == "a" * 11 + "\u2026" + "b" * 12


@pytest.mark.parametrize(
    "values", [(-341234.0, 12000.0), (164061.0, -140713.0), (-178000.0, 8000.0), (0.00012, -0.00034), (9.9e8, -1.0)]
)
def test_labels_of_large_values_do_not_overlap(values):
    figure = Figure(figsize=(3.2, 1.9), layout="constrained")
    axes = figure.subplots()
    draw_chart(axes, Bars("row 2", ["sold = 2020-09-16", "b"], values), ["red", "blue"])
    figure.draw_without_rendering()
    boxes = sorted((label.get_window_extent().x0, label.get_window_extent().x1) for label in axes.get_xticklabels())
    assert len(boxes) > 2 and all(end < start for (_, end), (start, _) in zip(boxes, boxes[1:]))
