"""The rule of every key of every option, against the class that the option names."""

import functools
import math
import re

import pytest
import torch
import yaml
from nets import make_kit
from omegaconf import OmegaConf
from stepping import settings
from torch import nn

from trainer.base.errors import ConfigError
from trainer.config import catalog, schema
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.config.rule import Rule, is_number, parse_rule, rule_of_type
from trainer.engine import build
from trainer.engine.dry_run import as_config_error
from trainer.norm import Batch
from trainer.sweep import launchers

OFFLINE = ("trainer.data.sklearn.", "trainer.data.synthetic.")  # data sets that need no files
# Keys whose values have to suit another key or the data, or have gaps as 6n + 2: only closed ends are tried.
DEPENDENT = (
    "data.val_fraction",
    "data.test_fraction",
    "init.low",
    "init.high",
    "model.depth",
    "model.pools",
    "accumulate",
    "aug.randaugment.magnitude",
    "aug.randaugment.max_magnitude",
    "task.first",
    "task.last",
)
RUN_KEYS = schema.keys(catalog.folder() / "config.yaml")
SEARCH_KEYS = schema.keys(catalog.folder() / "hydra" / "sweeper" / "optuna.yaml", "hydra.sweeper")
KEYS = {  # of each option, those that it does not share with the run
    (group, option): [key for path, key in found.items() if path not in RUN_KEYS]
    for group in catalog.groups()
    for option in catalog.options(group)
    if (found := schema.keys(catalog.file(group, option), group)) and group != "experiment"
}
LAUNCHER_KEYS = launchers.keys()
FILES = {("config",): [*RUN_KEYS.values()], ("hydra/sweeper", "optuna"): [*SEARCH_KEYS.values()], **KEYS}
FILES |= {("hydra/launcher", "stacked"): [*LAUNCHER_KEYS.values()]}
EVERY_FILE = [pytest.param(keys, id="=".join(names)) for names, keys in FILES.items()]


@pytest.fixture(scope="module")
def small_run(composed):
    return composed("data=iris", "model=linear", "threads=1", "device=cpu")


def rule_of(key: schema.Key) -> Rule | None:
    return key.rule or rule_of_type(key.default)


def in_place(key: schema.Key, item: object, place: int = 0) -> object:
    """A value of the key with this item: of a list its first or last one, the others as they are by default."""
    if not rule_of(key).in_list:
        return item
    items = list(key.default) or 2 * [next(iter(rule_of(key).words), 1)]
    items[place] = item
    return items


def ends(rule: Rule) -> list[tuple[float, bool, int]]:
    """The finite ends of a rule's numbers: with whether each is closed, and -1 for a lower, 1 for an upper end."""
    if rule.bound is None:
        return []
    if interval := re.fullmatch(r"in ([\[(])(\S+), (\S+)([\])])", rule.bound):
        left, low, high, right = interval.groups()
        found = [(float(low), left == "[", -1), (float(high), right == "]", 1)]
    else:
        sign, bound = rule.bound.split()
        found = [(float(bound), "=" in sign, -1 if sign[0] == ">" else 1)]
    return [(int(end) if rule.whole else end, closed, side) for end, closed, side in found if math.isfinite(end)]


def beyond(end: float, side: int, whole: bool) -> float:
    """The next number on the wrong side of an end."""
    return end + side if whole else math.nextafter(end, side * math.inf)


def numbers_inside(key: schema.Key) -> list[tuple[float, int]]:
    """Every closed end, and a number close to every open one and far from one that is alone; with the side of each."""
    rule = rule_of(key)
    found = ends(rule)
    closed_ends = [(end, side) for end, closed, side in found if closed]
    if key.path in DEPENDENT:
        return closed_ends
    near = [(end - side * (1 if rule.whole else 1e-6), side) for end, closed, side in found if not closed]
    far = [(end - 50 * side, -side) for end, _, side in found if len(found) == 1]
    beside = [(number, 0) for number in (1e-9, 0.5, 1 - 1e-9) if rule.fractions]
    return [*closed_ends, *near, *far, *([(-50, -1), (50, 1)] if rule.number and not found else []), *beside]


def good_values(key: schema.Key) -> list[object]:
    """Every word, every end of a range or a number beside it, and values of each other kind."""
    rule = rule_of(key)
    items = [(word, 0) for word in rule.words]
    items += [(number, 0 if side < 0 else -1) for number, side in numbers_inside(key)]
    items += [(length, 0) for length in ("3ep", "0.5ep", "7st", "1%", "100%") if rule.length]
    values = [in_place(key, item, place) for item, place in items]
    values += [None] if rule.null else []
    values += [True, False] if rule.truth else []
    values += ["1min", "0.5min"] if rule.minutes else []
    values += ["1st", "100st"] if rule.steps else []
    values += [f"{rule.numbered}:3"] if rule.numbered else []
    return [*values, key.default]


def values_outside(key: schema.Key) -> list[object]:
    """Every open end of a range, and the next number outside a closed one."""
    rule = rule_of(key)
    beside = [0.0, 1.0, 1.5] if rule.fractions else []  # they are in (0, 1)
    return beside + [
        in_place(key, beyond(end, side, rule.whole) if closed else end, 0 if side < 0 else -1)
        for end, closed, side in ends(rule)
    ]


def values_of_a_wrong_type(key: schema.Key) -> list[object]:
    """Values of all other kinds than the rule's, as the key's value or, of a list, as an item of it."""
    rule = rule_of(key)
    wrong: list[object] = [math.nan, math.inf, -math.inf, {}, [[]]]
    wrong += [] if rule.truth else [True, False]
    wrong += [] if rule.null else [None]
    wrong += [] if rule.text else ["nonsense", "", "0.5", "one", "number"]
    wrong += [] if rule.length else ["5ep"] * (not rule.text)
    wrong += [] if rule.minutes else ["5min"] * (not rule.text)
    wrong += ["5", "0ep", "-1ep", "length", "minutes"] if rule.length else []
    wrong += ["5", "0st", "-1st", "1.5st", "steps"] if rule.steps else []
    wrong += [] if rule.number else [1000, 0.25]
    wrong += [1.5, 10**400] if rule.whole else []
    if not rule.in_list:
        return [*wrong, [], *([[value] for value in wrong] if rule.or_list else [[key.default]])]
    lists = [in_place(key, value, -1) for value in wrong] + [[key.default]]
    lists += [key.default * 2, key.default[1:], []] if rule.count else []
    return [*lists, *wrong, *key.default[:1], {"0": 1}]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


@functools.cache
def node_of(group: str, option: str) -> tuple[str, dict]:
    """The path and the settings of an option's node with a `_target_`."""
    if group == "optimizer":
        return group, OmegaConf.to_container(settings(option))
    path, node = [] if not catalog.is_self_contained(catalog.file(group, option)) else [group], {}
    node = yaml.safe_load(catalog.file(group, option).read_text())
    node.pop("defaults", None)
    while "_target_" not in node:
        name = group if group in node else next(iter(node))
        path, node = [*path, name], node[name]
    return ".".join(path), node


def construct(group: str, option: str, name: str, value: object, load: bool = True) -> None:
    """Make the object of an option with one value changed, as a run does. Errors: ConfigError.

    Args:
        load: load a data set too, also one that needs files.
    """
    if (group, option) == ("model", "timm"):
        pytest.importorskip("timm")
    path, node = node_of(group, option)
    init = OmegaConf.load(catalog.file("init", "torch"))
    cfg = OmegaConf.create({"scale_lr": "none", "base_batch": 256, "init": init})
    OmegaConf.update(cfg, path, {**node, name: value}, force_add=True)
    chosen = OmegaConf.select(cfg, path)
    for key in [key for key in chosen if OmegaConf.is_missing(chosen, key)]:
        chosen[key] = "PLACE"  # of a data set's files
    if group == "optimizer":
        build.make_optimizer(cfg, Net(), 64, Invocation())
        return
    make = factory(cfg, path, Invocation())
    if group == "averaging":
        make(Net())
    elif group == "model":
        parts = {"norm": {"norm": Batch()}, "drop": {"drops": [nn.Dropout]}} if value == "kit" else {}
        with torch.device("meta"):
            make((3, 64, 64), 2, make_kit(**parts.get(name, {})))
    elif group == "data" and (load or node["_target_"].startswith(OFFLINE)):
        with as_config_error("data", Invocation()):
            make().load()
    else:
        make()


def fields(group: str, option: str) -> list[tuple[str, schema.Key]]:
    """The keys of an option that are fields of its class."""
    path, _ = node_of(group, option)
    return [(key.path.removeprefix(f"{path}."), key) for key in KEYS[group, option] if key.path.startswith(f"{path}.")]


def test_a_comment_behind_a_value_has_one_semicolon_and_a_rule_behind_it():
    count = 0
    for path in catalog.folder().rglob("*.yaml"):
        for line in path.read_text().splitlines():
            comment = line.partition(" # ")[2] if not line.startswith("#") else ""
            if ";" in comment:
                meaning, _, rule = comment.partition("; ")
                assert meaning and ";" not in rule, f"{path.name}: {line}"
                parse_rule(rule)
                count += 1
    assert count == sum(key.rule is not None for keys in FILES.values() for key in keys)


def test_the_number_of_keys_found_is_the_number_meant():
    assert (sum(map(len, KEYS.values())), len(RUN_KEYS), len(SEARCH_KEYS)) == (571, 36, 10)


@pytest.mark.parametrize("keys", EVERY_FILE)
def test_a_key_has_a_meaning_and_a_rule_that_its_default_keeps(keys):
    for key in keys:
        rule = rule_of(key)
        assert len(key.meaning) > 5 and rule is not None, f"{key.path}: a number, a list and null need a rule"
        assert rule.in_list == isinstance(key.default, list), key.path
        if rule.number and is_number(key.default):
            assert key.rule, f"{key.path}: a number needs a range"
            assert rule.whole == isinstance(key.default, int), f"{key.path}: only a whole number is written so"
        assert key.violation(key.default) is None


@pytest.mark.parametrize("group", catalog.groups())
def test_a_setting_of_the_run_that_an_option_brings_keeps_the_runs_rule(group):
    for option in catalog.options(group):
        for path, key in schema.keys(catalog.file(group, option), group).items():
            if path in RUN_KEYS:
                assert RUN_KEYS[path].violation(key.default) is None, f"{group}={option}: {path}"


@pytest.mark.parametrize("keys", EVERY_FILE)
def test_a_rule_takes_its_words_and_closed_ends_and_refuses_what_is_outside_and_other_types(keys):
    for key in keys:
        assert [value for value in good_values(key) if key.violation(value) is not None] == [], key
        refused = [*values_outside(key), *values_of_a_wrong_type(key)]
        assert [value for value in refused if key.violation(value) is None] == [], key


@pytest.mark.parametrize("group, option", KEYS)
def test_a_class_takes_what_the_rule_takes(group, option):
    for name, key in fields(group, option):
        for value in good_values(key):
            elsewhere = (("model.pretrained", True), ("optimizer.lr", "auto"))  # the network, task=train
            no_dropouts = (option, name) == ("timm", "drop")  # in its default network
            if (key.path, value) not in elsewhere and not no_dropouts:
                construct(group, option, name, value, load=False)


@pytest.mark.parametrize("group, option", KEYS)
def test_a_class_of_ours_refuses_what_the_rule_refuses(group, option):
    if not node_of(group, option)[1]["_target_"].startswith("trainer."):
        return  # torch's classes check what they check
    for name, key in fields(group, option):
        for value in [*values_outside(key), *([in_place(key, "nonsense")] if rule_of(key).words else [])]:
            with pytest.raises(ConfigError):
                construct(group, option, name, value)
                pytest.fail(f"{group}={option} takes {name}={value}, which its rule refuses: {key.comment}")


@pytest.mark.parametrize("path", RUN_KEYS)
def test_a_run_takes_what_the_rule_of_its_setting_takes(path, small_run):
    key = RUN_KEYS[path]
    for value in good_values(key):
        elsewhere = (("monitor", "r2"), ("data.train_samples", 1), ("data.train_samples", 1e-9))
        elsewhere += (("data.half", "a"), ("data.half", "b"))
        elsewhere += tuple(("model.freeze", number) for number in (0, 50))
        if value in ("cuda", "mps", "cuda:3") or (path, value) in elsewhere:
            continue  # other machines, other data, a layer that this model does not have
        cfg = small_run.copy()
        OmegaConf.update(cfg, path, value)
        build.build_run(cfg)


def test_the_words_of_the_runs_settings_are_those_that_the_engine_knows():
    """Other tests try what each of them does; a word that the engine does not know would do nothing."""
    words = {path: rule.words for path, key in RUN_KEYS.items() if (rule := rule_of(key)) and rule.words}
    assert words == {
        "batch_size": ("full",),
        "data.half": ("all", "a", "b"),
        "scale_lr": ("none", "linear"),
        "on_nan": ("stop", "skip", "rollback"),
        "on_oom": ("stop", "halve"),
        "device": ("auto", "cpu", "cuda", "mps"),
        "threads": ("auto",),
        "residency": ("auto", "device", "host", "stream"),
        "workers": ("auto",),
        "precision": ("auto", "fp32", "bf16"),
        "channels_last": ("auto", "on", "off"),
        "compile": ("off", "model", "step"),
        "compile_mode": ("default", "reduce-overhead", "max-autotune"),
        "monitor": ("auto", "loss", "accuracy", "r2"),
        "data.train_samples": ("all",),
        "sweep.on_error": ("continue", "stop"),
    }
