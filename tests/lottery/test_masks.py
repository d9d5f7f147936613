"""Masks by magnitude against examples worked by hand."""

import pytest
import torch
from torch import nn

from trainer.lottery.masks import fraction_left, masked, prunable, pruned, whole
from trainer.norm import Batch

FIRST = torch.tensor([[0.1, -0.9], [0.5, -0.2], [0.05, 0.7]])
SECOND = torch.tensor([[3.0, -0.3, 0.15], [0.6, -0.01, 2.0]])
WEIGHTS = {"first": FIRST, "second": SECOND}


def test_the_smallest_weights_of_each_layer_go():
    masks = pruned(WEIGHTS, whole(WEIGHTS, WEIGHTS), {"first": 0.5, "second": 0.5}, "layer")
    # |first| without its smallest three 0.05, 0.1, 0.2; |second| without 0.01, 0.15, 0.3
    assert masks["first"].tolist() == [[0, 1], [1, 0], [0, 1]]
    assert masks["second"].tolist() == [[1, 0, 0], [1, 0, 1]]
    assert fraction_left(masks) == 0.5


def test_the_smallest_weights_of_all_layers_go():
    masks = pruned(WEIGHTS, whole(WEIGHTS, WEIGHTS), {"first": 0.5, "second": 0.5}, "global")
    # of all twelve the six smallest: 0.01, 0.05, 0.1, 0.15, 0.2, 0.3
    assert masks["first"].tolist() == [[0, 1], [1, 0], [0, 1]]
    assert masks["second"].tolist() == [[1, 0, 0], [1, 0, 1]]
    larger = {**WEIGHTS, "second": 10 * SECOND}
    masks = pruned(larger, whole(larger, larger), {"first": 0.5, "second": 0.5}, "global")
    # 10 |second| is 30, 3, 1.5, 6, 0.1, 20: the six smallest are 0.1 there, and 0.05, 0.1, 0.2, 0.5, 0.7 of first
    assert masks["first"].tolist() == [[0, 1], [0, 0], [0, 0]]
    assert masks["second"].tolist() == [[1, 1, 1], [1, 0, 1]]


def test_the_output_layer_is_pruned_at_its_own_rate_also_globally():
    masks = pruned(WEIGHTS, whole(WEIGHTS, WEIGHTS), {"first": 2 / 3, "second": 1 / 3}, "global")
    assert masks["first"].tolist() == [[0, 1], [0, 0], [0, 1]]
    assert masks["second"].tolist() == [[1, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_round_prunes_those_that_are_left_and_revives_none(scope):
    before = {"first": torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])}  # the two largest are gone already
    masks = pruned({"first": FIRST}, before, {"first": 0.5}, scope)
    assert masks["first"].tolist() == [[0, 0], [1, 1], [0, 0]]  # of 0.1, 0.5, 0.2, 0.05


def test_biases_and_norms_are_not_pruned_and_the_output_layer_is_known():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), Batch()(2), nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    assert prunable(model, torch.zeros(2, 1, 4, 4)) == {"0.weight": False, "3.weight": False, "5.weight": True}


def test_masked_weights_are_zero_and_the_others_are_the_same():
    masks = {"first": torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])}
    found = masked({**WEIGHTS, "count": torch.tensor(3)}, masks)
    assert torch.equal(found["first"], torch.tensor([[0.1, 0.0], [0.5, -0.2], [0.0, 0.7]]))
    assert torch.equal(found["second"], SECOND) and found["count"] == 3
