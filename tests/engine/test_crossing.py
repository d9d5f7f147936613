"""Pairs of activations, initialisers, norms and models: each trains, or an error says why it cannot."""

import itertools
import re

import pytest
import torch
import yaml

from trainer.base.errors import ConfigError
from trainer.config import catalog
from trainer.engine.build import build_run

GROUPS = ("act", "init", "norm", "model")
OPTIONS = {group: catalog.options(group) for group in GROUPS}
OPTIONS["model"] = [model for model in OPTIONS["model"] if model != "timm"]  # an extra: tests/model/test_model_timm.py
PAIRS = [tuple(sorted(pair, key=GROUPS.index)) for pair in itertools.combinations(GROUPS, 2)]
THIN = {  # fields that make a model small: the assertions do not depend on its width
    "alexnet": {"hidden": [32, 32]},
    "cnn": {"channels": [8, 8]},
    "convnext_small32": {"channels": [8, 16], "blocks": [1, 1]},
    "deep_mlp": {"width": 32},
    "fast_cnn": {"channels": [8, 16]},
    "linear_chain": {"width": 32},
    "mlp": {"hidden": [32, 32, 32]},
    "mlp_mixer": {"depth": 2, "width": 16, "patch": 2},
    "resnet18": {"blocks": [1, 1]},
    "resnet56": {"depth": 32},
    "thin_deep": {"channels": [8] * 17, "hidden": 32},
    "torchvision": {"name": "shufflenet_v2_x0_5", "act": "kit", "norm": "kit"},
    "vit_tiny": {"depth": 2, "head_width": 8, "hidden": 32, "patch": 2},
    "vgg11": {"channels": [8] * 5, "hidden": [32, 32]},
    "vgg16": {"channels": [8] * 5, "hidden": [32, 32]},
    "wide_resnet": {"depth": 10, "widen": 1},
    "wide_shallow": {"channels": [8, 8, 16], "hidden": 32},
}
DENSE = {"deep_mlp", "linear", "linear_chain", "mlp"}
POSITIONWISE = {"convnext_small32", "mlp_mixer", "vit_tiny"}  # norms of vectors at each place
PIECES = {"maxout", "swiglu"}
RESIDUAL = {"resnet18", "resnet20", "resnet56", "wide_resnet"}
LESSONS = {
    "constant",
    "large_normal",
    "normal",
    "ones",
    "small_normal",
    "truncated_normal",
    "uniform",
    "zeros",
}  # one spread for layers of any width
OVERFLOWS = [  # rows that may end non-finite, in the net and the steps below: the run says so and gives advice
    lambda act, init, norm, model: act in ("exponential", "relu_squared"),
    lambda act, init, norm, model: init in ("normal", "ones"),
    lambda act, init, norm, model: act == "swiglu" and model in RESIDUAL,  # sums of products, before activations
    lambda act, init, norm, model: (
        act == "maxout" and model == "resnet56"
    ),  # 32 layers here, before the activations of the sums
    lambda act, init, norm, model: (
        init == "data_dependent" and act == "softplus"
    ),  # means of positive values pile up: biases are not its to set
]
FADING = {
    "dyt",
    "exponential",
    "hard_sigmoid",
    "relu_squared",
    "sigmoid",
}  # shrink or overflow in deep nets, whatever the draw


def senseless(act: str, init: str, norm: str, model: str) -> str | None:
    """Why four options cannot go together, in the order in which the program finds out; None where they can."""
    if model == "torchvision" and act in PIECES:
        return "a finished network has no layers wide enough for pieces"
    if init == "identity":
        if model not in DENSE - {"linear"}:
            return "no hidden dense layers"
        if act in PIECES and model != "linear_chain":
            return "hidden layers are wider than what enters them"
    if init == "dirac" and model in DENSE | {"wide_shallow"} | POSITIONWISE:
        return "no convolutions, or kernels of 8x8 or of patches, which have no centre"
    if init == "fixup" and model not in RESIDUAL | POSITIONWISE:
        return "no residual blocks"
    if init == "fixup" and norm != "none":
        return "norms where there are to be none"
    if norm == "instance" and model not in RESIDUAL | {"cnn", "linear"}:
        return "dense layers, or maps of one pixel: 8x8 images are halved three times"
    return None


def rows() -> tuple[list[tuple], list[tuple]]:
    """Runs in which every pair of options meets that can meet, found greedily, and one for each pair that cannot."""
    sensible = [row for row in itertools.product(*OPTIONS.values()) if senseless(*row) is None]
    pairs = [
        (GROUPS.index(a), GROUPS.index(b), first, second)
        for a, b in PAIRS
        for first, second in itertools.product(OPTIONS[a], OPTIONS[b])
    ]
    homes = {pair: [] for pair in pairs}
    for row in sensible:
        for pair in met(row):
            homes[pair].append(row)
    chosen, open_pairs = [], {pair for pair in pairs if homes[pair]}
    for pair in sorted(open_pairs, key=lambda pair: (len(homes[pair]), pair)):
        if pair in open_pairs:
            best = max(homes[pair], key=lambda row: (sum(other in open_pairs for other in met(row)), row))
            chosen.append(best)
            open_pairs -= set(met(best))
    return chosen, [refused(*pair) for pair in pairs if not homes[pair]]


def met(row: tuple) -> list[tuple]:
    return [(i, j, row[i], row[j]) for i, j in itertools.combinations(range(4), 2)]


def refused(i: int, j: int, first: str, second: str) -> tuple:
    """Return a row of plain options with two that exclude each other."""
    row = ["relu", "torch", "none", "deep_mlp" if "identity" in (first, second) else "cnn"]
    row[i], row[j] = first, second
    return tuple(row)


SENSIBLE, SENSELESS = rows()


@pytest.fixture(scope="module")
def cross(composed):
    """A run of four options on the digits, as composed: each option's file in its group's place."""
    plain = composed("threads=1", "batch_size=16", "optimizer.lr=0.01")

    def run(*row: str):
        cfg = plain.copy()
        for group, option in zip(GROUPS, row):
            node = yaml.safe_load(catalog.file(group, option).read_text())
            cfg[group] = node.get(group, node)
        cfg.model.update(THIN.get(row[3], {}))
        if row[2] == "group":
            cfg.norm.groups = 2  # thin layers have few channels for a group
        return build_run(cfg)

    return run


def test_every_pair_of_options_is_in_a_row():
    """494 + 133 + 380 + 182 + 520 + 140 pairs; a pair of a senseless row is in no sensible one."""
    every = {pair for row in [*SENSIBLE, *SENSELESS] for pair in met(row)}
    assert len(every) == sum(len(OPTIONS[a]) * len(OPTIONS[b]) for a, b in PAIRS)
    assert [len(OPTIONS[group]) for group in GROUPS] == [19, 26, 7, 20]


@pytest.mark.parametrize("row", SENSIBLE, ids="-".join)
def test_a_sensible_cross_trains(row, cross):
    act, init, norm, model = row
    try:
        run = cross(*row)
    except ConfigError as error:
        assert "the fresh model's outputs are not finite (NaN or Inf); try " in str(error) and any(
            may(*row) for may in OVERFLOWS
        )
        return
    images, targets = run.train.batch(torch.arange(16))
    weights = [weight for weight in run.model.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in weights]
    run.model.train()

    def closure():
        run.optimizer.zero_grad()
        loss = run.criterion(run.model(images), targets).mean()
        loss.backward()
        return loss

    losses = [run.optimizer.step(closure).item() for _ in range(2)]
    if not all(weight.isfinite().all() for weight in weights):
        assert any(may(*row) for may in OVERFLOWS), losses
        return
    moved = [not torch.equal(weight, old) for weight, old in zip(weights, before)]
    assert any(moved) or (init, model) == ("zeros", "linear_chain")  # a product of zeros has no slope at all
    blind = (act, norm) == (
        "linear",
        "instance",
    ) and model in RESIDUAL  # the average over a map is the norm's shift, whatever the image
    if init not in LESSONS and not {act, norm} & FADING and not blind:
        assert moved[0], "the first layer is cut off from the loss"


@pytest.mark.parametrize("row", SENSELESS, ids="-".join)
def test_a_senseless_cross_says_why_in_one_line_with_a_word_that_helps(row, cross):
    with pytest.raises(ConfigError) as caught:
        cross(*row)
    said = str(caught.value)
    assert "\n" not in said and re.match("init|model|norm", said)
    advice = re.findall(r"(\w+)=(\w+)", said.rpartition("try ")[2])
    assert advice and all(option in catalog.options(group) for group, option in advice)


def test_a_net_that_overflows_ends_with_advice(run_in_process):
    """e^e^e^...: the crossing's rows of act=exponential that are no numbers, as a user meets them."""
    code, _, errors = run_in_process("model=mlp", "act=exponential", "init=he_normal", "epochs=1", "threads=1")
    assert code == 2 and "try " in errors.strip().splitlines()[-1]
