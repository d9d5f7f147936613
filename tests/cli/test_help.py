"""`train --help WORD`: groups, options, keys by their last part, and names of other tools."""

import re

import pytest
from hydra import compose

from trainer.base.errors import ConfigError
from trainer.cli import help
from trainer.config import catalog, schema
from trainer.config.hydra_context import initialized


@pytest.fixture
def printed(capsys, monkeypatch):
    """Return a function that shows a page, and returns it with one space between words."""
    monkeypatch.setenv("COLUMNS", "200")

    def show(*topics: str) -> str:
        help.show(["--help", *topics])
        return re.sub(r"\s+", " ", capsys.readouterr().out)

    return show


@pytest.mark.parametrize("name", ["lr", "momentum", "p", "strength"])
def test_a_key_is_shown_in_every_place_that_has_it(name, printed):
    page = printed(name)
    for group in catalog.groups():
        for option in catalog.options(group):
            for key in schema.keys(catalog.file(group, option), group).values():
                assert (f"{group}={option} {key.path}=" in page) == (key.path.endswith(f".{name}")) or (
                    option == name
                ), key.path


def test_a_name_that_is_an_option_and_a_key_is_shown_as_both(printed):
    page = printed("momentum")
    assert "optimizer=momentum SGD with heavy-ball momentum" in page
    assert "norm=batch norm.momentum=0.1" in page and "optimizer=rmsprop optimizer.momentum=0.0" in page


def test_a_whole_key_is_shown(printed):
    meaning = "learning rate (auto: measured before the first step); > 0, or auto"
    assert f"optimizer=adam optimizer.lr=0.001 {meaning}" in printed("optimizer.lr")
    assert "reg=l2 reg.loss.l2.strength=0.0001" in printed("reg.loss.l2.strength")


@pytest.mark.parametrize("name", catalog.options("experiment"))
def test_an_experiment_is_shown_with_the_options_that_hydra_chooses_for_it(name, printed):
    with initialized():
        chosen = compose("config", [f"experiment={name}"], return_hydra_config=True).hydra.runtime.choices
    words = re.search(r" It chooses (.+?) unless you type", printed(f"experiment={name}"))
    shown = dict(word.split("=", 1) for word in words[1].split()) if words else {}
    assert shown or not re.search("override /", catalog.file("experiment", name).read_text())
    single = {*shown} - {*catalog.MULTI_SELECT}
    assert {group: shown[group] for group in single} == {group: str(chosen[group]) for group in single}


def test_a_launcher_is_shown_alone_with_its_keys(printed):
    page = printed("hydra/launcher=stacked")
    assert "hydra.launcher.jobs=32 " in page and "joblib" not in page and "joblib" in printed("hydra/launcher")
    assert "hydra.launcher.jobs=32 " in printed("hydra.launcher.jobs")


def test_a_launcher_that_does_not_exist_is_answered_with_the_nearest(run_in_process):
    code, _, errors = run_in_process("--help", "hydra/launcher=stackd")
    assert code == 2 and "hydra/launcher has no option stackd; did you mean stacked?" in errors


def test_an_experiment_is_shown_with_the_one_that_it_begins_with(printed):
    page = printed("experiment=cifar10_96")
    assert "begins with experiment=cifar10_94," in page and "model=fast_cnn act=gelu" in page
    assert "aug=[flip,translate,cutout]" in page and "aug=[flip,translate] " not in page


@pytest.mark.parametrize("group", catalog.MULTI_SELECT)
def test_a_group_of_several_options_is_shown_with_their_keys(group, printed):
    page = printed(group)
    first, second = catalog.options(group)[:2]
    assert f"A run takes several: {group}=[{first},{second}]" in page and f"{group}=none" in page
    for option in catalog.options(group):
        assert all(f"{path}=" in page for path in schema.keys(catalog.file(group, option), group))


@pytest.mark.parametrize(
    "typed, parts",
    [
        ("silu", ["write act=swish", "x / (1 + e^-x)"]),
        ("act=silu", ["x / (1 + e^-x)"]),
        ("SGD", ["write optimizer=sgd", "optimizer.lr=0.1"]),
        ("glorot_normal", ["write init=xavier_normal", "init.gain=1.0"]),
        ("learning_rate", ["write optimizer.lr=VALUE", "optimizer=adam optimizer.lr=0.001"]),
        ("batchsize", ["write batch_size=VALUE", "batch_size=64"]),
        ("dropout_rate", ["write reg=dropout reg.layer.dropout.p=VALUE", "reg.layer.dropout.p=0.5"]),
        ("resnet50", ["write model=torchvision model.name=resnet50", "model.name=mobilenet_v3_small"]),
    ],
)
def test_a_name_of_another_tool_is_shown_as_what_it_means(typed, parts, printed):
    page = printed(typed)
    assert all(part in page for part in parts), page


@pytest.mark.parametrize(
    "typed, answer",
    [
        ("optimzer", "did you mean --help optimizer?"),
        ("optimizer=Adam", "did you mean --help optimizer=adam?"),
        ("momentm", "did you mean --help momentum?"),
        ("callbacks", "reg=early_stopping stops early"),
        ("xyzzy", "no such group, option or key; train --help lists them all"),
        ("me", "no such group, option or key; train --help lists them all"),
    ],
)
def test_an_unknown_word_is_answered_in_one_line(typed, answer, printed):
    with pytest.raises(ConfigError, match=re.escape(answer)):
        printed(typed)


def test_a_topic_may_stand_behind_an_equals_sign(run_in_process):
    code, page, _ = run_in_process("--help=epochs")
    assert code == 0 and "epochs=20" in page


@pytest.mark.parametrize("words", [["--help"], ["--help", "lr"], ["--help", "optimizer=adam"], ["--help", "data=csv"]])
def test_no_word_is_cut_on_a_narrow_terminal(words, run_in_process, monkeypatch):
    pages = []
    for width in ("200", "60", "40"):
        monkeypatch.setenv("COLUMNS", width)
        code, page, _ = run_in_process(*words)
        assert code == 0 and "\u2026" not in page
        pages.append(page.split())
    assert pages[0] == pages[1]
    longest = max(map(len, pages[0]))
    assert longest > 36 or pages[0] == pages[2]  # what is longer than a line is folded
