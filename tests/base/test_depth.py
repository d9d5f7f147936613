"""The last layer of a model, and the depth of its parameters: by hand, and as BEiT's program assigns them."""

import re

import pytest
import torch
import torchvision
from finished import make, make_kit
from torch import nn

from trainer.base.depth import depths_of, head_of
from trainer.model.cnn import Cnn
from trainer.model.mlp import Mlp
from trainer.model.resnet import CifarResNet
from trainer.norm import Batch
from trainer.reg.dropconnect import DropConnect

IMAGES = torch.rand(2, 3, 32, 32)


class Late(nn.Module):
    """Its last layer is made first, and one of its layers is never used."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 2)
        self.second = nn.Linear(6, 5)
        self.first = nn.Linear(4, 6)
        self.spare = nn.Linear(7, 7)

    def forward(self, x):
        return self.head(self.second(self.first(x)).relu())


def test_the_head_is_the_last_layer_of_the_forward_pass():
    assert list(head_of(Late(), torch.rand(2, 4))) == ["head"]
    assert depths_of(Late(), torch.rand(2, 4)) == {
        **{"first.weight": 0, "first.bias": 0, "second.weight": 1, "second.bias": 1},
        **{"head.weight": 2, "head.bias": 2, "spare.weight": 0, "spare.bias": 0},
    }


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "0.fc"),
        ("vgg11", "0.classifier.6"),
        ("squeezenet1_1", "0.classifier.1"),
        ("mobilenet_v3_small", "0.classifier.3"),
        ("densenet121", "0.classifier"),
        ("vit_b_16", "0.heads.head"),
    ],
)
def test_the_head_of_a_finished_network(name, head):
    assert list(head_of(make(name).eval(), IMAGES)) == [head]


def test_a_norm_belongs_to_the_layer_before_it_and_one_of_the_input_to_the_first():
    model = nn.Sequential(nn.BatchNorm2d(3), *Cnn((3, 32, 32), 10, make_kit(norm=Batch()), channels=(4, 5)))
    found = depths_of(model, IMAGES)
    by_depth = {depth: {type(module) for module in part(model, found, depth)} for depth in set(found.values())}
    assert by_depth == {0: {nn.BatchNorm2d, nn.Conv2d, *batch()}, 1: {nn.Conv2d, *batch()}, 2: {nn.Linear}}


def batch():
    return {type(Batch()(3))}


def part(model, found, depth):
    names = {name.rpartition(".")[0] for name, own in found.items() if own == depth}
    return [module for name, module in model.named_modules() if name in names]


@pytest.mark.parametrize("hidden", [[], [8], [8, 8, 8]])
def test_an_mlp_has_as_many_depths_as_layers(hidden):
    found = depths_of(Mlp((4,), 3, make_kit(), hidden=hidden), torch.rand(2, 4))
    assert [*found.values()] == [depth for depth in range(len(hidden) + 1) for _ in ("weight", "bias")]


def test_a_weight_that_a_regulariser_computes_is_at_its_layers_depth():
    model = DropConnect(p=0.5)(Mlp((4,), 3, make_kit(), hidden=[8]))
    found, head = depths_of(model, torch.rand(2, 4)), head_of(model, torch.rand(2, 4))
    assert sorted(found.values()) == [0, 0, 1, 1] and len(head) == 1
    (name,) = head
    assert {found[key] for key in found if key.startswith(f"{name}.")} == {1}


def test_a_residual_block_is_one_layer():
    """Stem, 9 blocks, last layer (He et al., 2016, section 4.2, n = 3)."""
    found = depths_of(CifarResNet((3, 32, 32), 10, make_kit(norm=Batch()), depth=20), IMAGES)
    assert set(found.values()) == set(range(11))


def test_the_blocks_of_torchvisions_resnet():
    """conv1 and bn1, the 16 blocks of layer1 to layer4, fc."""
    model = torchvision.models.resnet50(num_classes=10)
    blocks = [f"layer{stage}.{block}" for stage, count in enumerate((3, 4, 6, 3), 1) for block in range(count)]

    def expected(name):
        if name.startswith(("conv1", "bn1")):
            return 0
        return 17 if name.startswith("fc") else 1 + blocks.index(".".join(name.split(".")[:2]))

    assert depths_of(model, IMAGES) == {name: expected(name) for name, _ in model.named_parameters()}


def beit(name, layers):
    """get_num_layer_for_vit of BEiT's optim_factory.py, for torchvision's names."""
    if name in ("class_token", "encoder.pos_embedding") or name.startswith("conv_proj"):
        return 0
    if block := re.match(r"encoder\.layers\.encoder_layer_(\d+)\.", name):
        return int(block[1]) + 1
    return layers + 1


def test_a_vision_transformer_has_the_depths_of_beit():
    model = torchvision.models.VisionTransformer(32, 8, 5, 2, 16, 32, num_classes=10)
    found = depths_of(model, IMAGES)
    last = [name for name in found if name.startswith("encoder.ln")]  # in ours a norm is with the block before it
    assert all(found[name] == 5 for name in last)
    others = {name: depth for name, depth in found.items() if name not in last}
    assert others == {name: beit(name, 5) for name in others}


def test_looking_for_the_depths_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    depths_of(model, torch.rand(2, 4))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
