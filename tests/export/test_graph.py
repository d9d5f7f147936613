"""Graphs of models: preprocessing for any number of samples, and networks without what only training needs."""

import pytest
import torch
from torch import nn

from trainer import preprocess
from trainer.base import monomials


@pytest.mark.parametrize("option", ["Identity", "Standardize", "MinMax", "Polynomial", "Pca", "WhitenPca", "WhitenZca"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_preprocessing_is_traced_for_any_number_of_samples(option, dtype, monkeypatch):
    monkeypatch.setattr(monomials, "BLOCK", 100)  # a block of the polynomials has 5 samples
    images = torch.randint(256, (50, 1, 2, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = images if dtype == torch.uint8 else images / 255
    apply = getattr(preprocess, option)().fit(images)

    class Graph(nn.Module):
        def forward(self, samples):
            return apply(samples).float()

    apply(images[:2])
    batch = torch.export.Dim("batch")
    traced = torch.export.export(Graph(), (images[:2],), dynamic_shapes=({0: batch},)).module()
    for size in (1, 7, 50):
        assert torch.equal(traced(images[:size]), apply(images[:size]).float()), size
