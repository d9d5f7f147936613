"""Advice before a run: one line with its reason where settings work against one another, and silence elsewhere."""

import pytest

from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.engine.advice import advice
from trainer.engine.build import build_run
from trainer.engine.setup import make_setup

SAID = [
    ("optimizer=lbfgs batch_size=64 model=linear", "optimizer=lbfgs with batch_size=64"),
    ("optimizer=lbfgs model=mlp reg=dropout", "optimizer=lbfgs with reg=dropout"),
    ("optimizer=lbfgs aug=[crop]", "optimizer=lbfgs with aug=crop"),
    ("optimizer.lr=2", "optimizer.lr=2.0: 40 times the 0.05 that is the default of optimizer=momentum"),
    ("experiment=digits_99 optimizer=adam", "optimizer.lr=0.5: 500 times the 0.001"),
    ("optimizer.lr=1e9", "optimizer.lr=1e+09: 2e+10 times the 0.05"),
    (
        "optimizer=lookahead optimizer.base=adam optimizer.base.lr=0.1",
        "optimizer.base.lr=0.1: 100 times the 0.001 that is the default of optimizer.base=adam",
    ),
    ("act=sigmoid", "act=sigmoid: each layer shrinks the gradient to a quarter or less"),
    ("act=tanh init=he_uniform", "try init=xavier_uniform, init=auto"),
    ("reg=[l2,weight_decay]", "reg=l2 and reg=weight_decay: both shrink"),
    ("reg=l2 optimizer=adamw", "reg=l2 and optimizer.weight_decay=0.01: both shrink"),
    (
        "optimizer=sam optimizer.base=lion reg=weight_decay",
        "reg=weight_decay and optimizer.base.weight_decay=0.1: both shrink",
    ),
    ("optimizer=ftrl optimizer.l2_strength=0.1 reg=l2", "reg=l2 and optimizer.l2_strength=0.1: both shrink"),
    ("optimizer=sam optimizer.base=schedule_free sched=cosine", "optimizer.base=schedule_free with sched=cosine"),
    ("reg=l1_proximal averaging=ema", "reg=l1_proximal with averaging=ema: a mean of weights is 0 only"),
    ("reg=l1_proximal optimizer=sam optimizer.base=ranger", "l1_proximal with optimizer.base=ranger"),
    ("reg=l1 reg.loss.l1.strength=0.1", "reg.loss.l1.strength=0.1: against a mean loss"),
    ("reg=alpha_dropout model=mlp", "reg=alpha_dropout with act=relu"),
    ("act=selu init=torch", "act=selu with init=torch"),
    ("norm=batch batch_size=4", "norm=batch with batch_size=4"),
    ("model=linear reg=dropout", "reg=dropout: model=linear has no layer of the kind"),
    ("tta=flip", "tta=flip without aug=flip"),
    ("preprocess=whiten_zca", "preprocess=whiten_zca on images"),
    ("preprocess=pca", "preprocess=pca with model=cnn"),
    ("model=linear act=tanh", "act=tanh: model=linear has no place for it"),
    ("model=linear norm=batch", "norm=batch: model=linear has no place for it"),
    ("model=mlp pool=avg", "pool=avg: model=mlp has no place for it"),
    ("optimizer=schedule_free sched=cosine", "its average takes the place of a schedule"),
    ("preprocess=minmax act=tanh", "preprocess=minmax with act=tanh"),
    ("model=mlp reg=spatial_dropout", "reg=spatial_dropout: model=mlp has no layer of the kind"),
]
UNSAID = [
    "", "optimizer=lbfgs batch_size=full model=linear", "optimizer=adam reg=[l2,dropout] model=mlp",
    "act=selu init=lecun_normal reg=alpha_dropout model=mlp",
    "act=linear", "act=maxout norm=group pool=fractional", "model=resnet20 norm=rms act=prelu",
    "act=tanh init=xavier_normal norm=batch", "optimizer=adamw",
    "reg=l2 reg.loss.l2.strength=0 optimizer=adamw", "reg=spatial_dropout", "optimizer.lr=0.5",
    "experiment=digits_99", "tta=flip aug=[flip]", "data=iris preprocess=whiten_pca", "model=mlp preprocess=pca",
]  # fmt: skip


@pytest.fixture
def advised(setup_of):
    return lambda words: advice(setup_of(words))


@pytest.mark.parametrize(("words", "said"), SAID, ids=[words for words, _ in SAID])
def test_settings_that_work_against_one_another_are_named(words, said, advised):
    (note,) = advised(words)
    assert said in note


@pytest.mark.parametrize("words", UNSAID, ids=lambda words: words or "defaults")
def test_sensible_settings_are_left_alone(words, advised):
    assert advised(words) == []


def test_a_run_prints_its_advice_before_training(run_in_process):
    code, out, errors = run_in_process("model=linear", "reg=dropout", "epochs=1", "threads=1")
    assert code == 0, errors
    (note,) = (line for line in out.partition("\nepoch ")[0].splitlines() if line.startswith("note: "))
    assert note.startswith("note: reg=dropout: model=linear has no layer of the kind")


def test_no_more_than_three_lines_are_given_the_weightiest_first(advised):
    first, _, third = advised(
        "optimizer=lbfgs model=mlp act=sigmoid init=he_normal batch_size=4 norm=batch "
        "reg=[dropout,alpha_dropout,l2] reg.loss.l2.strength=1"
    )
    assert first.startswith("optimizer=lbfgs with batch_size=4") and third.startswith("reg.loss.l2.strength=1")


@pytest.mark.parametrize("name", ["Norm", "Sigmoid", "MyDropBlock2d"])
def test_the_name_of_a_users_layer_decides_nothing(name, package, composed):
    """A layer of the user's own that happens to be named as one of ours is neither a norm nor an activation."""
    mine = package(f"from torch import nn\nclass {name}(nn.Module):\n    def forward(self, x):\n        return x\n")
    invocation = Invocation(
        overrides=(f"allow=[{mine}]",), choices={**catalog.defaults(), "model": "linear", "act": "mine", "norm": "none"}
    )
    cfg = composed("model=linear", f"act._target_={mine}.{name}")
    (note,) = advice(make_setup(cfg, build_run(cfg, invocation), invocation))
    assert note.startswith("act=mine: model=linear has no place for it")
