"""Floors of the house, read from every file: who imports whom, how long files and functions are, who may name what."""

import ast
import importlib
from dataclasses import fields
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from trainer.engine.run import Slots

PACKAGE = Path(__file__).parent.parent / "trainer"
CONF = PACKAGE.parent / "conf"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.read_text())
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml")))
TECHNIQUES = set(GROUPS) - {"task", "experiment"}
FLOORS = [  # from the ground up; a file imports from its own room and from lower floors
    {"base"},
    {"config"},
    TECHNIQUES,
    {"report"},
    {"rundir"},
    {"explanation"},
    {"diagnosis"},
    {"engine"},
    {"inference"},
    {"inspection"},
    {"claims"},
    {"export"},
    {"comparison"},
    {"ensemble"},
    {"sweep"},
    {"search"},
    {"recipe"},
    {"lottery"},
    {"task"},
    {"stacked"},
    {"cli"},
    {"api"},
    {"__main__", "__init__"},
]
LONGEST_FILE, LONGEST_FUNCTION = 300, 60
WITHOUT_TORCH = ("cli", "config", "comparison", "diagnosis")  # rooms that never import it at the top of a file
HEAVY = {"torch", "torchvision", "sklearn", "matplotlib", "numpy", "tensorboard", "optuna"}
WITHOUT_TORCH_IN_RUNDIR = ("directory.py", "reader.py", "resume.py", "status.py", "append_only.py")
WITHOUT_TORCH_IN_BASE = ("errors.py", "checks.py", "text.py", "clock.py", "atomic.py", "driver.py")
WITHOUT_TORCH_IN_BASE += ("metrics.py", "signals.py")


def room(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def floor(path: Path) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(path) in rooms)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((PACKAGE / path).read_text())


@cache
def imports(path: Path) -> frozenset[Path]:
    """The files of the package that a file imports, wherever in it the import is."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "trainer":
            for name in node.names:
                parts = [*node.module.split(".")[1:], name.name]
                while parts and not (PACKAGE.joinpath(*parts).with_suffix(".py")).is_file():
                    parts.pop()
                found.add(Path(*parts).with_suffix(".py"))
        elif isinstance(node, ast.Import):
            assert not any(name.name.startswith("trainer") for name in node.names), f"{path}: import names from trainer"
    return frozenset(found)


def test_every_file_is_in_a_room_of_the_plan():
    rooms = set().union(*FLOORS)
    assert {room(path) for path in FILES} <= rooms
    there = {
        path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "py.typed")
    }
    assert there - {"__init__"} <= rooms


def test_the_top_level_holds_the_groups_of_conf_and_nothing_else():
    files = {path.name for path in PACKAGE.glob("*.py")}
    assert files - {"__init__.py", "__main__.py", "api.py"} <= {f"{group}.py" for group in GROUPS}
    for group in TECHNIQUES:
        assert (PACKAGE / group).is_dir() != (PACKAGE / f"{group}.py").is_file(), group


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_from_no_higher_floor(path):
    higher = [str(other) for other in imports(path) if floor(other) > floor(path)]
    assert not higher, f"{path} (floor {floor(path)}) imports {higher}"


def test_rooms_of_one_floor_and_techniques_do_not_import_one_another():
    for path in FILES:
        others = {room(other) for other in imports(path) if floor(other) == floor(path)}
        assert others <= {room(path)}, f"{path} imports from {others}"


def test_no_imports_go_round():
    list(TopologicalSorter({path: imports(path) for path in FILES}).static_order())  # raises CycleError


@pytest.mark.parametrize(
    "call, place", [("instantiate", "config/instantiate.py"), ("import_module", "config/targets.py")]
)
def test_only_one_file_turns_configuration_into_objects(call, place):
    def calls(path: Path) -> bool:
        names = (node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
        return any(getattr(name, "id", getattr(name, "attr", None)) == call for name in names)

    assert [str(path) for path in FILES if calls(path)] == [place]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_what_runs_before_torch_does_not_import_it(path):
    light = {"base": WITHOUT_TORCH_IN_BASE, "rundir": WITHOUT_TORCH_IN_RUNDIR}
    if room(path) not in WITHOUT_TORCH and path.name not in light.get(room(path), ()):
        return
    names = {alias.name for node in tree(path).body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in tree(path).body if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & HEAVY


def test_hooks_are_looked_for_in_the_protocols_alone():
    names = {
        item.name if isinstance(item, ast.FunctionDef) else item.target.id
        for file in ("base/protocols.py", "base/module_protocols.py", "base/cycle_protocols.py")
        for node in tree(Path(file)).body
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AnnAssign)
    }
    assert {"begin", "calibrate", "before", "watch", "observe", "invert", "tasks", "pieces"} <= names
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("hasattr", "getattr"):
                asked = node.args[1].value if isinstance(node.args[1], ast.Constant) else None
                assert asked not in names, f"{path}:{node.lineno} looks for the hook {asked}"


def test_private_names_of_hydra_and_optuna_are_in_one_file():
    for path in FILES:
        if path == Path("config/private_api.py"):
            continue
        modules = [node.module or "" for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)]
        assert not any(module.startswith("hydra._internal") for module in modules), path
        private = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
        assert not private & {"_trial_id", "_return_value", "class_name_to_class"}, path


def test_init_files_are_empty_but_for_the_one_that_offers_the_api():
    inits = {path for path in PACKAGE.rglob("__init__.py") if path.read_text()}
    assert inits == {PACKAGE / "__init__.py"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_file_and_no_function_is_too_long(path):
    assert len((PACKAGE / path).read_text().splitlines()) <= LONGEST_FILE
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno + 1 <= LONGEST_FUNCTION, f"{path}: {node.name}"


def test_the_loop_can_be_read():
    parts = {node.name: node for node in ast.walk(tree(Path("engine/loop.py"))) if hasattr(node, "name")}
    lengths = {name: parts[name].end_lineno - parts[name].lineno + 1 for name in ("fit", "__call__")}
    assert lengths["fit"] <= 45 and lengths["__call__"] <= 60


# Words of English, of matplotlib or of torch that are options as well, and the name of a library.
PLAIN = {"none", "constant", "step", "linear", "auto", "torch", "zeros", "max", "layer", "batch", "weight_decay"}
PLAIN |= {"pytorch_optimizer"}
MAY_NAME_TECHNIQUES = {  # each with its reason
    Path("engine/advice.py"): "advice is about techniques",
    Path("engine/remarks.py"): "remarks are about techniques",
    Path("config/synonyms.py"): "what people type for a technique",
    Path("config/synonyms_of_options.py"): "the same",
    Path("cli/help.py"): "its examples are command lines",
}
SLOTS = {field.name for field in fields(Slots)}  # reg.loss and the like are places, not techniques
CORE = [
    path
    for path in FILES
    if room(path) in ("base", "config", "rundir", "engine", "cli", "task", "sweep", "search", "compare")
]


def test_the_core_has_its_files():
    assert len(CORE) > 50


@pytest.mark.parametrize("path", [path for path in CORE if path not in MAY_NAME_TECHNIQUES], ids=str)
def test_no_core_file_names_a_technique(path):
    groups = ("optimizer", "reg", "aug", "sched", "averaging", "init", "norm", "loss", "sampler", "warmup", "pool")
    files = [file for group in groups for file in (CONF / group).glob("*.yaml")]
    options, keys = {file.stem for file in files}, set().union(*map(keys_of, files))
    nodes = ast.walk(tree(path))
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not strings & (options - PLAIN)
    dotted = {text for text in strings if text.startswith(tuple(f"{group}." for group in groups)) and " " not in text}
    assert {text.rpartition(".")[2] for text in dotted} & keys <= {"lr", "fuse", *SLOTS}, dotted


@cache
def keys_of(file: Path) -> set[str]:
    content = yaml.safe_load(file.read_text()) or {}
    found, nodes = set(), [content]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            found |= {key for key in node if not key.startswith("_")}
            nodes += node.values()
    return found


@pytest.mark.parametrize("path", sorted((PACKAGE.parent / "scripts").rglob("*.py")), ids=lambda path: path.stem)
def test_a_program_imports_what_is_there(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == PACKAGE.name:
            for alias in node.names:
                if not hasattr(importlib.import_module(node.module), alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
