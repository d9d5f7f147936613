"""Synonyms: each leads to a key or an option that exists, none hides one, each means what other tools mean."""

import re

import pytest
from torch import nn

from trainer.base.text import nearest
from trainer.config import catalog, schema, synonyms

OPTION_KEYS = {
    key
    for group in catalog.groups()
    for option in catalog.options(group)
    for key in schema.keys(catalog.file(group, option), group)
}
KEYS = OPTION_KEYS | {*schema.keys(catalog.folder() / "config.yaml")}
OPTIONS = [(group, typed) for group, names in synonyms.OPTIONS.items() for typed in names]


@pytest.mark.parametrize("old", synonyms.RENAMED_KEYS)
def test_a_renamed_key_is_gone_and_its_new_name_is_there(old):
    new, sign, form = synonyms.renamed_key(old).partition("=")
    assert old not in KEYS and new in KEYS and sign
    if form:
        low, high = (0.5 if end in ("LOW", "HIGH") else float(end) for end in form.strip("[]").split(","))
        (rule,) = {  # of every option that has the key
            key.rule
            for group in catalog.groups()
            for option in catalog.options(group)
            for path, key in schema.keys(catalog.file(group, option), group).items()
            if path == new
        }
        assert rule.violation([low, high]) is None


def test_other_keys_are_not_renamed():
    assert synonyms.renamed_key("data.val_fraction") is None and synonyms.renamed_key("optimizer.lr") is None


@pytest.mark.parametrize("typed", synonyms.KEYS)
def test_the_key_that_is_meant_is_there_and_no_key_is_hidden(typed):
    assert synonyms.meant_key(typed) in KEYS and typed not in KEYS
    assert synonyms.meant_key(typed.upper().replace("_", "-")) == synonyms.meant_key(typed)


@pytest.mark.parametrize("group, typed", OPTIONS)
def test_the_option_that_is_meant_is_there_and_no_option_is_hidden(group, typed):
    other, option = synonyms.meant_option(group, typed)
    assert option in catalog.options(other)
    assert synonyms.plain(typed) not in map(synonyms.plain, catalog.options(group))


@pytest.mark.parametrize("name", ["adamant", "", "=", "cross_entropy"])
def test_any_other_name_has_no_synonym(name):
    assert synonyms.meant_option("loss", name) is None and synonyms.meant_key(name) is None
    assert synonyms.meant_option("nowhere", "silu") is None


@pytest.mark.parametrize(
    "group, typed, meant",
    [
        ("act", "SiLU", ("act", "swish")),
        ("act", "softmax", ("loss", "cross_entropy")),
        ("loss", "CE", ("loss", "cross_entropy")),
        ("loss", "svm", ("loss", "hinge")),
        ("init", "Glorot-Uniform", ("init", "xavier_uniform")),
        ("init", "msra", ("init", "he_normal")),
        ("init", "random_normal", ("init", "normal")),
        ("norm", "BatchNorm", ("norm", "batch")),
        ("norm", "in", ("norm", "instance")),
        ("reg", "batch_norm", ("norm", "batch")),
        ("reg", "cutmix", ("aug", "cutmix")),
        ("aug", "dropout", ("reg", "dropout")),
        ("aug", "lens", ("aug", "radial_distortion")),
        ("aug", "stretch", ("aug", "scale_xy")),
        ("sampler", "with_replacement", ("sampler", "replacement")),
        ("sched", "warmup", ("warmup", "linear")),
        ("sched", "Cosine-Annealing", ("sched", "cosine")),
        ("optimizer", "sgdm", ("optimizer", "momentum")),
    ],
)
def test_a_name_means_what_other_tools_mean_by_it(group, typed, meant):
    assert synonyms.meant_option(group, typed) == meant


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("lr", "optimizer.lr"),
        ("learning-rate", "optimizer.lr"),
        ("wd", "optimizer.weight_decay"),
        ("bs", "batch_size"),
        ("batchsize", "batch_size"),
        ("num_workers", "workers"),
        ("dropout", "reg.layer.dropout.p"),
        ("max_steps", None),  # epochs are not steps
        ("warmup_steps", None),  # a number of steps is not a length
    ],
)
def test_a_key_means_what_other_tools_mean_by_it(typed, meant):
    assert synonyms.meant_key(typed) == meant


def test_an_activation_that_torch_has_is_torchs():
    for typed, expected in {"silu": nn.SiLU, "identity": nn.Identity, "logistic": nn.Sigmoid}.items():
        text = catalog.file(*synonyms.meant_option("act", typed)).read_text()
        assert re.search(rf"^_target_: torch\.nn\.{expected.__name__}$", text, re.MULTILINE)


def test_a_name_of_several_options_is_left_to_the_hint_that_lists_them():
    assert synonyms.meant_option("init", "xavier") is None
    assert nearest("xavier", catalog.options("init"))[:2] == ["xavier_normal", "xavier_uniform"]
