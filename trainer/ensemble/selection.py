"""Greedy selection of an ensemble's members (Caruana et al., 2004)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Members that were picked, in this order; one that was picked twice counts twice in the average.

    Args:
        picks: numbers of the members, from 0.
        costs: of the ensemble on the validation split after each pick.
    """

    picks: Sequence[int]
    costs: Sequence[float]


def select(answers: np.ndarray, cost: Callable[[np.ndarray], np.ndarray], most: int) -> Selection:
    """Return the members that forward selection with replacement picks, from the best one on.

    Each pick is the member with which the average has the lowest cost, of equal ones the first. What was picked after
    the ensemble with the lowest cost is dropped, of equal ones the smallest ensemble stays.

    Args:
        answers: (M, N, K) of the members, on the validation split.
        cost: of averaged answers (..., N, K), a number for each (...).
        most: picks, >= 1.
    Source: Caruana et al., 2004, Ensemble selection from libraries of models, sections 2 and 2.1. Differs from the
    paper: starts from the single best member, not from several; no bagged libraries.
    """
    picks, costs, total = [], [], np.zeros_like(answers[0])
    for count in range(1, most + 1):
        found = np.array([float(cost((total + own) / count)) for own in answers])
        best = int(np.argmin(np.where(np.isnan(found), np.inf, found)))
        picks.append(best)
        costs.append(float(found[best]))
        total = total + answers[best]
    kept = int(np.argmin(costs)) + 1
    return Selection(picks=picks[:kept], costs=costs[:kept])
