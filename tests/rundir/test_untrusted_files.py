"""Untrusted files of a run: they can do no more than typed overrides, and values of the environment are never shown."""

import re
import sys

import pytest
import yaml
from conftest import SMALL, only_run
from omegaconf import OmegaConf
from payloads import HONEST, HYDRA, TARGETS, TOUCH, arranged, change, refused

from trainer.base.errors import ConfigError, DataError
from trainer.base.text import printable
from trainer.cli import overrides
from trainer.config import untrusted
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.config.quoting import quote
from trainer.rundir import checkpoint, reader, resume
from trainer.rundir import directory as rundir


@pytest.mark.parametrize("name", ["aliased in the standard library", "a pickle", "this program again"])
@pytest.mark.parametrize("job", ["resume", "evaluate"])
def test_a_target_in_a_run_from_elsewhere_is_refused(job, name, unfinished, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    target, argument = TARGETS[name]
    if job == "resume":
        with (unfinished / "overrides.txt").open("a") as file:
            file.write(f"sched._target_={target}\n+sched._args_=[{quote(argument)}]\n")
        refused(run_in_process(f"resume={unfinished}"), tmp_path, 2, target)
    else:
        change(unfinished, lambda saved: saved["sched"].update(_target_=target, _args_=[argument]))
        refused(run_in_process("task=evaluate", f"runs=[{unfinished}]"), tmp_path, 2, target)


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
def test_a_line_of_overrides_txt_cannot_do_more_than_a_typed_override(
    name, unfinished, run_in_process, tmp_path, monkeypatch
):
    arranged(monkeypatch, tmp_path)
    (tmp_path / "planted.py").write_text(f"{TOUCH}\nimport torch\nclass Slow(torch.optim.SGD): pass\n")
    text = (unfinished / "overrides.txt").read_text()
    (unfinished / "overrides.txt").write_text(f"{text}{LINES[name]}\noptimizer._target_=planted.Slow\n")
    try:
        kept = resume.expand([f"resume={unfinished}"])
        assert [word for word in kept if re.search("allow|(?<!@)hydra|task=|output=|^-", word)] == [], kept
    except DataError:
        pass  # refused as a whole
    code, _, errors = run_in_process(f"resume={unfinished}")
    assert not (tmp_path / "marker").exists() and code in (2, 3) and "Traceback" not in errors, errors
    assert not (tmp_path / "elsewhere").exists()


def test_the_task_of_a_recipe_is_not_made_from_its_files(unfinished, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    (tmp_path / "planted.py").write_text(f"{TOUCH}\nclass Recipe:\n    pass\n")
    text = (unfinished / "overrides.txt").read_text()
    lines = "task=recipe\ntask._target_=planted.Recipe\ntask.budget=0.1\nallow=[planted]\n"
    (unfinished / "overrides.txt").write_text(f"{text}{lines}")
    kept = resume.expand([f"resume={unfinished}"])
    assert [word for word in kept if word.startswith(("allow", "task"))] == ["task=recipe", "task.budget=0.1"]
    code, _, errors = run_in_process(f"resume={unfinished}")
    assert code == 2 and errors.startswith("train: task.budget=0.1: too small") and not (tmp_path / "marker").exists()


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
    "alias bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghijk", "bcdefghijkl")
    ),
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
def test_yaml_with_more_than_plain_values_is_refused(name, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    (tmp_path / "config.yaml").write_text(YAMLS[name])
    with pytest.raises(
        DataError, match="cannot be read|not that of a run" if name in MISSHAPEN else "cannot be read"
    ) as caught:
        reader.read_config(tmp_path)
    assert len(str(caught.value)) < 300 and not (tmp_path / "marker").exists() and "planted" not in sys.modules


@pytest.mark.parametrize("job", ["resume", "evaluate"])
@pytest.mark.parametrize("name", ["object", "alias bomb", "deep"])
def test_a_run_with_such_a_configuration_is_refused(name, job, unfinished, run_in_process, tmp_path, monkeypatch):
    arranged(monkeypatch, tmp_path)
    (unfinished / "config.yaml").write_text(YAMLS[name])
    words = (f"resume={unfinished}",) if job == "resume" else ("task=evaluate", f"runs=[{unfinished}]")
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
def test_a_function_is_found_in_overrides_and_in_a_runs_files(value, unfinished, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(ConfigError, match="from the environment or a function|cannot be read as KEY=VALUE"):
        overrides.check([*SMALL, f"optimizer.lr={value}"])
    change(unfinished, lambda saved: saved["optimizer"].update(lr=[value]))
    with pytest.raises(DataError, match="from the environment or a function"):
        reader.read_config(unfinished)
    (unfinished / "overrides.txt").write_text(f"model=mlp\noptimizer.lr={value}\n")
    with pytest.raises(DataError, match="overrides.txt holds a line that no run writes"):
        resume.expand([f"resume={unfinished}"])
    with pytest.raises(ConfigError, match="from the environment or a function|reference inside a reference"):
        cfg = OmegaConf.create({"sched": {"_target_": HONEST["sched"], "floor": {"deeper": [value]}}})
        factory(cfg, "sched", Invocation())


def test_a_reference_inside_a_reference_is_refused():
    with pytest.raises(ConfigError, match="holds a reference inside a reference"):
        cfg = OmegaConf.create({"seed": 0, "sched": {"_target_": HONEST["sched"], "floor": "\\${seed}"}})
        factory(cfg, "sched", Invocation())


@pytest.mark.parametrize("where", ["typed", "words", "config, resumed", "config, evaluated", "folder", "recipe"])
def test_a_value_from_the_environment_is_never_shown_nor_saved(
    where, unfinished, run_in_process, tmp_path, monkeypatch
):
    monkeypatch.setenv("SECRET", "hunter2")
    value = "${oc.env:SECRET}"
    if where == "typed":
        result = run_in_process(*SMALL, f"optimizer.lr={value}")
    elif where == "words":
        (unfinished / "overrides.txt").write_text(f"model=mlp\noptimizer.lr={value}\n")
        result = run_in_process(f"resume={unfinished}")
    elif where.startswith("config"):
        change(unfinished, lambda saved: saved["optimizer"].update(lr=value))
        result = (
            run_in_process(f"resume={unfinished}")
            if "resumed" in where
            else run_in_process("task=evaluate", f"runs=[{unfinished}]")
        )
    elif where == "recipe":
        (tmp_path / "mine" / "experiment").mkdir(parents=True)
        (tmp_path / "mine" / "experiment" / "own.yaml").write_text(f"# @package _global_\n# Own.\nepochs: {value}\n")
        result = run_in_process(
            *(word for word in SMALL if "epochs" not in word), "--config-dir", "mine", "experiment=own"
        )
    else:
        (tmp_path / "mine" / "optimizer").mkdir(parents=True)
        (tmp_path / "mine" / "optimizer" / "own.yaml").write_text(
            f"# Own.\n_target_: torch.optim.SGD\nlr: {value} # rate\n"
        )
        result = run_in_process(*SMALL, "--config-dir", "mine", "optimizer=own")
    refused(result, tmp_path, 2 if where in ("typed", "folder", "recipe") else 3)
    assert not any(
        b"hunter2" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    ) and "hunter2" not in str(result)


def test_references_between_keys_and_the_time_are_not_functions():
    for text in (
        "${epochs}",
        "${optimizer.lr}",
        "${.lr}",
        "${..a.b}",
        "out/${now:%Y-%m-%d}",
        "{a: 1, b: ${x}}",
        "plain",
        "C:/x",
        "$HOME",
        "${a}:${b}",
    ):
        assert not untrusted.has_resolver(text), text


def test_a_typed_reference_stays_a_reference_in_the_saved_configuration(run_in_process, tmp_path):
    assert run_in_process(*SMALL, "eval_batch_size=${batch_size}")[0] == 0
    assert yaml.safe_load((only_run(tmp_path) / "config.yaml").read_text())["eval_batch_size"] == "${batch_size}"


NAMES = [
    "\x1b[2J\x1b[31mred",
    "a\rb",
    "a\x08b",
    "a\x07b",
    "\x9b31m",
    "a\u202eb",
    "a\u2028b",
    "\x1b]8;;http://x\x07link",
    "a\udcffb",
]


SIGNS = "\x1b\r\x08\x07\x9b\u202e\u2028\udcff"


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_control_characters_of_a_name_are_not_printed(name, tmp_path, unfinished):
    assert not set(printable(name)) & set(SIGNS)
    assert (
        printable("plain [bold]text[/bold]\tand caf\u00e9 \u732b\n")
        == "plain [bold]text[/bold]\tand caf\u00e9 \u732b\n"
    )

    def says(kind, *words):
        with pytest.raises(kind) as caught:
            overrides.check(list(words))
        assert not set(str(caught.value)) & set(SIGNS), str(caught.value)
        return str(caught.value)

    assert "without control characters" in says(ConfigError, f"resume={name}")
    (unfinished / "overrides.txt").write_bytes(f"model=mlp\nseed={name}\n".encode("utf-8", "surrogateescape"))
    says(DataError, f"resume={unfinished}")
    if "\udcff" not in name:  # which YAML cannot hold
        change(unfinished, lambda saved: saved.update({name: name}))
        differ = resume.changes(unfinished, OmegaConf.create({"epochs": 1}), {})
        with pytest.raises(ConfigError, match="the configuration of a run cannot change") as caught:
            resume.require_allowed({key: value for key, value in differ.items() if key == name}, [])
        assert not set(str(caught.value)) & set(SIGNS)


@pytest.mark.parametrize(
    "text",
    ["../../elsewhere.pt", "/etc/passwd", "step-1.pt\nstep-2.pt", "step-1.pt/../../x", "\0", "", "step-\u0661.pt"],
)
def test_a_pointer_leads_nowhere_else(text, tmp_path):
    (tmp_path / "best").write_text(text)
    found = checkpoint.resolve_pointer(tmp_path, "best")
    assert found is None or found.parent == tmp_path


def test_a_slug_is_one_safe_part_of_a_path():
    for text in (
        "seed=../../x",
        "a=/etc/passwd",
        "a=\0",
        "a=\x1b[2J",
        "a=caf\u00e9 \u732b",
        "..",
        "",
        "a=" + "x" * 1000,
    ):
        name = rundir.slug([text])
        assert (
            0 < len(name) <= rundir.SLUG_LENGTH
            and name.isascii()
            and not set(name) & set("/\\\0\x1b ")
            and not name.startswith((".", "-"))
        )
