"""Synonyms: each leads to keys and options that exist, none hides one, each means what other tools mean."""

import re
from collections import Counter

import pytest
from torch import nn

from trainer.config import catalog, classifiers, schema, synonyms
from trainer.config.synonyms_of_keys import KEYS, REASONS
from trainer.config.synonyms_of_options import ABSENT, NOTES, OPTIONS

OPTION_KEYS = {
    key
    for group in catalog.groups()
    for option in catalog.options(group)
    for key in schema.keys(catalog.file(group, option), group)
}
RUN_KEYS = {*schema.keys(catalog.folder() / "config.yaml")}
OTHERS = {"resume", "hydra/launcher", "hydra/sweeper"}


def exists(override: str) -> bool:
    """Return whether an override of a table names an option or a key that is there."""
    path, _, value = override.partition("=")
    if path in catalog.all_nested_keys(path.partition(".")[0]):
        return value in catalog.options(path.partition(".")[0])
    if path not in catalog.groups():
        return path in OPTION_KEYS | RUN_KEYS | OTHERS
    names = value.strip("[]").split(",")
    return value in ("{}", "none") or all(name in catalog.options(path) for name in names)


@pytest.mark.parametrize("old", synonyms.RENAMED_KEYS)
def test_a_renamed_key_is_gone_and_its_new_name_is_there(old):
    new, sign, form = synonyms.renamed_key(old).partition("=")
    assert old not in OPTION_KEYS | RUN_KEYS and new in OPTION_KEYS | RUN_KEYS and sign
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


@pytest.mark.parametrize("template", KEYS)
def test_what_to_type_for_a_key_exists(template):
    """At least one way of each row, and the last one, which is for any command."""
    *_, last = ways = template.split(" | ")
    assert all(exists(text.replace("[{},0.999]", "{}").replace("[0.9,{}]", "{}")) for text in last.split()), ways


@pytest.mark.parametrize("group", OPTIONS)
def test_what_to_type_for_an_option_exists_and_no_option_is_hidden(group):
    names = [*map(synonyms.plain, catalog.options(group))]
    for meant, words in OPTIONS[group].items():
        for way in meant.split(" or "):
            assert all(exists(text if "=" in text else f"{group}={text}") for text in way.split()), way
        assert not {*map(synonyms.plain, words.split())} & {*names}


def test_no_key_is_hidden():
    """A dotted key of the tables may be there: it is looked up where the chosen options do not have it."""
    for words in (*KEYS.values(), *REASONS.values()):
        assert not {word for word in words.split() if word in RUN_KEYS}


def test_each_word_has_one_meaning():
    plain = [synonyms.plain(word) for words in (*KEYS.values(), *REASONS.values()) for word in words.split()]
    assert [word for word, count in Counter(plain).items() if count > 1] == []
    for group, rows in OPTIONS.items():
        plain = [synonyms.plain(word) for words in rows.values() for word in words.split()]
        plain += map(synonyms.plain, ABSENT.get(group, "").split())
        assert [word for word, count in Counter(plain).items() if count > 1] == [], group


def test_what_is_absent_is():
    for group, words in ABSENT.items():
        options = {*map(synonyms.plain, catalog.options(group))}
        assert not options & {*map(synonyms.plain, words.split())}, group
        assert synonyms.is_absent(group, words.split()[0].upper())
    assert not synonyms.is_absent("optimizer", "adam") and not synonyms.is_absent("nowhere", "adam")
    for place in NOTES:
        assert synonyms.meant_option(*place.split("="))


@pytest.mark.parametrize("name", ["adamant", "", "=", "bce"])
def test_any_other_name_has_no_synonym(name):
    assert synonyms.meant_option("loss", name) == [] and synonyms.meant_key(name, "1") == []
    assert synonyms.meant_option("nowhere", "silu") == []


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("act=SiLU", "act=swish"),
        ("act=softmax", "loss=cross_entropy"),
        ("loss=CE", "loss=cross_entropy"),
        ("loss=nll", "loss=cross_entropy"),
        ("loss=l2", "loss=mse"),
        ("loss=squared", "loss=mse"),
        ("loss=svm", "loss=hinge"),
        ("loss=binary_cross_entropy", "loss=bce"),
        ("init=glorot_normal", "init=xavier_normal"),
        ("init=Glorot-Uniform", "init=xavier_uniform"),
        ("init=glorot", "init=xavier_normal or init=xavier_uniform"),
        ("init=xavier", "init=xavier_normal or init=xavier_uniform"),
        ("init=kaiming_normal", "init=he_normal"),
        ("init=kaiming_uniform", "init=he_uniform"),
        ("init=kaiming", "init=he_normal or init=he_uniform"),
        ("init=he", "init=he_normal or init=he_uniform"),
        ("init=msra", "init=he_normal"),
        ("init=random_normal", "init=normal"),
        ("init=random_uniform", "init=uniform"),
        ("init=gaussian", "init=normal"),
        ("norm=bn", "norm=batch"),
        ("norm=BatchNorm", "norm=batch"),
        ("norm=ln", "norm=layer"),
        ("norm=layernorm", "norm=layer"),
        ("norm=gn", "norm=group"),
        ("norm=in", "norm=instance"),
        ("reg=batch_norm", "norm=batch"),
        ("reg=bn", "norm=batch"),
        ("reg=wd", "reg=weight_decay"),
        ("aug=dropout", "reg=dropout"),
        ("aug=lens", "aug=radial_distortion"),
        ("aug=stretch", "aug=scale_xy"),
        ("sampler=with_replacement", "sampler=replacement"),
        ("sched=warmup", "warmup=linear"),
        ("sched=cos", "sched=cosine"),
        ("sched=Cosine-Annealing", "sched=cosine"),
        ("sched=reduce_on_plateau", "sched=plateau"),
        ("sched=poly", "sched=polynomial"),
        ("optimizer=sgdm", "optimizer=momentum"),
    ],
)
def test_an_option_means_what_other_tools_mean_by_it(typed, meant):
    assert " or ".join(" ".join(fix) for fix in synonyms.meant_option(*typed.split("="))) == meant


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("lr=0.1", "optimizer.lr=0.1"),
        ("Learning-Rate=0.1", "optimizer.lr=0.1"),
        ("bs=32", "batch_size=32"),
        ("batchsize=32", "batch_size=32"),
        ("num_workers=4", "workers=4"),
        ("steps=100", "epochs=100st"),
        ("max_steps=100", "epochs=100st"),
        ("warmup_steps=500", "warmup=linear warmup.length=500st"),
        ("warmup_epochs=5", "warmup=linear warmup.length=5ep"),
        ("warmup_ratio=0.06", "warmup=linear warmup.length=6%"),
        ("drop_path=0.2", "reg=stochastic_depth reg.model.stochastic_depth.survival=0.8"),  # survival is 1 - rate
        ("keep_prob=0.8", "reg=dropout reg.layer.dropout.p=0.2"),
        ("shuffle=False", "sampler=sequential"),
        ("shuffle=True", "sampler=shuffle"),
        ("amp=false", "precision=fp32"),
        ("amp=true", "precision=bf16"),
        ("warmup_ratio=often", ""),
    ],
)
def test_a_key_means_what_other_tools_mean_by_it(typed, meant):
    assert " ".join((synonyms.meant_key(*typed.split("=")) or [[]])[0]) == meant


def test_a_key_may_mean_another_one_where_the_first_does_not_go_with_the_command():
    ways = [["optimizer.weight_decay=0.1"], ["reg=weight_decay", "reg.weights.weight_decay.strength=0.1"]]
    assert synonyms.meant_key("wd", "0.1") == ways


def test_an_activation_that_torch_has_is_torchs():
    for typed, expected in {"silu": nn.SiLU, "identity": nn.Identity, "logistic": nn.Sigmoid}.items():
        ((override,),) = synonyms.meant_option("act", typed)
        text = catalog.file(*override.split("=")).read_text()
        assert re.search(rf"^_target_: torch\.nn\.{expected.__name__}$", text, re.MULTILINE)


@pytest.mark.parametrize(
    "typed, canonical",
    [
        ("act=silu", "act=swish"),
        ("act=relu,SiLU", "act=relu,swish"),
        ("act=silu2", "act=silu2"),
        ("reg=none", "reg=[]"),
        ("aug=None", "aug=[]"),
        ("reg=[none]", "reg=[]"),
        ("reg=none,l2,[l1,dropout]", "reg=[],l2,[l1,dropout]"),
        ("reg=[none,l2]", "reg=[none,l2]"),  # refused: none beside others
        ("norm=none", "norm=none"),
        ("output=none", "output=none"),
    ],
)
def test_an_alias_stands_for_another_name(typed, canonical):
    assert synonyms.canonical(typed) == canonical


def test_classifiers_are_those_of_torchvision():
    from torchvision import models

    assert classifiers.names("torchvision") == sorted(models.list_models(module=models))
    assert classifiers.same("ResNet-50") == [["model=torchvision", "model.name=resnet50"]]
    assert classifiers.beginning("vit") == [["model=torchvision", "model.name=vit_b_16"]]
    assert classifiers.same("resnet51") == classifiers.beginning("xyz") == classifiers.beginning("v") == []
