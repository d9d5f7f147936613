"""Classes of a library by their names, each with its keyword arguments, read from its files. No torch here.

A key with the rule `a class of LIBRARY` names such a class, and the keyword arguments of the class are further keys
beside it: `optimizer.name=Yogi optimizer.betas=[0.9,0.99]`. To import the library would take seconds.
"""

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

WRAPS = "wraps another optimizer"
OWN_RATE = "sets its own step size, so that optimizer.lr, sched= and warmup= would do nothing"
OBJECTS = "keeps Python objects in its state, which a checkpoint cannot hold"
PROCESSES = "divides its work among several processes"
IN_BACKWARD = "changes the weights before the whole gradient is known"
NOT_COMMAND_LINE = ("maximize", "differentiable", "capturable")  # of a minimisation whose steps are not differentiated
ARGUMENT = re.compile(r"^ {4,12}(\w+)(?: \(.*?\))?: (.+(?:\n {16,}\S.*)*)", re.MULTILINE)  # in a docstring


@dataclass(frozen=True, kw_only=True)
class Library:
    """A library whose classes a key can name.

    Args:
        listed: file with the list of the classes, below the package.
        variable: name of that list.
        others: another package in which some of the classes are, with a folder below it.
        refused: classes that cannot be chosen, and why.
        fixed: keyword arguments that a class gets, which are no keys.
    """

    listed: str
    variable: str
    others: tuple[str, str]
    refused: dict[str, str]
    fixed: dict[str, dict[str, object]]


LIBRARIES = {
    "pytorch_optimizer": Library(
        listed="optimizer/__init__.py",
        variable="OPTIMIZER_LIST",
        others=("torch", "optim"),
        refused={
            "A2Grad": OWN_RATE,
            "ASGD": OWN_RATE,
            "AdaLOMO": IN_BACKWARD,
            "AdamMini": "needs the names of the model's layers",
            "AliG": OWN_RATE,
            "BSAM": "moves the weights at random before it evaluates the loss",
            "Conda": OBJECTS,
            "DeMo": PROCESSES,
            "DistributedMuon": f"{PROCESSES}; write optimizer.name=Muon",
            "FriendlySAM": f"{WRAPS}; write optimizer=sam",
            "GSAM": f"{WRAPS}; write optimizer=sam",
            "LBFGS": "is an option; write optimizer=lbfgs",
            "LOMO": IN_BACKWARD,
            "LoRARite": "is for the pairs of factors of LoRA, which no model here has",
            "LookSAM": f"{WRAPS}; write optimizer=sam",
            "Lookahead": f"{WRAPS}; write optimizer=lookahead",
            "Magma": WRAPS,
            "OrthoGrad": WRAPS,
            "PCGrad": f"{WRAPS}, and needs several losses",
            "SAM": f"{WRAPS}; write optimizer=sam",
            "SWATS": OWN_RATE,
            "SafeFP16Optimizer": f"{WRAPS}; write precision=bf16",
            "ScalableShampoo": f"{OBJECTS}; write optimizer=shampoo",
            "ScheduleFreeWrapper": f"{WRAPS}; write optimizer=schedule_free",
            "SpectralSphere": "takes matrices alone, and models have biases",
            "TRAC": WRAPS,
            "WSAM": f"{WRAPS}; write optimizer=sam",
        },
        fixed={  # the run's schedule takes the place of their own
            "AdaFactor": {"relative_step": False},
            "ApolloDQN": {"warmup_steps": 0},
            "FlashAdamW": {"compress_state_dict": True},  # a resumed run would round it once more
            "Ranger21": {"num_iterations": 1, "disable_lr_scheduler": True},
        },
    )
}


@dataclass(frozen=True)
class Argument:
    """A keyword argument of a class: its default, what kinds of value it takes, and the comment of its docstring."""

    default: object
    annotation: str
    meaning: str

    @property
    def rule(self) -> str:
        """The rule of its values, as the comment of a YAML file states one; empty where nothing is known."""
        kinds = self.annotation.replace(" ", "").split("|")
        null = ", or null" if self.default is None or "None" in kinds else ""
        if isinstance(self.default, bool) or "bool" in kinds:
            return "" if null else "true or false"
        if "float" in kinds:
            return f"number{null}"
        if isinstance(self.default, list) and self.default and all(type(item) in (int, float) for item in self.default):
            return "list of numbers"
        return f"whole number{null}" if "int" in kinds and {*kinds} <= {"int", "None"} else ""


@cache
def class_names(library: str) -> tuple[str, ...]:
    """Return the names of a library's classes that can be chosen, in the order of the alphabet."""
    known = LIBRARIES[library]
    source = (root(library) / known.listed).read_text(encoding="utf-8")
    listed = re.search(rf"^{known.variable}\b[^=]*= \[(.*?)\]", source, re.MULTILINE | re.DOTALL)
    names = re.findall(r"\w+", listed[1]) if listed else []
    return tuple(sorted({*names} - {*known.refused}, key=str.lower))


def refusal(library: str, name: str) -> str | None:
    """Return why a class of a library cannot be chosen; None for any other name."""
    return next((why for known, why in LIBRARIES[library].refused.items() if known.lower() == name.lower()), None)


def fixed_arguments(library: str, name: str) -> dict[str, object]:
    """Return the keyword arguments that a class gets beside those of the command."""
    return LIBRARIES[library].fixed.get(name, {})


@cache
def arguments(library: str, name: str) -> dict[str, Argument]:
    """Return the keyword arguments of a class that a command line can give; none where there is no such class."""
    for node in definitions(library, name):
        init = next((item for item in node.body if getattr(item, "name", None) == "__init__"), None)
        if init is not None:
            meanings = dict(ARGUMENT.findall(ast.get_docstring(node, clean=False) or ""))
            found = dict(keyword_arguments(init, meanings))
            return {key: known for key, known in found.items() if key not in fixed_arguments(library, name)}
    return {}


def keyword_arguments(init: ast.FunctionDef, meanings: dict[str, str]) -> Iterator[tuple[str, Argument]]:
    """Yield the keyword arguments of a constructor whose defaults are plain values, and that take no function."""
    ordered = init.args.args[len(init.args.args) - len(init.args.defaults) :]
    pairs = [*zip(ordered, init.args.defaults), *zip(init.args.kwonlyargs, init.args.kw_defaults)]
    for argument, default in pairs:
        annotation = ast.unparse(argument.annotation) if argument.annotation else ""
        if default is None or argument.arg in NOT_COMMAND_LINE or "Callable" in annotation:
            continue
        try:
            value = math.inf if ast.unparse(default) == "float('inf')" else ast.literal_eval(default)
        except ValueError:
            continue  # a function, an object
        value = list(value) if isinstance(value, tuple) else value
        meaning = " ".join(meanings.get(argument.arg, argument.arg.replace("_", " ")).split())
        yield argument.arg, Argument(value, annotation, meaning.replace("; ", ", ").rstrip("."))


def definitions(library: str, name: str) -> Iterator[ast.ClassDef]:
    """Yield the definitions of the classes of a name in the files of a library, and of the other package."""
    package, folder = LIBRARIES[library].others
    for place in (root(library), root(package) / folder):
        for file in sorted(place.rglob("*.py")):
            source = file.read_text(encoding="utf-8")
            if re.search(rf"^class {re.escape(name)}\b", source, re.MULTILINE):
                nodes = ast.parse(source).body
                yield from (node for node in nodes if isinstance(node, ast.ClassDef) and node.name == name)


@cache
def root(package: str) -> Path:
    """Return the folder of an installed package, which is not imported."""
    spec = find_spec(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec else Path()
