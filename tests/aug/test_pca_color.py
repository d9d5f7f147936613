"""PCA colour augmentation: shifts along NumPy's eigenvectors, normal with the eigenvalues as scale."""

import numpy as np
import torch
from augmenting import UNLIKELY, rng
from scipy import stats
from torch.testing import assert_close

from trainer.aug.pca_color import PcaColor


def colorful(count):
    """Return images whose channels are correlated, none of mean 0."""
    mixing = torch.tensor([[1.0, 0.8, 0.5], [0, 0.6, 0.2], [0, 0, 0.3]])
    noise = torch.randn(count, 3, 6, 6, generator=rng(2)).mul_(0.5)
    return (noise.transpose(1, 3) @ mixing + 1).transpose(1, 3)


def test_pca_color_shifts_along_eigenvectors_by_eigenvalues():
    train = colorful(200)
    transform = PcaColor(std=0.5)
    transform.calibrate(train)
    images = torch.zeros(20_000, 3, 1, 2)
    shifts = transform(images, None, rng())[0]
    assert torch.equal(shifts[..., 0], shifts[..., 1])
    values, vectors = np.linalg.eigh(np.cov(train.transpose(0, 1).flatten(1).double().numpy()))
    along = shifts[:, :, 0, 0].double().numpy() @ vectors / values  # the a_i
    for one in along.T:
        assert stats.kstest(one, stats.norm(0, 0.5).cdf).pvalue > UNLIKELY
    assert np.abs(np.corrcoef(along.T) - np.eye(3)).max() < 5 / 20_000**0.5


def test_pca_color_adds_to_the_image_and_takes_the_batchs_covariance_without_calibration():
    images = colorful(50)
    calibrated = PcaColor()
    calibrated.calibrate(images)
    out = calibrated(images, None, rng())[0]
    assert_close(out, images + (out - images)[:, :, :1, :1], rtol=0, atol=1e-6)  # float32 of numbers up to 3
    assert torch.equal(PcaColor()(images, None, rng())[0], out)
