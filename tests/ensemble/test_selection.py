"""Greedy selection against a derivation by brute force, and examples worked by hand."""

import numpy as np
import pytest

from trainer.ensemble.selection import select


def log_loss(answers, true):
    return -np.log(np.clip(answers[np.arange(len(true)), true], 1e-12, None)).mean()


def greedy(members, true, most):
    """Try every multiset that extends the one before by a member; keep the shortest prefix with the lowest loss."""
    bag, prefixes = [], []
    for _ in range(most):
        losses = [log_loss(np.mean([members[each] for each in [*bag, new]], 0), true) for new in range(len(members))]
        bag = [*bag, losses.index(min(losses))]
        prefixes.append((min(losses), len(bag), bag))
    return min(prefixes)[2]


@pytest.mark.parametrize("seed", range(8))
def test_it_picks_what_brute_force_picks(seed):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, 40)
    logits = rng.normal(size=(6, 40, 3)) + 1.2 * np.eye(3)[true]
    members = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = select(members, lambda answers: log_loss(answers, true), 9)
    assert list(found.picks) == greedy(members, true, 9)
    single = min(log_loss(member, true) for member in members)
    assert found.costs[0] == pytest.approx(single) and min(found.costs) == found.costs[-1] <= single


def test_a_member_may_be_picked_twice():
    """Targets 0; members -1, 2 and 9: the best average is (-1 - 1 + 2) / 3 = 0."""
    members = np.array([-1.0, 2.0, 9.0])[:, None, None]
    found = select(members, lambda answers: float((answers**2).mean()), 5)
    assert list(found.picks) == [0, 1, 0] and found.costs == pytest.approx([1.0, 0.25, 0.0])


def test_a_perfect_member_stays_alone():
    members = np.array([1.0, 0.0, -1.0])[:, None, None]
    assert list(select(members, lambda answers: float((answers**2).mean()), 5).picks) == [1]
