"""The floors of the house, read from the imports of every file."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "trainer"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.read_text())

GROUND = {
    "errors",
    "clock",
    "rng",
    "conf",
    "eventfile",
    "layers",
    "gain",
    "warp",
    "descent",
    "durable",
    "interpreter",
}  # what techniques may stand on
FLOORS = {
    1: {
        "data",
        "model",
        "kit",
        "fold",
        "retrofit",
        "preprocess",
        "device",
        "tally",
        "launch",
        "rundir",
        "figure",
        "checkpoint",
        "resume",
    },
    2: {"loop", "run", "evaluate", "curves", "console", "signals", "state"},
    3: {
        "build",
        "node",
        "rehearsal",
        "targets",
        "lints",
        "report",
        "rescue",
        "training",
        "compare",
        "sheet",
        "search",
        "sweep",
    },
    4: {"task"},
    5: {"cli", "typed", "swept", "usage", "__main__"},
}


def floor(path: Path) -> int:
    """-1 for the ground, 0 for techniques, the house's floor for the rest."""
    room = path.parts[0].removesuffix(".py")
    return -1 if room in GROUND else next((number for number, rooms in FLOORS.items() if room in rooms), 0)


def imports(path: Path) -> set[Path]:
    """The files of the package that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "trainer":
            for name in node.names:
                parts = [*node.module.split(".")[1:], name.name]
                while parts and not (PACKAGE.joinpath(*parts).with_suffix(".py")).is_file():
                    parts.pop()
                found.add(Path(*parts).with_suffix(".py"))
        elif isinstance(node, ast.Import):
            assert not any(name.name.startswith("trainer") for name in node.names), (
                f"{path}: import names from trainer, not trainer itself"
            )
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_from_no_higher_floor(path):
    higher = [other for other in imports(path) if floor(other) > floor(path)]
    assert not higher, f"{path} (floor {floor(path)}) imports {higher}"


def test_no_imports_go_round():
    list(TopologicalSorter({path: imports(path) for path in FILES}).static_order())  # raises CycleError


@pytest.mark.parametrize("path", [path for path in FILES if floor(path) == 0], ids=str)
def test_techniques_do_not_import_one_another(path):
    assert all(floor(other) == -1 for other in imports(path)), path


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_build_turns_configuration_into_objects(path):
    source = (PACKAGE / path).read_text()
    assert ("instantiate(" in source) == (path == Path("node.py"))
    assert ("import_module(" in source) == (path == Path("targets.py"))


@pytest.mark.parametrize(
    "path",
    [
        Path("cli.py"),
        Path("typed.py"),
        Path("swept.py"),
        Path("usage.py"),
        Path("conf.py"),
        Path("errors.py"),
        Path("clock.py"),
        Path("rundir.py"),
        Path("resume.py"),
    ],
    ids=str,
)
def test_what_runs_before_torch_does_not_import_it(path):
    top = ast.parse((PACKAGE / path).read_text()).body
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
    assert not any(
        name.split(".")[0] in ("torch", "torchvision", "sklearn", "matplotlib", "numpy", "tensorboard")
        for name in names
    )


def test_init_files_are_empty():
    assert all(path.read_text() == "" for path in PACKAGE.rglob("__init__.py"))


def test_no_core_file_names_a_technique():
    options = {
        path.stem
        for group in ("optimizer", "reg", "aug", "sched", "averaging")
        for path in (PACKAGE.parent / "conf" / group).glob("*.yaml")
    }
    plain = {
        "none",
        "constant",
        "step",
        "linear",
        "flip",
        "crop",
        "plateau",
        "dropout",
    }  # words of English or of Python as well
    source = (
        (PACKAGE / "loop.py").read_text() + (PACKAGE / "evaluate.py").read_text() + (PACKAGE / "curves.py").read_text()
    )
    words = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    words |= {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value
    }
    assert not words & (options - plain)
