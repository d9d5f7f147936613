"""Gaussian noise against its distribution."""

import numpy as np
import torch
from augmenting import UNLIKELY, rng
from scipy import stats

from trainer.aug.noise import Noise


def test_noise_is_normal_and_differs_from_pixel_to_pixel():
    images = torch.randn(40, 2, 5, 5, generator=rng(7))
    added = (Noise(std=0.3)(images, None, rng())[0] - images).double().flatten().numpy()
    assert stats.kstest(added, stats.norm(0, 0.3).cdf).pvalue > UNLIKELY
    assert len(np.unique(added)) > 1900
