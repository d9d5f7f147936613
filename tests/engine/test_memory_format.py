"""Channels last on a CPU: which models take their images so, and that nothing but the time changes."""

import copy

import pytest
import torch
from conftest import SMALL

from trainer.engine.build import build_run
from trainer.engine.memory_format import channels_last, choose_channels_last

WORDS = ("data.train_samples=64", "threads=1", "device=cpu")


def is_channels_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("model=cnn", "norm=batch", "act=maxout"), True),
        (("model=resnet20",), True),
        (("model=mlp",), False),
        (("model=vgg11",), False),  # kernels of 512 x 512 x 3 x 3
    ],
)
def test_convolutions_of_small_kernels_get_channels_last(words, wanted, composed):
    run, seen = build_run(composed(*words, *WORDS)), []
    decided = choose_channels_last({}, run.model, torch.device("cpu"))
    assert (decided is not None and decided.value == "on") == wanted
    for layer in run.model.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.in_channels > 1:
            layer.register_forward_pre_hook(lambda module, inputs: seen.append(is_channels_last(inputs[0])))
    run.model(run.train.batch(torch.arange(2))[0])
    assert any(seen) == wanted


def test_outputs_and_gradients_are_the_same(composed):
    run = build_run(composed("model=cnn", "norm=batch", *WORDS))
    plain = copy.deepcopy(run.model)
    plain._forward_pre_hooks.clear()
    images, targets = run.train.batch(torch.arange(32))
    found = []
    for model in (run.model, plain):
        loss = run.criterion(model(images), targets).mean()
        found.append([loss, *torch.autograd.grad(loss, [*model.parameters()])])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)  # float32 sums in another order


def test_tables_and_further_arguments_pass():
    table, more = torch.randn(4, 3), object()
    assert channels_last(None, (table, more)) == (table, more)
    images = torch.randn(2, 3, 5, 7)
    (changed,) = channels_last(None, (images,))
    assert is_channels_last(changed) and torch.equal(changed, images)


def test_a_model_of_the_users_own_gets_the_usual_format(package, run_in_process):
    name = package(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, shape, outputs, kit):\n"
        "        super().__init__()\n"
        "        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * shape[1] * shape[2], outputs)\n"
        "    def forward(self, images):\n"
        "        return self.head(self.conv(images).view(len(images), -1))\n"
    )
    code, _, errors = run_in_process(*SMALL[2:], "model=linear", f"model._target_={name}.Net", f"allow=[{name}]")
    assert code == 0, errors
