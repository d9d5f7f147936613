"""Samples as a person reads them: cells of a table, names, images in their own colours."""

import numpy as np
import pytest
import torch

from trainer.data.inputs import ArrayInput, InputColumn, TableInput, inputs_of_shape, named_columns
from trainer.data.splits import Names, Split
from trainer.report.samples import Samples, as_pixels


def test_the_cells_of_a_row_are_those_of_the_file():
    colour = InputColumn(name="colour", kind="category", categories=("red", "blue"), missing=True)
    columns = (
        InputColumn(name="a"),
        colour,
        InputColumn(name="day", kind="date"),
        InputColumn(name="time", kind="date"),
    )
    days = [19782.0, 19782.5]  # 2024-02-29
    rows = torch.tensor([[0.1, 0, 1, 0, *days], [-3, 0, 0, 1, *days], [1e6, 0, 0, 0, *days]], dtype=torch.float64)
    samples = Samples(Split(rows, torch.zeros(3, 1)), TableInput(columns=columns))
    assert samples.columns == ["a", "colour", "day", "time"] and not samples.are_images
    times = ["2024-02-29", "2024-02-29 12:00:00"]
    expected = [["1000000", "", *times], ["0.1", "blue", *times], ["-3", "", *times]]  # unknown and missing: empty
    assert samples.rows([2, 0, 1]) == expected and samples.rows([]) == []


def test_numbers_have_the_digits_of_float32():
    samples = Samples(Split(torch.tensor([[5.1, 1 / 3]]), torch.zeros(1, 1)), named_columns(["x", "y"]))
    assert samples.rows([0]) == [["5.1", "0.3333333"]]


def test_samples_have_the_names_of_their_source_or_their_place():
    split = Split(
        torch.zeros(4, 2), torch.zeros(4, 1), Names("path", ["a", "b", "c", "d", "e"], torch.tensor([4, 2, 1, 0]))
    )
    samples = Samples(split, named_columns(["x", "y"]))
    assert samples.heading == "path" and [samples.name(place) for place in range(4)] == ["e", "c", "b", "a"]
    some = Samples(split.select(torch.tensor([1, 3])), named_columns(["x", "y"]))
    assert [some.name(place) for place in range(2)] == ["c", "a"]
    without = Samples(Split(torch.zeros(2, 2), torch.zeros(2, 1)), named_columns(["x", "y"]))
    assert without.heading == "index" and without.name(np.int64(1)) == 1


def test_what_is_no_row_has_no_cells():
    samples = Samples(Split(torch.zeros(2, 3, 4), torch.zeros(2, 1)), ArrayInput(shape=(3, 4)))
    assert samples.columns == [] and samples.rows([0, 1]) == [[], []] and not samples.are_images


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_have_their_own_colours(channels):
    images = torch.arange(2 * channels * 6, dtype=torch.uint8).view(2, channels, 2, 3)
    shown = Samples(Split(images, torch.zeros(2, 1)), inputs_of_shape(images.shape[1:])).images([1])
    first = images[1] if channels == 3 else images[1, :1].expand(3, 2, 3)
    assert shown.dtype == np.uint8 and (shown[0] == first.permute(1, 2, 0).numpy()).all()
    assert (as_pixels(images / 255) == as_pixels(images)).all()


def test_floats_outside_of_the_unit_interval_are_stretched_image_by_image():
    images = torch.tensor([[-1.0, 0, 1], [0, 0, 0.5]]).view(2, 1, 1, 3)
    assert as_pixels(images)[..., 0].tolist() == [[[0, 128, 255]], [[0, 0, 255]]]
