"""Shared by the tests of second-order optimizers: a quadratic and a quartic over five weights, and a starting point."""

import numpy as np
import torch

_draws = np.random.default_rng(0)
_root = _draws.normal(size=(5, 5))
A, B = _root @ _root.T + np.eye(5), _draws.normal(size=5)
START = np.array([1.0, -1.0, 2.0, 0.5, -2.0])


def quadratic(w):
    return w @ torch.from_numpy(A) @ w / 2 - torch.from_numpy(B) @ w


def quartic(w):
    """Add a term whose Hessian differs from point to point."""
    return quadratic(w) + w.pow(4).sum() / 4


def quartic_gradient(w):
    return A @ w - B + w**3
