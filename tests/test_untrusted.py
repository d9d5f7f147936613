"""Nothing executes from a checkpoint, a run's files or a word: a corpus of payloads, each of which would leave a file named `marker`.

A payload that is refused must leave no marker; that each would leave one if it ran is shown where it can be, by running it.
"""

import io
import json
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from hashlib import sha256

import pytest
import torch
import yaml
from conftest import only_run
from omegaconf import OmegaConf

from trainer import build, checkpoint, cli, resume, rundir, typed, untrusted
from trainer.errors import ConfigError, DataError

SMALL = ("model=mlp", "model.hidden=[8]", "epochs=1", "batch_size=500", "threads=1", "device=cpu")
TOUCH = "open('marker','w').close()"


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A finished run, to be copied and tampered with."""
    folder, before = tmp_path_factory.mktemp("honest"), (sys.argv, os.getcwd())
    os.chdir(folder)
    sys.argv = ["train", *SMALL]
    try:
        cli.main()
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
    return only_run(folder)


@pytest.fixture
def tampered(honest, tmp_path):
    """A copy of that run, unfinished, in the folder where markers would lie."""
    shutil.copytree(honest, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    return tmp_path / "run"


def refused(result, folder, code, *said):
    """With its exit code, in words and not in a traceback, and without a marker or a run."""
    exit_code, _, errors = result
    assert not (folder / "marker").exists(), "the payload ran"
    assert exit_code == code, errors
    assert errors.startswith("train: ") and "Traceback" not in errors and len(errors.strip().splitlines()) <= 2, errors
    for words in said:
        assert words in errors, errors
    assert not (folder / "outputs").exists()


# Targets that run something when called with `_args_`; the group's own arguments would come behind.
TARGETS = {
    "direct": ("os.system", "touch marker"),
    "the module behind os": ("posix.system", "touch marker"),
    "aliased in the standard library": ("logging.os.system", "touch marker"),
    "aliased in torch": ("torch.os.system", "touch marker"),
    "aliased in torch, deeper": ("torch.utils.cpp_extension.subprocess.Popen", "touch marker"),
    "aliased in torchvision": ("torchvision.datasets.utils.os.system", "touch marker"),
    "aliased in this project": ("trainer.rundir.subprocess.Popen", "touch marker"),
    "aliased in the command line": ("trainer.cli.os.system", "touch marker"),
    "a class of another library": ("subprocess.Popen", "touch marker"),
    "an alias of that class": ("trainer.rundir.subprocess.check_call", "touch marker"),
    "evaluated": ("builtins.eval", TOUCH),
    "executed": ("builtins.exec", TOUCH),
    "imported": ("builtins.__import__", "planted"),
    "imported by a loader": ("importlib.import_module", "planted"),
    "a file run": ("runpy.run_path", "planted.py"),
    "a module run": ("runpy.run_module", "planted"),
    "code of another console": ("code.InteractiveInterpreter.runsource", TOUCH),
    "a pickle": ("pickle.load", "planted.pkl"),
    "a pickle through torch": ("torch.load", "planted.pkl"),
    "a pickle through torch's alias": ("torch.serialization.pickle.loads", "planted.pkl"),
    "a pickle through numpy": ("numpy.load", "planted.npy"),
    "torch's hub": ("torch.hub.load", "."),
    "a compiler": ("torch.utils.cpp_extension.load_inline", "planted"),
    "a partial": ("functools.partial", "os.system"),
    "a partial of torch's": ("torch.functools.partial", "os.system"),
    "hydra's own instantiate": ("hydra.utils.instantiate", "{_target_:os.system}"),
    "hydra's own locate": ("hydra.utils.get_method", "os.system"),
    "hydra's policy, first step": ("hydra._internal.target_policy.BLOCKLIST.clear", ""),
    "hydra's policy by its instantiate": ("hydra._internal.instantiate._instantiate2.instantiate", ""),
    "this program again": ("trainer.__main__.main", ""),
    "this program's job": ("trainer.cli.main", ""),
    "a graph with code": ("torch.fx.GraphModule", ""),
    "a private attribute": ("torch.nn.Linear.__init__.__globals__", ""),
    "a function that is no class": ("torch.nn.init.os", ""),
}  # fmt: skip


HONEST = {"sched": "trainer.sched.anneal.Cosine", "model": "trainer.model.mlp.Mlp", "optimizer": "torch.optim.SGD", "task": "trainer.task.train.Train", "data": "trainer.data.tables.Digits"}


def plant(folder):
    (folder / "planted.py").write_text(TOUCH)
    torch.save(Reduced(os.system, "touch marker"), folder / "planted.pkl")


def arranged(monkeypatch, folder):
    """What payloads look for lies where they would find it."""
    plant(folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop("planted", None)


@pytest.mark.parametrize("group", ["sched", "model", "optimizer", "task", "data"])
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_refused_before_it_is_called(name, group, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    target, argument = TARGETS[name]
    for here in ({"_target_": target, "_args_": [argument]}, {"_target_": HONEST[group], "deeper": {"list": [{"_target_": target, "_args_": [argument]}]}}):
        with pytest.raises(ConfigError, match=re.escape(f"_target_={target}: ")):
            build.node(OmegaConf.create({group: here}), group)()
    assert not (tmp_path / "marker").exists() and "planted" not in sys.modules


@pytest.mark.parametrize("name", ["direct", "aliased in the standard library", "aliased in torch", "a partial", "this program again"])
def test_a_target_on_the_command_line_is_refused(name, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    target, argument = TARGETS[name]
    refused(run_in_process(*SMALL, f"sched._target_={target}", f"+sched._args_=[{untrusted.quoted(argument)}]"), tmp_path, 2, f"sched._target_={target}")


@pytest.mark.parametrize("place", ["reg.loss.x", "aug.x", "norm.deep.er", "data.list"])
def test_a_target_that_stands_deeper_is_refused(place, run_in_process, tmp_path):
    value = "{_target_:os.system,_args_:['touch marker']}"
    word = f"+{place}=[{value}]" if place.endswith("list") else f"+{place}={value}"
    refused(run_in_process(*SMALL, word), tmp_path, 2)


def test_a_target_in_a_sweep_is_refused_wherever_it_stands(run_in_process, tmp_path):
    code, _, errors = run_in_process(*SMALL, "-m", "optimizer=sgd", "optimizer._target_=torch.optim.SGD,logging.os.system", "+optimizer._args_=[[touch marker]]")
    assert code == 2 and "logging.os.system" in errors and not list(tmp_path.rglob("marker"))


def test_a_kind_is_not_enough_a_class_must_come_from_where_such_classes_are_made(run_in_process, tmp_path):
    refused(run_in_process(*SMALL, "model._target_=torch.jit.ScriptModule"), tmp_path, 2, "must be a class of trainer.model")
    refused(run_in_process(*SMALL, "optimizer._target_=torch.distributed.optim.ZeroRedundancyOptimizer"), tmp_path, 2)


CALL = "{_target_:os.system,_args_:['touch marker']}"
FACTORY = "{version:1,root:{handlers:[a]},handlers:{a:{'()':os.system,command:'touch marker'}}}"
HYDRA = [
    f"+hydra.callbacks.a={CALL}",
    f"hydra.callbacks={{a:{CALL}}}",
    f"++hydra.callbacks.a={CALL}",
    "+hydra.callbacks.a._target_=os.system",
    "hydra/callbacks=a",
    f"hydra.job_logging={FACTORY}",
    f"hydra.hydra_logging={FACTORY}",
    "+hydra.job_logging.handlers.a={'()':os.system,command:'touch marker'}",
    "+hydra.job_logging.handlers.a={class:subprocess.Popen,args:'touch marker'}",
    "+hydra.job_logging.formatters.a={'()':'ext://os.system',command:'touch marker'}",
    "hydra/job_logging=default",
    "hydra/hydra_logging=default",
    "hydra.launcher._target_=os.system",
    "hydra.sweeper._target_=os.system",
    f"hydra.launcher={CALL}",
    f"+hydra.launcher.deeper={CALL}",
    "+hydra.launcher.deeper=${optimizer}",
    "hydra.launcher=${optimizer}",
    "optimizer@hydra.launcher=sgd",
    "+optimizer@hydra.callbacks.a=sgd",
    "+hydra.sweeper.custom_search_space=os.system",
    "hydra.searchpath=[pkg://planted]",
    "hydra.searchpath=[file://.]",
    "+hydra.job.env_set.PYTHONPATH=.",
    "hydra.job.env_copy=[SECRET]",
    "hydra.mode=MULTIRUN",
]


@pytest.mark.parametrize("word", HYDRA)
def test_a_word_to_hydra_that_would_run_something_is_refused(word, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    with pytest.raises(ConfigError):
        typed.check([*SMALL, "optimizer._target_=os.system", "+optimizer._args_=['touch marker']", word])
    assert not (tmp_path / "marker").exists() and "planted" not in sys.modules


@pytest.mark.parametrize("word", [HYDRA[0], HYDRA[5], HYDRA[12], "-m"])
def test_the_program_refuses_them_as_well(word, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    refused(run_in_process(*SMALL, "sched._target_=logging.os.system", "+sched._args_=['touch marker']", *(["-m", "+hydra.callbacks.a=${sched}"] if word == "-m" else [word])), tmp_path, 2)


@pytest.mark.parametrize("text", [f"hydra:\n  callbacks:\n    a: {CALL}", f"hydra:\n  launcher:\n    a: {CALL}", "hydra:\n  job_logging:\n    root: {handlers: []}"])
def test_a_file_of_ones_own_folder_cannot_either(text, run_in_process, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "evil.yaml").write_text(f"# @package _global_\n# Evil.\n{text}\n")
    refused(run_in_process(*SMALL, "--config-dir", "mine", "experiment=evil"), tmp_path, 2, "hydra.")


def test_words_that_say_where_and_how_still_count(run_in_process, tmp_path):
    code, _, errors = run_in_process(*SMALL, "hydra.run.dir=here", "hydra/launcher=basic", "hydra.verbose=false")
    assert code == 0, errors
    assert (tmp_path / "here" / "summary.json").is_file()


@pytest.mark.parametrize("flag", ["--experimental-rerun=planted.pkl", "--experimental-re=planted.pkl", "--config-name=planted", "-cn=planted", "--config-path=.", "-cp=."])
@pytest.mark.parametrize("also", [(), ("--hydra-help",)])
def test_flags_that_lead_round_the_checks_are_refused(flag, also, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    (tmp_path / "planted.yaml").write_text(f"hydra:\n  callbacks:\n    a: {CALL}\n")
    refused(run_in_process(flag, *also), tmp_path, 2)


class Reduced:
    """What a pickle says to call when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


PICKLES = {
    "system": Reduced(os.system, "touch marker"),
    "exec": Reduced(exec, TOUCH),
    "eval": Reduced(eval, TOUCH),
    "import": Reduced(__import__, "planted"),
    "open": Reduced(open, "marker", "w"),
    "mkdir": Reduced(os.mkdir, "marker"),
    "Popen": Reduced(subprocess.Popen, ["touch", "marker"]),
    "check_call": Reduced(subprocess.check_call, ["touch", "marker"]),
    "copy": Reduced(shutil.copy, "planted.py", "marker"),
    "a torch.load within": Reduced(partial(torch.load, weights_only=False), "planted.pkl"),
    "a tensor's hook": Reduced(torch.save, 1, "marker"),
    "getattr": Reduced(getattr(logging, "os").system, "touch marker"),
}  # fmt: skip
CONTAINERS = {
    "torch": lambda state: saved(state),
    "torch, old": lambda state: saved(state, _use_new_zipfile_serialization=False),
    "plain pickle": lambda state: pickle.dumps(state),
    "protocol 0": lambda state: pickle.dumps(state, 0),
}


def saved(state, **how):
    payload = io.BytesIO()
    torch.save(state, payload, **how)
    return payload.getvalue()


def put(path, payload):
    """With the digest that belongs to it, as an attacker would."""
    path.write_bytes(payload)
    checkpoint.digest_path(path).write_text(sha256(payload).hexdigest() + "\n")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", PICKLES)
def test_a_checkpoint_runs_nothing(name, container, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arranged(monkeypatch, tmp_path)
    payload = CONTAINERS[container]({"step": 1, "weights": {"w": PICKLES[name]}})
    put(tmp_path / "step-1.pt", payload)
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "step-1.pt", torch.device("cpu"))
    assert not (tmp_path / "marker").exists()
    torch.load(io.BytesIO(payload), weights_only=False) if container.startswith("torch") else pickle.loads(payload)
    for _ in range(500):
        if (tmp_path / "marker").exists():
            break
        os.waitpid(-1, os.WNOHANG) if name == "Popen" else None  # Popen's child takes its time
        torch.randn(100, 100).sort()
    assert (tmp_path / "marker").exists(), "a payload that does nothing proves nothing"


def test_an_archive_with_code_of_torchscript_runs_nothing(tmp_path):
    class Payload(torch.nn.Module):
        def forward(self, images):
            return images

    torch.jit.save(torch.jit.script(Payload()), tmp_path / "module.pt")
    put(tmp_path / "step-1.pt", (tmp_path / "module.pt").read_bytes())
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "step-1.pt", torch.device("cpu"))


@pytest.mark.parametrize("state", [[], {}, 3, {"step": "x", "weights": {}}, {"step": 1, "weights": []}, torch.zeros(3)], ids=repr)
def test_a_checkpoint_of_another_shape_is_none(state, tmp_path):
    put(tmp_path / "step-1.pt", saved(state))
    with pytest.raises(DataError, match="is not a checkpoint of a run"):
        checkpoint.load(tmp_path / "step-1.pt", torch.device("cpu"))


@pytest.mark.parametrize("kind", ["empty", "text", "zip", "tar"])
def test_other_files_are_no_checkpoints(kind, tmp_path):
    payload = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(payload, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Reduced(os.system, "touch marker")))
    elif kind == "tar":
        with tarfile.open(fileobj=payload, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("storages"))
    put(tmp_path / "step-1.pt", b"hello" if kind == "text" else payload.getvalue())
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "step-1.pt", torch.device("cpu"))


@pytest.mark.parametrize("job", ["resume", "evaluate"])
def test_a_run_whose_checkpoints_hold_a_payload_runs_nothing(job, tampered, run_in_process, tmp_path):
    for path in checkpoint.newest_first(tampered / "checkpoints"):
        put(path, saved({"step": 1, "weights": {"w": PICKLES["system"]}}))
    code, said, errors = run_in_process(f"resume={tampered}") if job == "resume" else run_in_process("task=evaluate", f"runs=[{tampered}]")
    assert not (tmp_path / "marker").exists() and "cannot be read as a checkpoint" in (said + errors).replace("\n", "")
    assert code == (0 if job == "resume" else 3)  # without a checkpoint that can be read a run begins anew, from its words


@pytest.mark.parametrize("name", ["aliased in the standard library", "a pickle", "this program again"])
@pytest.mark.parametrize("job", ["resume", "evaluate"])
def test_a_target_in_a_run_from_elsewhere_is_refused(job, name, tampered, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    target, argument = TARGETS[name]
    if job == "resume":
        with (tampered / "overrides.txt").open("a") as file:
            file.write(f"sched._target_={target}\n+sched._args_=[{untrusted.quoted(argument)}]\n")
        refused(run_in_process(f"resume={tampered}"), tmp_path, 2, target)
    else:
        change(tampered, lambda saved: saved["sched"].update(_target_=target, _args_=[argument]))
        refused(run_in_process("task=evaluate", f"runs=[{tampered}]"), tmp_path, 2, target)


def change(run, edit):
    saved = yaml.safe_load((run / "config.yaml").read_text())
    edit(saved)
    (run / "config.yaml").write_text(yaml.safe_dump(saved))


LINES = {
    "allow": "allow=[planted]",
    "allow, spaced": " allow=[planted]",
    "allow, added": "+allow=[planted]",
    "allow, forced": "++allow=[planted]",
    "allow, quoted": "'allow'=[planted]",
    "a tab": "\tallow=[planted]",
    "a flag": "--experimental-rerun=planted.pkl",
    "a short flag": "-m",
    "callbacks": HYDRA[0],
    "callbacks, forced": HYDRA[2],
    "callbacks by a group": "+hydra/callbacks@hydra.callbacks=a",
    "logging": HYDRA[5],
    "logging by a group": "hydra/job_logging=default",
    "a package": "+optimizer@hydra.callbacks.a=sgd",
    "a search path": "hydra.searchpath=[pkg://planted]",
    "another task": "task=evaluate",
    "another output": "output=elsewhere",
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_a_runs_words_cannot_do_more_than_a_word(name, tampered, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    (tmp_path / "planted.py").write_text(f"{TOUCH}\nimport torch\nclass Slow(torch.optim.SGD): pass\n")
    text = (tampered / "overrides.txt").read_text()
    (tampered / "overrides.txt").write_text(f"{text}{LINES[name]}\noptimizer._target_=planted.Slow\n")
    try:
        kept = resume.expand([f"resume={tampered}"])
        assert [word for word in kept if re.search("allow|(?<!@)hydra|task=|output=|^-", word)] == [], kept
    except DataError:
        pass  # refused as a whole
    code, _, errors = run_in_process(f"resume={tampered}")
    assert not (tmp_path / "marker").exists() and code in (2, 3) and "Traceback" not in errors, errors
    assert not (tmp_path / "elsewhere").exists()


YAMLS = {
    "object": "epochs: !!python/object/apply:os.system ['touch marker']",
    "name": "epochs: !!python/name:os.system",
    "module": "epochs: !!python/module:planted",
    "new": "epochs: !!python/object/new:os.system ['touch marker']",
    "tuple": "epochs: !!python/tuple [1, 2]",
    "path": "epochs: !!python/object/apply:pathlib.Path [marker]",
    "local tag": "epochs: !mine 3",
    "timestamp tag": "epochs: !!timestamp 2026-01-01",
    "alias": "a: &a [1]\nb: *a",
    "alias bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghijk", "bcdefghijkl")),
    "merge bomb": "a: &a {x: 1}\nb: {<<: *a}",
    "itself": "a: &a [*a]",
    "deep": "a: " + "[" * 100_000,
    "deep mapping": "a: " + "{a: " * 5_000 + "}" * 5_000,
    "long": "a: 1\n#" + "x" * 2_000_000,
    "binary": "a: \0",
    "a date that is none": "a: 2026-99-99",
    "two documents": "a: 1\n---\nb: 2",
    "a list": "[1, 2]",
    "a word": "hello",
    "nothing": "",
    "a key that is a list": "? [a]\n: 1",
}  # fmt: skip


MISSHAPEN = ("a list", "a word", "nothing")


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_that_does_more_than_say_values_is_refused(name, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    (tmp_path / "config.yaml").write_text(YAMLS[name])
    with pytest.raises(DataError, match="cannot be read|not that of a run" if name in MISSHAPEN else "cannot be read") as caught:
        resume.saved_config(tmp_path)
    assert len(str(caught.value)) < 300 and not (tmp_path / "marker").exists() and "planted" not in sys.modules


@pytest.mark.parametrize("job", ["resume", "evaluate"])
@pytest.mark.parametrize("name", ["object", "alias bomb", "deep"])
def test_a_run_with_such_a_configuration_is_refused(name, job, tampered, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    (tampered / "config.yaml").write_text(YAMLS[name])
    words = (f"resume={tampered}",) if job == "resume" else ("task=evaluate", f"runs=[{tampered}]")
    refused(run_in_process(*words), tmp_path, 3)


FUNCTIONS = [
    "${oc.env:SECRET}",
    "${oc.env:SECRET,none}",
    "${ oc.env : SECRET }",
    "a${oc.env:SECRET}b",
    "${oc.decode:${oc.env:SECRET}}",
    "${oc.${seed}:SECRET}",
    "${oc.create:{_target_:os.system}}",
    "${oc.env:\"}\"}",
    "\\${oc.env:SECRET}",
    "\\\\${oc.env:SECRET}",
    "\\${oc.create:\"{_target_: os.system, _args_: [touch marker]}\"}",
    "${hydra:runtime.cwd}",
    "${oc.select:seed}",
    "${oc.deprecated:seed}",
    "${unknown:x}",
]  # fmt: skip


@pytest.mark.parametrize("value", FUNCTIONS)
def test_a_function_is_seen_in_words_and_in_a_runs_files(value, tampered, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(ConfigError, match="from the environment or a function|cannot be read as KEY=VALUE"):
        typed.check([*SMALL, f"optimizer.lr={value}"])
    change(tampered, lambda saved: saved["optimizer"].update(lr=[value]))
    with pytest.raises(DataError, match="from the environment or a function"):
        resume.saved_config(tampered)
    (tampered / "overrides.txt").write_text(f"model=mlp\noptimizer.lr={value}\n")
    with pytest.raises(DataError, match="overrides.txt holds what no run writes"):
        resume.expand([f"resume={tampered}"])
    with pytest.raises(ConfigError, match="from the environment or a function|reference inside a reference"):
        build.node(OmegaConf.create({"sched": {"_target_": HONEST["sched"], "floor": {"deeper": [value]}}}), "sched")


def test_a_reference_that_only_a_second_reading_would_see_is_refused():
    with pytest.raises(ConfigError, match="holds a reference inside a reference"):
        build.node(OmegaConf.create({"seed": 0, "sched": {"_target_": HONEST["sched"], "floor": "\\${seed}"}}), "sched")


@pytest.mark.parametrize("where", ["typed", "words", "config, resumed", "config, evaluated", "folder", "recipe"])
def test_a_value_from_the_environment_is_never_shown_nor_saved(where, tampered, run_in_process, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    value = "${oc.env:SECRET}"
    if where == "typed":
        result = run_in_process(*SMALL, f"optimizer.lr={value}")
    elif where == "words":
        (tampered / "overrides.txt").write_text(f"model=mlp\noptimizer.lr={value}\n")
        result = run_in_process(f"resume={tampered}")
    elif where.startswith("config"):
        change(tampered, lambda saved: saved["optimizer"].update(lr=value))
        result = run_in_process(f"resume={tampered}") if "resumed" in where else run_in_process("task=evaluate", f"runs=[{tampered}]")
    elif where == "recipe":
        (tmp_path / "mine" / "experiment").mkdir(parents=True)
        (tmp_path / "mine" / "experiment" / "own.yaml").write_text(f"# @package _global_\n# Own.\nepochs: {value}\n")
        result = run_in_process(*(word for word in SMALL if "epochs" not in word), "--config-dir", "mine", "experiment=own")
    else:
        (tmp_path / "mine" / "optimizer").mkdir(parents=True)
        (tmp_path / "mine" / "optimizer" / "own.yaml").write_text(f"# Own.\n_target_: torch.optim.SGD\nlr: {value} # rate\n")
        result = run_in_process(*SMALL, "--config-dir", "mine", "optimizer=own")
    refused(result, tmp_path, 2 if where in ("typed", "folder", "recipe") else 3)
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()) and "hunter2" not in str(result)


def test_references_between_keys_and_the_time_are_no_functions():
    for text in ("${epochs}", "${optimizer.lr}", "${.lr}", "${..a.b}", "out/${now:%Y-%m-%d}", "{a: 1, b: ${x}}", "plain", "C:/x", "$HOME", "${a}:${b}"):
        assert not untrusted.calls_a_function(text), text


def test_a_reference_of_ones_own_stays_a_reference_in_the_saved_configuration(run_in_process, tmp_path):
    assert run_in_process(*SMALL, "eval_batch_size=${batch_size}")[0] == 0
    assert yaml.safe_load((only_run(tmp_path) / "config.yaml").read_text())["eval_batch_size"] == "${batch_size}"


NAMES = ["\x1b[2J\x1b[31mred", "a\rb", "a\x08b", "a\x07b", "\x9b31m", "a\u202eb", "a\u2028b", "\x1b]8;;http://x\x07link", "a\udcffb"]


SIGNS = "\x1b\r\x08\x07\x9b\u202e\u2028\udcff"


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_control_characters_of_a_name_are_not_printed(name, tmp_path, tampered):
    assert not set(untrusted.printable(name)) & set(SIGNS)
    assert untrusted.printable("plain [bold]text[/bold]\tand caf\u00e9 \u732b\n") == "plain [bold]text[/bold]\tand caf\u00e9 \u732b\n"

    def says(kind, *words):
        with pytest.raises(kind) as caught:
            typed.check(list(words))
        assert not set(str(caught.value)) & set(SIGNS), str(caught.value)
        return str(caught.value)

    assert "without control characters" in says(ConfigError, f"resume={name}")
    (tampered / "overrides.txt").write_bytes(f"model=mlp\nseed={name}\n".encode("utf-8", "surrogateescape"))
    says(DataError, f"resume={tampered}")
    if "\udcff" not in name:  # which YAML cannot hold
        change(tampered, lambda saved: saved.update({name: name}))
        differ = resume.changes(tampered, OmegaConf.create({"epochs": 1}))
        with pytest.raises(ConfigError, match="another configuration") as caught:
            resume.require_allowed({key: value for key, value in differ.items() if key == name}, [])
        assert not set(str(caught.value)) & set(SIGNS)


@pytest.mark.parametrize("text", ["{", "[]", "3", '"x"', "{}", '{"status": ["finished"]}', "[" * 100_000, "\0"])
def test_a_summary_that_is_none_is_that_of_an_unfinished_run(text, tampered):
    (tampered / "summary.json").write_text(text)
    assert resume.status(tampered) not in resume.ENDED


@pytest.mark.parametrize("text", ["../../elsewhere.pt", "/etc/passwd", "step-1.pt\nstep-2.pt", "step-1.pt/../../x", "\0", "", "step-\u0661.pt"])
def test_a_pointer_leads_nowhere_else(text, tmp_path):
    (tmp_path / "best").write_text(text)
    found = checkpoint.pointed(tmp_path, "best")
    assert found is None or found.parent == tmp_path


def test_a_slug_is_one_safe_part_of_a_path():
    for text in ("seed=../../x", "a=/etc/passwd", "a=\0", "a=\x1b[2J", "a=caf\u00e9 \u732b", "..", "", "a=" + "x" * 1000):
        name = rundir.slug([text])
        assert 0 < len(name) <= rundir.SLUG_LENGTH and name.isascii() and not set(name) & set("/\\\0\x1b ") and not name.startswith((".", "-"))
