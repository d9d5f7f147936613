"""Parameters that decay, in every kind of layer and in every family of torchvision's classifiers."""

import pytest
import torch
from torch import nn
from torchvision import models

from trainer.base.layers import decay_parameters, parameter_groups, preserved_modes, trained_parameters
from trainer.reg.dropconnect import DropConnect


class Tokens(nn.Module):
    """A module of the user's own, with a matrix and with what only looks like one."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 4))
        self.mix_weight = nn.Parameter(torch.ones(3, 3, 3))
        self.weight_scale = nn.Parameter(torch.ones(5, 1, 1))
        self.class_token = nn.Parameter(torch.ones(1, 1, 4))
        self.position = nn.Parameter(torch.ones(1, 7, 4))
        self.gamma = nn.Parameter(torch.ones(4, 1, 1))


class OwnNorm(nn.Module):
    normalizes = True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 8, 8))


OWNERS = [  # module, names of the parameters that decay
    (lambda: nn.Linear(1, 3), ["weight"]),
    (lambda: nn.Bilinear(2, 3, 4), ["weight"]),
    (lambda: nn.Conv1d(2, 4, 1), ["weight"]),
    (lambda: nn.Conv2d(4, 4, 3, groups=4), ["weight"]),
    (lambda: nn.ConvTranspose2d(2, 3, 2), ["weight"]),
    (lambda: nn.MultiheadAttention(4, 2), ["in_proj_weight", "out_proj.weight"]),
    (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True),
        ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"],
    ),
    (lambda: nn.LSTM(3, 2, bidirectional=True), [
        "weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse",
    ]),
    (lambda: nn.GRUCell(3, 2), ["weight_ih", "weight_hh"]),
    (lambda: nn.Embedding(5, 4), []),
    (lambda: nn.EmbeddingBag(5, 4), []),
    (lambda: nn.PReLU(4), []),
    (lambda: nn.LayerNorm([4, 8, 8]), []),
    (lambda: nn.RMSNorm([4, 8]), []),
    (lambda: nn.GroupNorm(2, 4), []),
    (lambda: nn.BatchNorm2d(4), []),
    (OwnNorm, []),
    (Tokens, ["weight", "mix_weight"]),
    (
        lambda: DropConnect()(nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))),
        ["0.parametrizations.weight.original", "1.weight"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "names"), OWNERS)
def test_the_module_that_owns_a_parameter_decides_whether_it_decays(make, names):
    model = make()
    decaying = {id(weight) for weight in decay_parameters(model)}
    assert [name for name, weight in model.named_parameters() if id(weight) in decaying] == names


# One network of each family: dense layers, convolutions and attention projections as torchvision's source builds them;
# and the last part of the names of what has two or more dimensions and is neither.
FAMILIES = {
    "alexnet": (8, ()),
    "convnext_tiny": (18 * 3 + 4 + 1, ("layer_scale",)),  # 18 blocks of 3, stem and 3 downsamplings, head
    "densenet121": (1 + 2 * 58 + 3 + 1, ()),  # 58 dense layers of 2, 3 transitions
    "efficientnet_b0": (81 + 1, ()),
    "googlenet": (1 + 2 + 9 * 6 + 1, ()),  # without its auxiliary heads
    "inception_v3": (94 + 1, ()),
    "maxvit_t": (61 + 90, ("relative_position_bias_table",)),
    "mnasnet1_0": (52 + 1, ()),
    "mobilenet_v2": (52 + 1, ()),
    "mobilenet_v3_small": (52 + 2, ()),
    "regnet_y_400mf": (1 + 16 * 5 + 4 + 1, ()),  # 16 blocks of 3 and squeeze and excitation's 2, 4 shortcuts
    "resnet50": (1 + 16 * 3 + 4 + 1, ()),
    "resnext50_32x4d": (1 + 16 * 3 + 4 + 1, ()),
    "shufflenet_v2_x1_0": (1 + 13 * 3 + 3 * 5 + 1 + 1, ()),  # 13 units of 3, 3 of 5, the last convolution, head
    "squeezenet1_1": (1 + 8 * 3 + 1, ()),
    "swin_t": (1 + 12 * 4 + 3 + 1, ("relative_position_bias_table",)),  # 12 blocks of 4, 3 mergings
    "swin_v2_t": (1 + 12 * 6 + 3 + 1, ("logit_scale",)),  # and 2 for the positions
    "vgg11_bn": (8 + 3, ()),
    "vit_b_16": (1 + 12 * 4 + 1, ("class_token", "pos_embedding")),
    "wide_resnet50_2": (1 + 16 * 3 + 4 + 1, ()),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_matrices_and_kernels_of_a_family_of_torchvision_decay_and_no_others(name):
    settings = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("cpu" if name.startswith(("regnet", "mnasnet")) else "meta"):
        model = models.get_model(name, weights=None, **settings)
    count, others = FAMILIES[name]
    decaying, rest = (group["params"] for group in parameter_groups(model))
    assert len(decaying) == count and len(decaying) + len(rest) == len(list(model.parameters()))
    names = {id(weight): path.rpartition(".")[2] for path, weight in model.named_parameters()}
    assert {names[id(weight)] for weight in rest if weight.dim() > 1} == {*others}


def test_every_family_of_torchvision_was_counted():
    family = {name: models.get_model_builder(name).__module__ for name in models.list_models(module=models)}
    assert {family[name] for name in FAMILIES} == {*family.values()}


class Fitted(nn.Module):
    """Fitted to data, with a frozen layer and one that trains."""

    def __init__(self):
        super().__init__()
        self.frozen, self.free = nn.Linear(2, 2), nn.Linear(2, 2)
        self.frozen.requires_grad_(False)

    def calibrate(self, images):
        pass


class Trained(Fitted):
    calibrate = None

    def __init__(self, pretrained):
        super().__init__()
        self.pretrained = pretrained


@pytest.mark.parametrize(
    ("model", "left_out"),
    [
        (Fitted(), {"frozen"}),
        (nn.Sequential(Fitted(), nn.Linear(2, 2).requires_grad_(False)), {"0.frozen"}),  # nobody says why the last is
        (Trained(True), {"frozen"}),
        (Trained(False), set()),
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), set()),
    ],
    ids=["fitted", "beside another", "pretrained", "not pretrained", "nothing frozen"],
)
def test_parameters_are_trained_but_for_those_frozen_on_purpose(model, left_out):
    names = {name for name, _ in model.named_parameters()} - {name for name, _ in trained_parameters(model)}
    assert {name.rpartition(".")[0] for name in names} == left_out


def test_each_module_gets_its_own_mode_back_after_an_error_too():
    model = nn.Sequential(nn.Sequential(nn.Dropout(), nn.Linear(2, 2).eval()), nn.BatchNorm1d(2).eval())
    before = [module.training for module in model.modules()]
    with pytest.raises(ZeroDivisionError), preserved_modes(model):
        model.eval()
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == before == [True, True, True, False, False]
