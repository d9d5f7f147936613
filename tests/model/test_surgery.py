"""The kit's parts in torchvision's networks: replacements by type, parameters against torchvision's tables."""

from collections import Counter

import pytest
import torchvision
from finished import Shapes, batch, count, dropout, layer, make, make_kit
from nets import parameters
from torch import nn
from torchvision.ops import StochasticDepth

from trainer.act import Maxout
from trainer.model.surgery import replace_act, replace_drop, replace_norm
from trainer.model.torchvision import build_network
from trainer.norm import Layer

NAMES = torchvision.models.list_models(module=torchvision.models)
# Every hidden activation in torchvision 0.29, by its survey.
ACTS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.Tanh)
GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, StochasticDepth)
AUXILIARY = {  # its table counts the second head: two convolutions, norms, dense
    "inception_v3": 5 * 5 * 128 * 768 + 2 * 768 + 128 * 768 + 2 * 128 + 768 * 1000 + 1000
}
CALLING = ("densenet", "googlenet", "inception")  # F.relu in forward, read in their sources
CHANNELS_LAST = ("convnext", "maxvit", "swin", "vit")
SMALLEST = [  # of each family of networks that are made of the same types of modules
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf",
    "resnet18", "resnet50", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn",
    "vit_b_16",
]  # fmt: skip


def finished(name):
    """Return the network without values, and the number of its modules by type."""
    with Shapes():
        network, _ = build_network(name, (3, 224, 224), 1000)
    return network, Counter(type(module) for module in network.modules())


@pytest.fixture(scope="module")
def families():
    return {frozenset(finished(name)[1]): name for name in SMALLEST}


@pytest.mark.parametrize("name", SMALLEST)
def test_every_hidden_activation_is_replaced_and_every_gate_stays(name):
    """The smallest of each family, since the forward pass is traced for calls of functions, which takes long."""
    network, before = finished(name)
    kit, acts = make_kit(nn.ELU), sum(before[act] for act in ACTS)
    if name.startswith(CALLING):
        with pytest.raises(ValueError, match="calls relu inside forward"):
            replace_act(network, kit, (3, 224, 224))
        assert count(network, *ACTS) == acts
    else:
        output = 1 if name.startswith("squeezenet") else 0  # its last ReLU gives the outputs
        assert replace_act(network, kit, (3, 224, 224)) == acts - output > 0
        assert count(network, *ACTS) == output and count(network, nn.ELU) == acts - output
    assert all(count(network, gate) == before[gate] for gate in GATES)


@pytest.mark.parametrize("name", NAMES)
def test_every_norm_and_dropout_is_replaced_in_networks_of_the_published_size(name, families):
    network, before = finished(name)
    assert frozenset(before) in families  # its activations are those of a network above
    published = {weights.meta["num_params"] for weights in torchvision.models.get_model_weights(name)}
    assert parameters(network) + AUXILIARY.get(name, 0) in published
    kit = make_kit(nn.ELU, batch, [dropout])
    if name.startswith(CHANNELS_LAST):
        with pytest.raises(ValueError, match="channels come last"):
            replace_norm(network, kit)
        assert count(network, nn.LayerNorm, nn.BatchNorm2d) == before[nn.LayerNorm] + before[nn.BatchNorm2d]
    else:
        assert replace_norm(network, kit) == before[nn.BatchNorm2d] == count(network, type(batch(1)))
        assert count(network, nn.BatchNorm2d) == 0 and parameters(network) + AUXILIARY.get(name, 0) in published
    assert replace_drop(network, kit) == before[nn.Dropout] == count(network, nn.AlphaDropout)
    assert count(network, nn.Dropout) == 0
    assert all(count(network, gate) == before[gate] for gate in GATES)


def test_a_shared_activation_stays_shared_and_has_one_slope():
    model = make("resnet18", kit=make_kit(nn.PReLU), act="kit")
    assert count(model, nn.PReLU) == 1 + 8  # the stem's and one a block, used twice in its forward
    own = 11_689_512 - 513_000 + 5_130 - 3 * 64 * (49 - 9)  # torchvision's table, another last layer, a 3x3 stem
    assert parameters(model) == own + 9
    block = nn.Sequential()
    block.a = block.b = nn.ReLU()
    block.layer = nn.Linear(2, 2)
    assert replace_act(block, make_kit(nn.PReLU), (2,)) == 1
    assert block.a is block.b and isinstance(block.a, nn.PReLU)


def test_maxout_needs_wider_layers_than_a_finished_network_has():
    with pytest.raises(ValueError, match="pieces=2: needs layers 2 times as wide.*try act=relu"):
        make("resnet18", kit=make_kit(Maxout), act="kit")


def test_without_a_norm_convolutions_have_a_bias_of_zeros():
    model = make("mobilenet_v3_small", norm="kit")
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 52 and count(model, nn.BatchNorm2d) == 0 and count(model, nn.Identity) >= 34
    assert all(module.bias is not None for module in convolutions)
    # One for each norm that went; the others are torchvision's.
    assert sum(not module.bias.any() for module in convolutions) >= 34
    with Shapes():
        modules = make("densenet121", norm="kit").modules()
    assert not any(module.bias is None for module in modules if isinstance(module, nn.Conv2d))


def test_the_kits_norm_has_the_width_of_the_one_it_replaces():
    model = make("resnet18", kit=make_kit(norm=layer), norm="kit")
    kind = type(layer(1))
    assert [module.num_channels for module in model.modules() if isinstance(module, kind)] == [
        module.num_features for module in make("resnet18").modules() if isinstance(module, nn.BatchNorm2d)
    ]
    with pytest.raises(ValueError, match="norm.place=after_act.*try norm.place=before_act"):
        make("resnet18", kit=make_kit(norm=Layer(place="after_act")), norm="kit")


@pytest.mark.parametrize(
    ("parts", "part"),
    [({"act": nn.GELU}, "act"), ({"norm": batch}, "norm"), ({"drops": [dropout]}, "drop")],
)
def test_an_option_that_would_have_no_effect_is_refused(parts, part):
    with pytest.raises(ValueError, match=f"no effect while model.{part}=original.*try model.{part}=kit"):
        make("mobilenet_v3_small", kit=make_kit(**parts))
    make("mobilenet_v3_small", kit=make_kit(**parts), **{part: "kit"})


@pytest.mark.parametrize(
    ("name", "part", "what"), [("resnet18", "drop", "dropouts"), ("squeezenet1_1", "norm", "normalisations")]
)
def test_a_missing_part_cannot_be_replaced(name, part, what):
    with pytest.raises(ValueError, match=f"model.name={name}: has no {what} to replace; try model.{part}=original"):
        make(name, kit=make_kit(norm=batch, drops=[dropout]), norm="kit", drop="kit")


def test_no_dropout_of_the_kit_means_none():
    model = make("mobilenet_v3_small", drop="kit")
    assert count(model, nn.Dropout) == 0
