"""Classes that a `_target_` may name: a module that cannot be imported is not taken for a class that is not in it."""

import sys

import pytest
import torch
from omegaconf import OmegaConf

from trainer.base.errors import ConfigError
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.config.targets import LIBRARIES, locate, require_fixed_values

FILES = {
    "__init__.py": "",
    "good.py": "class Sched:\n    pass\n",
    "needs.py": "import surely_not_installed\n\nclass Sched:\n    pass\n",
    "broken.py": "from .good import Missing\n",
}


@pytest.fixture
def homemade(tmp_path, monkeypatch):
    """A package of the user's, beside a module that is not there."""
    folder = tmp_path / "homemade"
    folder.mkdir()
    for name, source in FILES.items():
        (folder / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "homemade"]:
        del sys.modules[name]


def find(target):
    return locate(target, "sched", "sched", (*LIBRARIES, "homemade", "surely_not_installed"))


def test_a_class_of_a_module_that_nobody_has_imported_is_found(homemade):
    assert find("homemade.good.Sched").__name__ == "Sched"


@pytest.mark.parametrize(
    "target, message",
    [
        ("homemade.good.Other", "no class of that name"),
        ("homemade.other.Sched", "no class of that name"),
        ("homemade.good.Sched.inner.Deep", "no class of that name"),
        ("torch.nn.modules.linear.Other", "no class of that name"),
        (
            "homemade.needs.Sched",
            r"homemade.needs cannot be imported \(No module named 'surely.*'\); install surely_not_installed$",
        ),
        (
            "homemade.broken.Sched",
            r"homemade.broken cannot be imported \(cannot import name 'Missing'.*; fix the error in it",
        ),
        (
            "surely_not_installed.Sched",
            "surely_not_installed cannot be imported.*install it, put it beside the folder of --config-dir, or",
        ),
    ],
)
def test_the_message_names_the_module_at_fault(homemade, target, message):
    with pytest.raises(ConfigError, match=rf"^sched\._target_={target}: {message}"):
        find(target)


def test_only_the_target_begins_with_an_underscore():
    cfg = OmegaConf.create({"sched": {"_target_": "trainer.sched.decay.Constant", "_args_": [1]}})
    with pytest.raises(ConfigError, match=r"^sched\._args_: no key of a technique; only _target_ begins with an under"):
        factory(cfg, "sched", Invocation())


def test_a_technique_gets_what_it_holds_as_a_partial_call_of_the_class_that_was_checked():
    nested = {"_target_": "torch.optim.SGD", "lr": 0.5}
    cfg = OmegaConf.create(
        {"optimizer": {"_target_": "trainer.optimizer.sam.Sam", "base": nested, "rho": "${rho}"}, "rho": 0.1}
    )
    optimizer = factory(cfg, "optimizer", Invocation())([torch.nn.Parameter(torch.ones(1))])
    assert type(optimizer.base) is torch.optim.SGD and optimizer.rho == 0.1 and optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("value", ["${oc.env:SECRET}", "${other}"])
@pytest.mark.parametrize(
    "nest",
    [lambda value: value, lambda value: {"b": {"c": value}}, lambda value: [1, [value]], lambda value: [{"c": value}]],
)
def test_a_value_that_may_change_is_refused_at_any_depth(nest, value):
    cfg = OmegaConf.create({"sched": {"a": nest(value)}, "other": "\\${third}", "third": 1})
    with pytest.raises(ConfigError, match=r"^sched\.a"):
        require_fixed_values(cfg.sched, "sched")
    require_fixed_values(OmegaConf.create({"sched": {"a": nest("${third}")}, "third": 1}).sched, "sched")
