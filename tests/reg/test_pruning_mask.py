"""Pruned weights stay exactly zero, with every optimizer; the others train as with torch's own pruning."""

import numpy as np
import pytest
import torch
from conftest import command
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune
from torch.testing import assert_close

from trainer.base.clock import Clock
from trainer.base.errors import DataError
from trainer.config import catalog
from trainer.engine.build import build_run
from trainer.reg.pruning_mask import PruningMask

NOW = Clock(total_steps=10, steps_per_epoch=5)
RUN = ("data=iris", "model=mlp", "model.hidden=[8,6]", "epochs=3", "device=cpu", "threads=1")


@pytest.fixture
def pruned_start(composed, tmp_path):
    """Files of masked initial weights and of their masks, for RUN: the overrides that use them, and the masks."""
    state = build_run(composed(*RUN)).model.state_dict()
    rng = torch.Generator().manual_seed(1)
    masks = {
        name: (torch.rand(value.shape, generator=rng) > 0.6).float() for name, value in state.items() if value.dim() > 1
    }
    save_file(masks, tmp_path / "masks.safetensors")
    save_file({name: value * masks.get(name, 1.0) for name, value in state.items()}, tmp_path / "start.safetensors")
    mask = f"reg.weights.pruning_mask.file={tmp_path / 'masks.safetensors'}"
    return (f"model.weights={tmp_path / 'start.safetensors'}", "reg=[pruning_mask]", mask), masks


@pytest.mark.parametrize("option", catalog.options("optimizer"))
def test_they_are_exactly_zero_after_training_with_every_optimizer(option, pruned_start, fitted):
    words, masks = pruned_start
    more = {"pytorch_optimizer": ("optimizer.name=Yogi",)}.get(option, ())
    run, _ = fitted(*RUN, *words, f"optimizer={option}", *more)
    with run.evaluation_model() as model:
        for weights in (dict(model.named_parameters()), dict(run.model.named_parameters())):
            for name, mask in masks.items():
                assert not weights[name][mask == 0].count_nonzero(), name
    assert all(weight[masks[name] == 1].count_nonzero() > 0 for name, weight in weights.items() if name in masks)


@pytest.mark.parametrize(
    "more", [("averaging=ema",), ("averaging=swa",), ("reg=[l2,pruning_mask,weight_decay,grad_noise]",)]
)
def test_averages_penalties_and_noise_leave_them_at_zero(more, pruned_start, fitted):
    words, masks = pruned_start
    run, _ = fitted(*RUN, *words, *more)
    with run.evaluation_model() as model:
        weights = dict(model.named_parameters())
    assert not any(weights[name][mask == 0].count_nonzero() for name, mask in masks.items())


def test_the_others_train_as_with_the_pruning_of_torch(tmp_path):
    """Momentum and weight decay; torch keeps the mask in the module, weight = weight_orig * weight_mask."""
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    masks = {name: (torch.rand(w.shape) > 0.5).double() for name, w in ours.named_parameters() if w.dim() > 1}
    save_file(masks, tmp_path / "masks.safetensors")
    theirs = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    theirs.load_state_dict(ours.state_dict())
    for place in (0, 2):
        prune.custom_from_mask(theirs[place], "weight", masks[f"{place}.weight"])
    images, targets = torch.randn(20, 5).double(), torch.randn(20, 2).double()
    reg = PruningMask(file=str(tmp_path / "masks.safetensors"))
    for model, edit in ((ours, reg), (theirs, None)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for step in range(10):

            def closure(model=model, optimizer=optimizer):
                optimizer.zero_grad()
                loss = (model(images) - targets).square().mean()
                loss.backward()
                return loss

            if edit:
                edit.before(model, optimizer, NOW.at(step))
            optimizer.step(closure)
            if edit:
                edit(model, optimizer, NOW.at(step))
    theirs(images)  # torch computes the weights anew in the forward pass
    for place in (0, 2):
        assert_close(ours[place].weight, theirs[place].weight, rtol=1e-12, atol=1e-14)
        assert_close(ours[place].bias, theirs[place].bias, rtol=1e-12, atol=1e-14)


def test_without_a_mask_the_zeros_of_the_start_stay():
    model = nn.Linear(2, 3)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0], [3.0, 4.0]]))
        model.bias.zero_()  # is not pruned
    optimizer, reg = torch.optim.Adam(model.parameters(), lr=0.1), PruningMask()

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(4, 2)).square().sum()
        loss.backward()
        return loss

    for step in range(3):
        reg.before(model, optimizer, NOW.at(step))
        optimizer.step(closure)
        reg(model, optimizer, NOW.at(step))
    np.testing.assert_array_equal(model.weight.detach().numpy() == 0, [[True, False], [False, True], [False, False]])
    assert model.weight.grad[0, 0] == 0 and model.bias.count_nonzero() == 3


def test_a_mask_of_another_model_is_refused(tmp_path):
    save_file({"0.weight": torch.ones(3, 3)}, tmp_path / "masks.safetensors")
    reg = PruningMask(file=str(tmp_path / "masks.safetensors"))
    with pytest.raises(DataError, match=r"masks\.safetensors: its 0\.weight is not for a weight of this model$"):
        reg.before(nn.Sequential(nn.Linear(2, 3)), None, NOW)
    (tmp_path / "text.safetensors").write_text("no mask")
    words = ("reg=[pruning_mask]", f"reg.weights.pruning_mask.file={tmp_path / 'text.safetensors'}", *RUN)
    code, _, errors = command(tmp_path, *words)
    assert code == 3 and errors.count("\n") == 1 and "not a file of masks" in errors
