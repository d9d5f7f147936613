"""The plane of a landscape, and the loss on it."""

import numpy as np
import pytest
import torch

from trainer.engine.build import build_run
from trainer.inspection.landscape import filter_normalized, path_plane, random_plane, surface, weight_plane, window
from trainer.inspection.objective import Objective, fixed_batches, measuring


def test_the_surface_over_two_weights_is_exact(composed):
    run = build_run(composed("data=polynomial", "model=linear", "preprocess=minmax", "threads=1", "device=cpu"))
    batches = fixed_batches(run, None)
    x, y = (torch.cat(parts).double().numpy()[:, 0] for parts in zip(*batches))
    before = [weight.clone() for weight in run.model.parameters()]
    with measuring(run):
        found = surface(Objective(run, batches), weight_plane(["w", "b"]), (-1.0, 2.0), (0.0, 4.0), 5)
    expected = [[np.mean((w * x + b - y) ** 2) for w in np.linspace(-1, 2, 5)] for b in np.linspace(0, 4, 5)]
    assert found.loss.numpy() == pytest.approx(np.array(expected), rel=1e-5)  # float32 losses
    assert all(torch.equal(one, other) for one, other in zip(before, run.model.parameters()))


def test_paths_in_a_plane_are_projected_as_they_are():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(50, 2)))[0]
    places = rng.normal(size=(30, 2)) * [5, 1]
    points = torch.tensor(places @ axes.T + rng.normal(size=50)).float()
    plane = path_plane([points[:10], points[10:]], 0)
    projected = plane.project(points).double()
    distances, expected = torch.cdist(projected, projected), torch.cdist(points.double(), points.double())
    assert distances.numpy() == pytest.approx(expected.numpy(), abs=1e-4)  # float32 coordinates of up to 10
    assert [plane.x @ plane.x, plane.y @ plane.y, plane.x @ plane.y] == pytest.approx([1, 1, 0], abs=1e-5)
    shares = np.linalg.eigvalsh(np.cov(places.T))[::-1] / np.trace(np.cov(places.T))
    assert [f"({share:.0%} of" in label for share, label in zip(shares, plane.labels)] == [True, True]


@pytest.mark.parametrize("points", [torch.arange(4.0)[:, None] * torch.ones(9), torch.ones(3, 9), torch.ones(1, 9)])
def test_a_straight_path_and_no_path_get_a_random_direction(points):
    plane = path_plane([points], 0)
    assert [plane.x @ plane.x, plane.y @ plane.y, plane.x @ plane.y] == pytest.approx([1, 1, 0], abs=1e-5)
    assert "random direction" in plane.labels[1]


def test_filters_have_the_lengths_of_the_models_own():
    weight, direction = torch.randn(6, 3, 5, 5), torch.randn(6, 3, 5, 5)
    found = filter_normalized(direction, weight)
    assert found.flatten(1).norm(dim=1) == pytest.approx(weight.flatten(1).norm(dim=1), rel=1e-5)
    assert torch.cosine_similarity(found.flatten(1), direction.flatten(1)) == pytest.approx(torch.ones(6), rel=1e-5)
    assert not filter_normalized(torch.randn(6), torch.randn(6)).any()


def test_random_directions_are_of_the_seed(composed):
    run = build_run(composed("data=iris", "model=mlp", "model.hidden=[4]", "norm=batch", "threads=1", "device=cpu"))
    objective = Objective(run, fixed_batches(run, None))
    one, again, other = (random_plane(objective, seed) for seed in (0, 0, 1))
    assert torch.equal(one.x, again.x) and not torch.equal(one.x, other.x) and not torch.equal(one.x, one.y)
    kept = torch.cat([torch.full((w.numel(),), w.dim() > 1) for w in objective.weights])
    assert one.x[kept].all() and not one.x[~kept].any()


def test_the_window_shows_every_point():
    (left, right), (low, high) = window(torch.tensor([[0.0, 1.0], [4.0, 1.0], [2.0, 1.5]]))
    assert left == pytest.approx(-1) and right == pytest.approx(5) and low < 1 and high > 1.5
    (left, right), (low, high) = window(torch.zeros(1, 2))
    assert left < right and low < high
