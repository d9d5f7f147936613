"""Distortions. An image whose pixels are their own positions shows, bilinear, the source of each output pixel."""

import numpy as np
import pytest
import torch
from augmenting import assert_uniform, positions, rng
from scipy import ndimage, stats

from trainer.aug.distortion import Elastic, Perspective, RadialDistortion


def sources(transform, count=300, height=21, width=25):
    """Return the source of each output pixel, centred x and y (N, H, W), and the mask of those inside the image."""
    x, y = positions(height, width)
    images = torch.from_numpy(np.stack([x, y, np.ones_like(x)])).float().expand(count, 3, height, width)
    out = transform(images, None, rng())[0].double().numpy()
    return out[:, 0], out[:, 1], out[:, 2] > 1 - 1e-5  # the picture of ones fades outside


def test_radial_distortion_takes_pixels_from_r_times_1_plus_k_r_squared():
    x, y = positions(11, 31)
    radii = (x**2 + y**2) / (5.5**2 + 15.5**2)  # in half diagonals, squared
    at_x, at_y, sure = sources(RadialDistortion(strength=0.3), 2000, 11, 31)
    k = (at_x[:, 5, 22] / 7 - 1) / radii[5, 22]
    assert_uniform(k, -0.3, 0.3)
    bent = 1 + k[:, None, None] * radii
    # k is measured 7 pixels from the middle, where float32's 2e-6 pixels are 1e-5 of k: at the rim 1e-4 pixels.
    assert np.abs((at_x - x * bent)[sure]).max() < 1e-3 and np.abs((at_y - y * bent)[sure]).max() < 1e-3
    assert sure.mean() > 0.6


@pytest.mark.parametrize(("alpha", "sigma"), [(12.0, 2.0), (3.0, 0.4), (34.0, 4.0)])
def test_elastics_field_is_noise_smoothed_by_a_gaussian(alpha, sigma):
    x, y = positions(21, 25)
    at_x, at_y, sure = sources(Elastic(alpha=alpha, sigma=sigma), 4000)
    middle = sure[:, 7:14, 7:18].all((1, 2))
    assert middle.mean() > 0.9
    field = np.stack([at_x - x, at_y - y])[:, middle, 7:14, 7:18]
    impulse = np.zeros((81, 81))
    impulse[40, 40] = 1
    kernel = ndimage.gaussian_filter(impulse, sigma, truncate=6)  # what one pixel's noise does to its neighbours
    # Five deviations, as if all pixels of a field were alike; below too.
    assert np.abs(field.mean((1, 2, 3))).max() < 5 * field.std() / len(field[0]) ** 0.5
    for lag_y, lag_x in ((0, 0), (0, 1), (1, 0), (0, 3), (2, 2)):
        expected = alpha**2 / 3 * (kernel[lag_y:, lag_x:] * kernel[: 81 - lag_y, : 81 - lag_x]).sum()
        for part in field:
            ours = (part[:, lag_y:, lag_x:] * part[:, : 7 - lag_y, : 11 - lag_x]).mean()
            assert abs(ours - expected) < 5 * part.var() * (2 / len(part)) ** 0.5
    assert abs((field[0] * field[1]).mean()) < 5 * field.var() / len(field[0]) ** 0.5


def test_elastics_deviation_is_the_one_of_the_formula():
    at_x, _, sure = sources(Elastic(alpha=10.0, sigma=3.0), 4000)
    assert sure[:, 10, 12].all()
    # Gaussians of a deviation of 3 pixels sum up to the integral within 1e-9; five deviations of the variance.
    assert at_x[:, 10, 12].var() / (100 / 3 / (4 * np.pi * 9)) == pytest.approx(1, abs=5 * (2 / 4000) ** 0.5)


def homography(start, end):
    """Return the projective map (3, 3) that takes four points to four others, by solving its eight linear equations."""
    rows = [
        row
        for (x, y), (u, v) in zip(start, end)
        for row in ([x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y])
    ]
    return np.append(np.linalg.solve(rows, np.ravel(end)), 1).reshape(3, 3)


def test_perspective_moves_the_corners_inward_uniformly():
    x, y = positions(21, 25)
    at_x, at_y, sure = sources(Perspective(fraction=0.4), 1000)
    spots = [(6, 8), (6, 16), (14, 8), (14, 16)]
    corners = np.array([(-12.5, -10.5), (12.5, -10.5), (12.5, 10.5), (-12.5, 10.5)])
    inward = []
    for index in range(1000):
        there = homography(
            [(x[spot], y[spot]) for spot in spots], [(at_x[index][spot], at_y[index][spot]) for spot in spots]
        )
        u, v, depth = np.einsum("ij,jhw->ihw", there, [x, y, np.ones_like(x)])
        inside = sure[index]
        # Four points known to 1e-6 pixels, with some ten times their distance between them and the rim.
        assert np.abs((u / depth - at_x[index])[inside]).max() < 1e-3
        assert np.abs((v / depth - at_y[index])[inside]).max() < 1e-3
        moved = np.linalg.inv(there) @ np.column_stack([corners, np.ones(4)]).T
        inward.append(1 - (moved[:2] / moved[2]).T / corners)
    inward = np.array(inward).reshape(1000, 8)
    for corner in inward.T:
        assert_uniform(corner, 0, 0.4)
    related = stats.spearmanr(inward).statistic - np.eye(8)
    assert np.abs(related).max() < 5 / 1000**0.5
