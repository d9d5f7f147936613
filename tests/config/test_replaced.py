"""An experiment with one of its options replaced by another."""

import pytest
import yaml
from conftest import command
from omegaconf import OmegaConf

from trainer.config import catalog
from trainer.config.replaced import without_replaced


def content(name: str) -> dict:
    return yaml.safe_load(catalog.file("experiment", name).read_text())


EXCHANGES = [  # each option that an experiment sets keys of, replaced by the first one that is another
    (name, group, next(option for option in catalog.options(group) if f"{group}={option}" not in chosen))
    for name in catalog.options("experiment")
    for chosen in [catalog.overrides(catalog.file("experiment", name))]
    for group in catalog.groups()
    if group not in (*catalog.MULTI_SELECT, "data", "experiment") and content(name).get(group)
]


@pytest.mark.parametrize("name, group, other", EXCHANGES)
def test_the_keys_of_an_option_that_is_replaced_are_left_out(name, group, other, composed):
    words = [f"experiment={name}", f"{group}={other}"]
    found = without_replaced(composed(*words), words)
    alone = composed(f"{group}={other}")
    assert {*found[group]} == {*alone[group]}
    shared = {*content(name)[group]} & {*alone[group]}
    assert {key: found[group][key] for key in shared} == {key: content(name)[group][key] for key in shared}


@pytest.mark.parametrize("words", [("aug=[]", "reg=[]"), ("aug=[flip]", "reg=[l2]")])
def test_of_several_options_those_that_are_not_chosen_are_left_out(words, composed):
    words = ["experiment=cifar10_94", *words]
    found = without_replaced(composed(*words), words)
    if "aug=[]" in words:
        assert not found.aug and not any(found.reg.values())
    else:
        assert {*found.aug} == {"flip"} and found.aug.flip.alternating is True
        assert {*found.reg.loss} == {"l2"} and found.reg.loss.l2.strength == 1.3e-3 and not found.reg.batch


def test_options_of_the_experiment_keep_their_keys(composed):
    words = ["experiment=cifar10_94", "optimizer=nesterov", "warmup=linear"]
    cfg = composed(*words)
    assert without_replaced(cfg, words) is cfg
    plain = OmegaConf.to_container(cfg)
    assert without_replaced(plain, words) is plain


def test_a_run_leaves_them_out_and_says_so_where_one_is_typed(tmp_path):
    words = ["experiment=digits_99", "epochs=1st", "threads=1", "device=cpu"]
    code, _, errors = command(
        tmp_path, "warmup=none", "aug=[]", "reg=[]", "norm=none", "model=mlp", "init=auto", *words
    )
    assert code == 0, errors
    code, _, errors = command(tmp_path, "warmup=none", "warmup.length=5%", *words)
    assert code == 2 and "warmup.length=5%: no such key; warmup.length is a key of warmup=linear" in errors
    assert "warmup=none has no keys" in errors
