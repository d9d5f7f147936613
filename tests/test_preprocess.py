"""Preprocessing against NumPy in float64."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from trainer.preprocess import CHUNK, Center, ChannelStandardize, Nothing, Standardize

ROUNDING = {"rtol": 1e-5, "atol": 1e-5}  # shift, scale and result are float32: 6e-8 each, grown by the division by deviations near 0.1


def samples(kind, count, seed):
    draws = np.random.default_rng(seed)
    if kind == "table":
        return draws.normal([3, -40, 0.5], [2, 9, 0.1], (count, 3)).astype(np.float32)
    pixels = draws.integers(0, 256, (count, 3, 4, 2), dtype=np.uint8) // np.array([1, 2, 5], np.uint8).reshape(3, 1, 1)
    return pixels if kind == "uint8" else pixels.astype(np.float32) / 255


def plain(values):
    return values / 255 if values.dtype == np.uint8 else values.astype(np.float64)


@pytest.mark.parametrize("kind", ["table", "float", "uint8"])
@pytest.mark.parametrize("preprocess", [Nothing(), Center(), Standardize(), ChannelStandardize()])
def test_fitted_on_train_and_applied_to_another_split(preprocess, kind):
    train, other = samples(kind, 300, 0), samples(kind, 40, 1)
    over = (0, 2, 3) if isinstance(preprocess, ChannelStandardize) and kind != "table" else 0
    mean, deviation = plain(train).mean(over, keepdims=True), plain(train).std(over, keepdims=True)
    expected = {
        Nothing: lambda x: x,
        Center: lambda x: x - mean,
        Standardize: lambda x: (x - mean) / deviation,
        ChannelStandardize: lambda x: (x - mean) / deviation,
    }[type(preprocess)]
    apply = preprocess.fit(torch.from_numpy(train))
    for split in (train, other):
        ours = apply(torch.from_numpy(split.copy()))
        assert ours.dtype == torch.float32
        assert_close(ours, torch.from_numpy(expected(plain(split))).float(), **ROUNDING)


@pytest.mark.parametrize("preprocess", [Standardize(), ChannelStandardize()])
@pytest.mark.parametrize("kind", ["table", "float", "uint8"])
def test_the_training_split_ends_at_mean_zero_and_deviation_one(preprocess, kind):
    train = torch.from_numpy(samples(kind, 300, 0))
    over = (0, 2, 3) if isinstance(preprocess, ChannelStandardize) and kind != "table" else (0,)
    deviation, mean = torch.std_mean(preprocess.fit(train)(train).double(), over, correction=0)
    assert_close(mean, torch.zeros_like(mean), **ROUNDING)
    assert_close(deviation, torch.ones_like(deviation), **ROUNDING)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 12345.678])
def test_a_constant_feature_is_only_centred(constant):
    table = torch.tensor([[constant, 1.0], [constant, 3.0], [constant, 5.0]] * 333)
    ours = Standardize().fit(table)(table)
    assert_close(ours[:, 0], torch.zeros(999), rtol=0, atol=0)  # the mean of equal float32 is itself
    assert_close(ours[:3, 1], torch.tensor([-1.5, 0.0, 1.5]).mul(2 / 3 * 1.5**0.5))
    shifted = Standardize().fit(table)(table + torch.tensor([1.0, 0.0]))
    assert_close(shifted[:, 0], torch.ones(999), rtol=0, atol=1e-3)  # 12346.678 in float32 has steps of 1e-3


def test_a_constant_channel_of_uint8_images_is_only_centred():
    images = torch.tensor([77, 0], dtype=torch.uint8).view(1, 2, 1, 1).repeat(50, 1, 3, 3)
    images[:25, 1] = 255
    ours = ChannelStandardize().fit(images)(images)
    assert_close(ours[:, 0], torch.zeros(50, 3, 3), rtol=0, atol=1e-7)  # 77/255 in float32
    assert_close(ours[:, 1].abs(), torch.ones(50, 3, 3))


def test_a_small_deviation_beside_a_large_mean_is_no_constant():
    table = torch.tensor([[1000.0], [1000.5]] * 100)
    assert_close(Standardize().fit(table)(table), torch.tensor([[-1.0], [1.0]] * 100))


def test_statistics_of_more_than_a_chunk_are_those_of_the_whole():
    images = np.random.default_rng(2).integers(0, 256, (CHUNK + 903, 1, 2, 2), dtype=np.uint8)
    images[CHUNK:] //= 4
    affine = ChannelStandardize().fit(torch.from_numpy(images))
    assert affine.shift.item() == pytest.approx((images / 255).mean(), rel=1e-6)  # float32
    assert affine.scale.item() == pytest.approx((images / 255).std(), rel=1e-6)


def test_nothing_scales_uint8_and_keeps_floats():
    assert Nothing().fit(torch.empty(0))(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    floats = torch.tensor([0.3, -2.0])
    assert torch.equal(Nothing().fit(floats)(floats), floats)


@pytest.mark.parametrize("preprocess", [Nothing(), Center(), Standardize(), ChannelStandardize()])
def test_the_input_is_not_written_over(preprocess):
    images = torch.rand(9, 1, 2, 2)
    before = images.clone()
    preprocess.fit(images)(images)
    assert torch.equal(images, before)
