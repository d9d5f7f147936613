"""No override runs anything: neither a `_target_` nor a setting of Hydra."""

import re
import sys

import pytest
from conftest import SMALL
from omegaconf import OmegaConf
from payloads import CALL, HONEST, HYDRA, TARGETS, arranged, refused

from trainer.base.errors import ConfigError
from trainer.cli import overrides
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.config.quoting import quote


@pytest.mark.parametrize("group", ["sched", "model", "optimizer", "task", "data"])
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_refused_before_it_is_called(name, group, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    target, argument = TARGETS[name]
    for here in (
        {"_target_": target, "_args_": [argument]},
        {"_target_": HONEST[group], "deeper": {"list": [{"_target_": target, "_args_": [argument]}]}},
    ):
        with pytest.raises(ConfigError, match=re.escape(f"_target_={target}: ")):
            factory(OmegaConf.create({group: here}), group, Invocation())()
    assert not (tmp_path / "marker").exists() and "planted" not in sys.modules


@pytest.mark.parametrize(
    "name", ["direct", "aliased in the standard library", "aliased in torch", "a partial", "this program again"]
)
def test_a_target_on_the_command_line_is_refused(name, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    target, argument = TARGETS[name]
    refused(
        run_in_process(*SMALL, f"sched._target_={target}", f"+sched._args_=[{quote(argument)}]"),
        tmp_path,
        2,
        f"sched._target_={target}",
    )


@pytest.mark.parametrize("place", ["reg.loss.x", "aug.x", "norm.deep.er", "data.list"])
def test_a_nested_target_is_refused(place, run_in_process, tmp_path):
    value = "{_target_:os.system,_args_:['touch marker']}"
    override = f"+{place}=[{value}]" if place.endswith("list") else f"+{place}={value}"
    refused(run_in_process(*SMALL, override), tmp_path, 2)


def test_a_target_in_a_sweep_is_refused_in_any_place(run_in_process, tmp_path):
    code, printed, _ = run_in_process(
        *SMALL,
        "-m",
        "optimizer=sgd",
        "optimizer._target_=torch.optim.SGD,logging.os.system",
        "+optimizer._args_=[[touch marker]]",
    )
    assert code == 2 and "optimizer._target_=logging.os.system: " in printed and not list(tmp_path.rglob("marker"))


def test_a_class_of_the_right_kind_must_also_come_from_an_allowed_module(run_in_process, tmp_path):
    refused(
        run_in_process(*SMALL, "model._target_=torch.jit.ScriptModule"), tmp_path, 2, "must be a class of trainer.model"
    )
    refused(run_in_process(*SMALL, "optimizer._target_=torch.distributed.optim.ZeroRedundancyOptimizer"), tmp_path, 2)


@pytest.mark.parametrize("override", HYDRA)
def test_an_override_of_hydra_that_would_run_something_is_refused(override, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    with pytest.raises(ConfigError):
        overrides.check([*SMALL, "optimizer._target_=os.system", "+optimizer._args_=['touch marker']", override])
    assert not (tmp_path / "marker").exists() and "planted" not in sys.modules


@pytest.mark.parametrize("override", [HYDRA[0], HYDRA[5], HYDRA[12], "-m"])
def test_the_program_refuses_it_as_well(override, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    refused(
        run_in_process(
            *SMALL,
            "sched._target_=logging.os.system",
            "+sched._args_=['touch marker']",
            *(["-m", "+hydra.callbacks.a=${sched}"] if override == "-m" else [override]),
        ),
        tmp_path,
        2,
    )


@pytest.mark.parametrize(
    "text",
    [
        f"hydra:\n  callbacks:\n    a: {CALL}",
        f"hydra:\n  launcher:\n    a: {CALL}",
        "hydra:\n  job_logging:\n    root: {handlers: []}",
    ],
)
def test_a_file_in_a_config_dir_is_refused_as_well(text, run_in_process, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "evil.yaml").write_text(f"# @package _global_\n# Evil.\n{text}\n")
    refused(run_in_process(*SMALL, "--config-dir", "mine", "experiment=evil"), tmp_path, 2, "hydra.")


def test_overrides_of_hydras_directories_still_work(run_in_process, tmp_path):
    code, _, errors = run_in_process(*SMALL, "hydra.run.dir=here", "hydra.verbose=false")
    assert code == 0, errors
    assert (tmp_path / "here" / "summary.json").is_file()


@pytest.mark.parametrize(
    "flag",
    [
        "--experimental-rerun=planted.pkl",
        "--experimental-re=planted.pkl",
        "--config-name=planted",
        "-cn=planted",
        "--config-path=.",
        "-cp=.",
    ],
)
@pytest.mark.parametrize("also", [(), ("--hydra-help",)])
def test_flags_that_bypass_the_checks_are_refused(flag, also, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    (tmp_path / "planted.yaml").write_text(f"hydra:\n  callbacks:\n    a: {CALL}\n")
    refused(run_in_process(flag, *also), tmp_path, 2)
