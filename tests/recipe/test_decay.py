"""The weight decay that a recipe searches, for every kind of run."""

import pytest

from trainer.base.errors import ConfigError
from trainer.recipe.decay import find_decay

ADDED = "reg.weights.weight_decay.strength"


@pytest.mark.parametrize(
    ("words", "key", "value", "added"),
    [
        ((), ADDED, 0.0, ("reg=[weight_decay]",)),
        (("optimizer=adam", "reg=[dropout]"), ADDED, 0.0, ("reg=[dropout,weight_decay]",)),
        (("optimizer=adamw",), "optimizer.weight_decay", 0.01, ()),
        (("optimizer=muon", "optimizer.weight_decay=0.3"), "optimizer.weight_decay", 0.3, ()),
        (("reg=[l2]",), "reg.loss.l2.strength", 1e-4, ()),
        (("optimizer=adamw", "reg=[l1,l2]"), "reg.loss.l2.strength", 1e-4, ()),
        (("optimizer=lookahead", "optimizer@optimizer.base=adamw"), "optimizer.base.weight_decay", 0.01, ()),
    ],
)
def test_auto(words, key, value, added, composed):
    found = find_decay(composed(*words), "auto")
    assert (found.key, found.value, found.added) == (key, value, added)
    assert found.middle == (value or 0.01)


def test_a_key_and_none(composed):
    assert find_decay(composed("reg=[l1]"), "reg.loss.l1.strength").key == "reg.loss.l1.strength"
    assert find_decay(composed(), "none").key is None


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("optimizer.decay", "this run has no such key"),
        ("sched._target_", "is not a number"),
        ("on_nan", "its value stop"),
    ],
)
def test_another_key_is_refused(key, why, composed):
    with pytest.raises(
        ConfigError, match=f"^task.decay={key}: .*{why}.*; write the key of a weight decay, auto or none$"
    ):
        find_decay(composed(), key)
