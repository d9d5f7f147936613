"""Classes that `_target_` may name: of the kind its group allows, from trainer, torch or the libraries we chose."""

import inspect
import sys
import traceback
from importlib import import_module, invalidate_caches
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from omegaconf import DictConfig, ListConfig, OmegaConf

from trainer.base.errors import ConfigError
from trainer.base.origin import reason
from trainer.base.text import from_here, printable
from trainer.config import catalog, untrusted
from trainer.config.private_api import unresolved

LIBRARIES = ("trainer", "torch", "torchvision", "pytorch_optimizer")
NETWORKS = ("timm",)  # libraries whose networks a class of ours makes; no target names one
MODULE, OPTIMIZER = "torch.nn.Module", "torch.optim.Optimizer"  # imported when needed
KINDS = {"model": MODULE, "act": MODULE, "pool": MODULE, "reg.layer": MODULE, "optimizer": OPTIMIZER}
FROM = {
    MODULE: ("torch.nn.modules.", "torchvision.models.", "torchvision.ops."),
    OPTIMIZER: ("torch.optim.", "pytorch_optimizer."),
}
# The modules of trainer and the libraries that are imported for a target; others have effects when imported.
IMPORTED = ("trainer.", *(place for places in FROM.values() for place in places))


def require_fixed_values(here: DictConfig | ListConfig, path: str) -> None:
    """Refuse values of a node, at any depth, that may change between readings: a function, a reference in a reference.

    Errors: ConfigError.
    """
    for key in here if isinstance(here, DictConfig) else range(len(here)):
        untrusted.require_no_functions(str(unresolved(here, key)), f"{path}.{key}")
        child = here[key]
        if isinstance(child, str) and "${" in child:
            raise ConfigError(f"{path}.{key}: holds a reference inside a reference; write the value itself")
        if OmegaConf.is_config(child):
            require_fixed_values(child, f"{path}.{key}")


def locate(target: str, place: str, group: str, libraries: tuple[str, ...]) -> type:
    """Return the class that a `_target_` names, where its group allows it.

    The class is checked, not its name: one of torch must be a module or an optimizer as the group says, by any path.
    A technique must be defined in the module of its group or in an allowed package.
    Errors: ConfigError.
    """
    where = printable(f"{place}._target_={target}")
    if not isinstance(target, str) or target.partition(".")[0] not in libraries:
        root = str(target).partition(".")[0]
        hint = f"allow=[{root}] on the command line adds it" if root.isidentifier() else "allow=[PACKAGE] adds one"
        raise ConfigError(f"{where}: outside the allowed libraries ({', '.join(libraries)}); {hint}")
    parts = target.split(".")
    try:
        found = import_package(parts[0])
    except Exception as error:
        raise cannot_be_imported(where, parts[0], error) from error
    for end, part in enumerate(parts[1:], start=2):
        if part.startswith("_"):
            raise ConfigError(f"{where}: no class of that name")  # trainer.__main__ would run when it is imported
        dotted = ".".join(parts[:end])
        if not hasattr(found, part) and (parts[0] not in LIBRARIES or f"{dotted}.".startswith(IMPORTED)):
            try:
                import_module(dotted)
            except Exception as error:
                absent = isinstance(error, ModuleNotFoundError) and f"{dotted}.".startswith(f"{error.name}.")
                if not absent:
                    raise cannot_be_imported(where, dotted, error) from error
        found = getattr(found, part, None)
    if not isinstance(found, type):
        what = "a function, where a class is needed" if inspect.isfunction(found) else "no class of that name"
        raise ConfigError(f"{where}: {what}")
    home, kind = home_of(group), kind_of(group)
    root = found.__module__.partition(".")[0]
    if kind is not None and not issubclass(found, of_torch(kind)):
        raise ConfigError(f"{where}: must be a torch {kind.rpartition('.')[2]}, as {group} needs")
    places = (f"{home}.", *FROM.get(kind, ())) if root in LIBRARIES else (f"{root}.",)
    if root not in libraries or not f"{found.__module__}.".startswith(places):
        others = "".join(f", {place[:-1]}" for place in FROM.get(kind, ()))
        raise ConfigError(f"{where}: must be a class of {home}{others}, or of a package of yours in allow=[...]")
    return found


def import_package(name: str) -> ModuleType:
    """Import a library, or an allowed package: Python's, or one beside the user's options or in the current folder.

    Errors: those of the import.
    """
    if name not in LIBRARIES and name not in sys.modules and find_spec(name) is None:
        invalidate_caches()  # of a folder that has just been written
        for place in map(str, dict.fromkeys([*(folder.parent for folder in catalog.extra_folders), Path.cwd()])):
            if PathFinder.find_spec(name, [place]):
                sys.path.append(place)  # worker processes import it, too
                break
    return import_module(name)


def cannot_be_imported(where: str, module: str, error: Exception) -> ConfigError:
    """Return the error for a package or a module of one that cannot be imported, or that imports one that cannot."""
    what = printable(error)
    if not isinstance(error, ModuleNotFoundError):
        what = printable(what if isinstance(error, ImportError) else reason(error))
        hint = f"fix the error in it{raised_at(error)}"
    elif error.name == module:
        hint = "install it, put it beside the folder of --config-dir, or put its folder on PYTHONPATH"
    else:
        hint = f"install {error.name}"
    return ConfigError(f"{where}: {module} cannot be imported ({what}); {hint}")


def raised_at(error: Exception) -> str:
    """Return `, mine/net.py:3`, where an import has failed; a syntax error has a place of its own."""
    if isinstance(error, SyntaxError) and error.filename:
        return f", {from_here(error.filename)}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    return f", {from_here(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def kind_of(group: str) -> str | None:
    """Return the class that the targets of a group must inherit from; None where it is not torch's."""
    return next((kind for name, kind in KINDS.items() if f"{group}.".startswith(f"{name}.")), None)


def of_torch(name: str) -> type:
    """Return a class of torch by its full name."""
    module, _, kind = name.rpartition(".")
    return getattr(import_module(module), kind)


def home_of(group: str) -> str:
    """Return the module in which the techniques of a group are."""
    return f"trainer.{group.partition('.')[0]}"
