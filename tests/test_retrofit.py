"""Every classifier of torchvision with its own parts and with the kit's: what is exchanged is counted by type, weights against torchvision's tables."""

from collections import Counter

import pytest
import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.ops import StochasticDepth

from trainer import build
from trainer.act import Maxout
from trainer.errors import ConfigError, DataError
from trainer.kit import Kit
from trainer.model.torchvision import BUILDERS, Torchvision, built, enter, fits
from trainer.norm import Batch, Layer
from trainer.retrofit import replace_act, replace_drop, replace_norm, trial

NAMES = torchvision.models.list_models(module=torchvision.models)
LIGHT = ["mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5", "efficientnet_b0", "resnet18", "regnet_y_400mf"]
ACTS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.Tanh)  # every hidden activation in torchvision 0.29, by its survey
GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, StochasticDepth)
AUXILIARY = {"inception_v3": 5 * 5 * 128 * 768 + 2 * 768 + 128 * 768 + 2 * 128 + 768 * 1000 + 1000}  # its table counts the second head: two convolutions, norms, dense
CALLING = ("densenet", "googlenet", "inception")  # F.relu in forward, read in their sources
CHANNELS_LAST = ("convnext", "maxvit", "swin", "vit")


class Shapes(TorchFunctionMode):
    """New tensors have a shape and no values, but for the arithmetic on block widths that RegNet does with torch.arange."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        meta = {"device": "meta"} if function in (torch.empty, torch.zeros, torch.ones) else {}
        return function(*args, **{**(kwargs or {}), **meta})


def make_kit(act=nn.ReLU, norm=nn.Identity, drops=()):
    return Kit(act=act, norm=norm, pool=lambda: nn.MaxPool2d(2, 2), drops=drops)


def batch(channels):
    return Batch()(channels)


def layer(channels):
    return Layer()(channels)


def dropout():
    return nn.AlphaDropout(0.25)


def count(model, *types):
    return sum(type(module) in types for module in model.modules())


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def make(name, input_shape=(3, 32, 32), outputs=10, kit=None, **fields):
    return Torchvision(input_shape, outputs, kit or make_kit(), name=name, **fields)


def test_all_of_torchvisions_classifiers_are_offered():
    assert list(BUILDERS) == NAMES and len(NAMES) >= 80
    assert not any(word in name for name in NAMES for word in ("quantized", "fcn", "rcnn", "r3d"))


@pytest.mark.parametrize("name", NAMES)
def test_every_part_is_exchanged_and_every_gate_stays(name):
    with Shapes():
        network, _ = built(name, (3, 224, 224), 1000)
    published = {weights.meta["num_params"] for weights in torchvision.models.get_model_weights(name)}
    assert parameters(network) + AUXILIARY.get(name, 0) in published
    kit = make_kit(nn.ELU, batch, [dropout])
    before = Counter(type(module) for module in network.modules())
    if name.startswith(CALLING):
        with pytest.raises(ValueError, match="calls relu inside forward"):
            replace_act(network, kit, (3, 224, 224))
    else:
        output = 1 if name.startswith("squeezenet") else 0  # its last ReLU gives the outputs
        assert replace_act(network, kit, (3, 224, 224)) == sum(before[act] for act in ACTS) - output > 0  # sends a batch through as well
        assert count(network, *ACTS) == output and count(network, nn.ELU) == sum(before[act] for act in ACTS) - output
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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LIGHT)
def test_a_light_network_learns_from_small_images(name, channels):
    torch.manual_seed(0)
    model = make(name, (channels, 32, 32), kit=make_kit(nn.Tanh), act="kit")
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    before = [weight.clone() for weight in model.parameters()]
    outputs = model(torch.randn(2, channels, 32, 32))
    assert outputs.shape == (2, 10)
    nn.functional.cross_entropy(outputs, torch.tensor([1, 2])).backward()
    optimizer.step()
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert not torch.equal(before[0], next(model.parameters()))  # the gradient came all the way to the first layer


def test_with_nothing_exchanged_it_is_torchvisions_own_network():
    torch.manual_seed(3)
    ours = make("resnet18", stem="original").eval()
    torch.manual_seed(3)
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(images), theirs(images))


def test_a_shared_activation_stays_shared_and_has_one_slope():
    model = make("resnet18", kit=make_kit(nn.PReLU), act="kit")
    assert count(model, nn.PReLU) == 1 + 8  # the stem's and one a block, which stands twice in its forward
    own = 11_689_512 - 513_000 + 5_130 - 3 * 64 * (49 - 9)  # torchvision's table, another last layer, a 3x3 stem
    assert parameters(model) == own + 9
    block = nn.Sequential()
    block.a = block.b = nn.ReLU()
    block.layer = nn.Linear(2, 2)
    assert replace_act(block, make_kit(nn.PReLU), (2,)) == 1
    assert block.a is block.b and isinstance(block.a, nn.PReLU)


def test_maxout_needs_layers_that_a_finished_network_has_not():
    with pytest.raises(ValueError, match="pieces=2: needs layers 2 times as wide.*nearest: act=relu"):
        make("resnet18", kit=make_kit(Maxout), act="kit")


def test_without_a_norm_convolutions_have_a_bias_of_zeros():
    model = make("mobilenet_v3_small", norm="kit")
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 52 and count(model, nn.BatchNorm2d) == 0 and count(model, nn.Identity) >= 34
    assert all(module.bias is not None for module in convolutions)
    assert sum(not module.bias.any() for module in convolutions) >= 34  # one for each norm that went; the others are torchvision's
    assert not any(module.bias is None for module in make("densenet121", norm="kit").modules() if isinstance(module, nn.Conv2d))


def test_the_kits_norm_has_the_width_of_the_one_it_stands_for():
    model = make("resnet18", kit=make_kit(norm=layer), norm="kit")
    kind = type(layer(1))
    assert [module.num_channels for module in model.modules() if isinstance(module, kind)] == [
        module.num_features for module in make("resnet18").modules() if isinstance(module, nn.BatchNorm2d)
    ]
    with pytest.raises(ValueError, match="norm.place=after_act.*nearest: norm.place=before_act"):
        make("resnet18", kit=make_kit(norm=Layer(place="after_act")), norm="kit")


@pytest.mark.parametrize(
    ("parts", "part"),
    [({"act": nn.GELU}, "act"), ({"norm": batch}, "norm"), ({"drops": [dropout]}, "drop")],
)
def test_a_word_that_would_have_no_effect_is_refused(parts, part):
    with pytest.raises(ValueError, match=f"no effect while model.{part}=original.*nearest: model.{part}=kit"):
        make("mobilenet_v3_small", kit=make_kit(**parts))
    make("mobilenet_v3_small", kit=make_kit(**parts), **{part: "kit"})


@pytest.mark.parametrize(("name", "part", "what"), [("resnet18", "drop", "dropouts"), ("squeezenet1_1", "norm", "normalisations")])
def test_a_part_that_is_not_there_cannot_be_exchanged(name, part, what):
    with pytest.raises(ValueError, match=f"model.name={name}: has no {what} of its own.*nearest: model.{part}=original"):
        make(name, kit=make_kit(norm=batch, drops=[dropout]), norm="kit", drop="kit")


def test_no_dropout_of_the_kit_means_none():
    model = make("mobilenet_v3_small", drop="kit")
    assert count(model, nn.Dropout) == 0


@pytest.mark.parametrize(
    ("name", "kernel", "pools"),
    [("resnet18", 3, 0), ("alexnet", 3, 2), ("squeezenet1_0", 3, 2), ("densenet121", 3, 0), ("mobilenet_v2", 3, 0), ("convnext_tiny", 3, 0), ("vgg13", 3, 5)],
)
def test_a_small_stem_sees_every_pixel(name, kernel, pools):
    with Shapes():
        network, _ = built(name, (1, 32, 32), 10)
        enter(network, 1, True)
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert (first.in_channels, first.kernel_size, first.stride, first.padding) == (1, (kernel, kernel), (1, 1), (1, 1))
    assert count(network, nn.MaxPool2d) == pools


@pytest.mark.parametrize(("side", "stem", "stride"), [(64, "auto", 1), (65, "auto", 2), (32, "original", 2), (96, "small", 1)])
def test_auto_is_small_up_to_64_pixels(side, stem, stride):
    model = make("shufflenet_v2_x0_5", (1, side, side), stem=stem)
    assert next(module for module in model.modules() if isinstance(module, nn.Conv2d)).stride == (stride, stride)
    assert count(model, nn.MaxPool2d) == (stride == 2)


@pytest.mark.parametrize(("name", "side", "smallest"), [("vgg11", 28, 32), ("vit_b_16", 28, 32), ("vit_b_32", 8, 32), ("inception_v3", 32, 37)])
def test_an_image_too_small_is_refused_with_the_side_that_is_not(name, side, smallest):
    # vgg: five halvings, 2^5; vit: a multiple of the patch; inception: 37 -> 37, 35, 35, 17, 17, 15, 7, then 3 and 1; 36 ends at 6, 2 and 0
    with Shapes():
        with pytest.raises(ValueError, match=rf"model.name={name}: .*{side}x{side}.* take: {smallest}$"):
            make(name, (3, side, side))
        network, sized = built(name, (3, smallest, smallest), 10)
        enter(network, 3, not sized)
    assert fits(network, (3, smallest, smallest)) and trial(network, (3, smallest, smallest)).shape == (2, 10)


def test_a_transformer_of_one_size_takes_small_images_that_its_patches_divide():
    with Shapes():
        model = make("vit_b_16", (1, 32, 32))
        assert model[0].encoder.pos_embedding.shape == (1, 2 * 2 + 1, 768)  # four patches and the class token
        with pytest.raises(ValueError, match="needs square images, the data has 32x48"):
            make("vit_b_16", (3, 32, 48))
    with pytest.raises(ValueError, match="model.name=maxvit_t: cannot take images of 32x32; the next side it can take: 221"):
        make("maxvit_t")  # 7 x 2^5 = 224, and what rounds up to it: 221, 111, 56, 28, 14, 7


def test_words_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="model.name=mobilnet_v3_small.*nearest: mobilenet_v3_small"):
        make("mobilnet_v3_small")
    for field in ("stem", "act", "norm", "drop"):
        with pytest.raises(ValueError, match=f"{field} must be one of .*, got nonsense"):
            make("resnet18", **{field: "nonsense"})
    with pytest.raises(ValueError, match="needs images"):
        make("resnet18", (30,))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch's folder of downloaded weights, with those of a small network drawn from a seed."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(11)
    weights = torchvision.models.mobilenet_v3_small().state_dict()
    weights = {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in weights.items()}
    url = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.url
    torch.save(weights, folder / url.rpartition("/")[2])
    return folder, weights


def test_pretrained_takes_all_but_the_last_layer(cache):
    _, weights = cache
    own = make("mobilenet_v3_small", pretrained=True)[0].state_dict()  # its 3x3 stem loses its stride and keeps its shape
    differ = {key for key in own if not (own[key].shape == weights[key].shape and torch.equal(own[key], weights[key]))}
    assert differ == {"classifier.3.weight", "classifier.3.bias"}
    own = make("mobilenet_v3_small", outputs=1000, pretrained=True)[0].state_dict()
    assert not torch.equal(own["classifier.3.weight"], weights["classifier.3.weight"])


def test_pretrained_leaves_a_stem_of_another_shape_and_what_the_kit_exchanges(cache):
    _, weights = cache
    model = make("mobilenet_v3_small", (1, 32, 32), kit=make_kit(norm=batch), norm="kit", pretrained=True)
    own = model[0].state_dict()
    assert own["features.0.0.weight"].shape == (16, 1, 3, 3)
    assert torch.equal(own["features.1.block.0.0.weight"], weights["features.1.block.0.0.weight"])
    assert torch.equal(own["features.0.1.weight"], torch.ones(16))  # the kit's norm is fresh


def test_weights_that_cannot_be_had_name_the_file_and_its_folder(cache):
    folder, _ = cache
    (file,) = folder.iterdir()
    file.write_bytes(b"not weights")
    with pytest.raises(DataError, match=rf"no weights for mobilenet_v3_small.*put {file.name} into {folder}"):
        make("mobilenet_v3_small", pretrained=True)
    assert DataError.code == 3


def test_the_command_line_reaches_it(composed):
    words = ("data=digits", "model=torchvision", "model.name=squeezenet1_1", "reg=dropout", "reg.layer.dropout.p=0.25", "act=gelu", "model.act=kit")
    run = build.run(composed(*words, "model.drop=kit"))
    assert count(run.model, nn.GELU) == 25 and [module.p for module in run.model.modules() if isinstance(module, nn.Dropout)] == [0.25]
    with pytest.raises(ConfigError, match="^model.*: reg= makes Dropout, which has no effect.*nearest: model.drop=kit$"):
        build.run(composed(*words))


def test_the_builder_leaves_pretrained_weights_and_biases_alone(cache, composed, run_in_process):
    _, weights = cache
    words = ("data=digits", "model=torchvision", "model.pretrained=true")
    own = build.run(composed(*words)).model[0].state_dict()
    assert torch.equal(own["classifier.0.bias"], weights["classifier.0.bias"])
    code, _, errors = run_in_process(*words, "init=he_normal")
    assert code == 2 and "init=he_normal: would overwrite the pretrained weights" in errors and "nearest: init=default" in errors
