"""Advice before a run: said where it is due, in one line with its reason, and nowhere else."""

import pytest

SAID = [
    ("optimizer=lbfgs batch_size=64 model=linear", "optimizer=lbfgs with batch_size=64"),
    ("optimizer=lbfgs model=mlp reg=dropout", "optimizer=lbfgs with reg=dropout"),
    ("optimizer=lbfgs aug=[crop]", "optimizer=lbfgs with aug=crop"),
    ("optimizer.lr=2", "optimizer.lr=2.0: 40 times the 0.05 that optimizer=momentum begins with"),
    ("optimizer.lr=1e9", "optimizer.lr=1e+09: 2e+10 times the 0.05"),
    (
        "optimizer=lookahead optimizer.base=adam optimizer.base.lr=0.1",
        "optimizer.base.lr=0.1: 100 times the 0.001 that optimizer.base=adam begins with",
    ),
    ("act=sigmoid", "act=sigmoid: each layer shrinks the gradient to a quarter or less"),
    ("act=tanh init=he_uniform", "try init=xavier_uniform, init=auto"),
    ("reg=[l2,weight_decay]", "reg=l2 and reg=weight_decay: both shrink"),
    ("reg=l2 optimizer=adamw", "reg=l2 and optimizer.weight_decay=0.01: both shrink"),
    ("reg=l1 reg.loss.l1.strength=0.1", "reg.loss.l1.strength=0.1: against a mean loss"),
    ("reg=alpha_dropout model=mlp", "reg=alpha_dropout with act=relu"),
    ("act=selu", "act=selu with init=default"),
    ("norm=batch batch_size=4", "norm=batch with batch_size=4"),
    ("model=linear reg=dropout", "reg=dropout: model=linear has no layer of the kind"),
    ("tta=flip", "tta=flip without aug=flip"),
    ("preprocess=whiten_zca", "preprocess=whiten_zca on images"),
    ("preprocess=pca", "preprocess=pca with model=cnn"),
    ("model=linear act=tanh", "act=tanh: model=linear has no place for it"),
    ("model=linear norm=batch", "norm=batch: model=linear has no place for it"),
    ("model=mlp pool=avg", "pool=avg: model=mlp has no place for it"),
    ("optimizer=schedule_free sched=cosine", "its average stands in for a schedule"),
    ("preprocess=minmax act=tanh", "preprocess=minmax with act=tanh"),
    ("model=mlp reg=spatial_dropout", "reg=spatial_dropout: model=mlp has no layer of the kind"),
]
UNSAID = [
    "", "optimizer=lbfgs model=linear", "optimizer=adam reg=[l2,dropout] model=mlp", "act=selu init=lecun_normal reg=alpha_dropout model=mlp",
    "act=linear", "act=maxout norm=group pool=fractional", "model=resnet20 norm=rms act=prelu", "act=tanh init=xavier_normal norm=batch", "optimizer=adamw", "reg=spatial_dropout", "optimizer.lr=0.5",
    "tta=flip aug=[flip]", "data=iris preprocess=whiten_pca", "model=mlp preprocess=pca",
]  # fmt: skip


def notes(run_in_process, words):
    code, out, errors = run_in_process(
        *words.split(), "epochs=1", "optimizer.max_iter=1" if "lbfgs" in words else "threads=1"
    )
    assert code in (0, 5), errors  # a rate that is far too large may well diverge
    return [
        line.removeprefix("note: ") for line in out.partition("\nepoch ")[0].splitlines() if line.startswith("note: ")
    ]  # before training


@pytest.mark.parametrize(("words", "said"), SAID, ids=[words for words, _ in SAID])
def test_a_decision_against_another_is_told(words, said, run_in_process):
    (note,) = notes(run_in_process, words)
    assert said in note


@pytest.mark.parametrize("words", UNSAID, ids=lambda words: words or "defaults")
def test_sensible_decisions_are_left_alone(words, run_in_process):
    assert notes(run_in_process, words) == []


def test_no_more_than_three_are_told_the_weightiest_first(run_in_process):
    words = "optimizer=lbfgs model=mlp act=sigmoid init=he_normal batch_size=4 norm=batch reg=[dropout,alpha_dropout,l2] reg.loss.l2.strength=1"
    told = notes(run_in_process, words)
    assert (
        len(told) == 3
        and told[0].startswith("optimizer=lbfgs with batch_size=4")
        and told[2].startswith("reg.loss.l2.strength=1")
    )
