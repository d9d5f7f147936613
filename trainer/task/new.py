"""task=new: write the files of a technique of one's own. No torch here.

The templates are the files of examples/plugin, under another name, so that they are tested as they stand.
"""

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig

from trainer.base.checks import require_one_of
from trainer.base.errors import ConfigError, DataError, MachineError
from trainer.base.paths import expanded
from trainer.base.text import as_command, from_here
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.rundir.console import Console

PACKAGE, OPTIONS = "my_package", "conf"
RESERVED = ("none", "null", "true", "false")  # words that no option is called


@dataclass(frozen=True)
class Example:
    """Example of a group in examples/plugin.

    Args:
        name: of its option and of its module.
        kind: name of its class.
        source: text of the module.
        option: text of the option's file.
    """

    name: str
    kind: str
    source: str
    option: str


@dataclass(frozen=True, kw_only=True)
class New:
    """Write a class and its option into a folder, and print the command that uses them.

    Args:
        kind: group of the technique.
        name: of the option: letters, digits and _, and none that the group has.
        folder: receives my_package/NAME.py and conf/KIND/NAME.yaml.
    Errors: ValueError; ConfigError where a file is there already.
    """

    kind: str | None = None
    name: str | None = None
    folder: str = "plugin"

    def __post_init__(self) -> None:
        if self.kind is not None:
            require_one_of(*kinds(), kind=self.kind)
        if self.name is not None:
            self._require_name()

    def _require_name(self) -> None:
        """Require a name that a class, a module and an option can have. Errors: ValueError."""
        if not self.name.isidentifier() or not self.name.isascii() or keyword.iskeyword(self.name):
            fitting = re.sub(r"\W+", "_", self.name, flags=re.ASCII).strip("_")
            usable = fitting.isidentifier() and not keyword.iskeyword(fitting) and fitting != self.name
            hint = f"; did you mean task.name={fitting}?" if usable else ""
            raise ValueError(f"name must be a word of letters, digits and _, got {self.name}{hint}")
        if self.name in RESERVED or (self.kind and (catalog.folder() / self.kind / f"{self.name}.yaml").exists()):
            raise ValueError(f"name={self.name}: {self.kind}={self.name} has a meaning already; choose another name")

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Write the files. Errors: ConfigError, MachineError."""
        for key in ("kind", "name"):
            if getattr(self, key) is None:
                raise ConfigError(f"task.{key}: needs a value; write train task=new kind=model name=mynet")
        folder, example = expanded(self.folder), example_of(self.kind)
        module = self.name
        if (folder / PACKAGE / f"{module}.py").exists() and not (
            folder / OPTIONS / self.kind / f"{module}.yaml"
        ).exists():
            module = f"{self.name}_{self.kind}"  # of another group
        files = renamed(example, self.kind, self.name, module)
        for path in files:
            if (folder / path).exists() or (folder / path).is_symlink():
                place = from_here(folder / path)
                raise ConfigError(
                    f"task.name={self.name}: {place} is there already; choose another name or task.folder=DIR"
                )
        write(folder, files)
        console = Console()
        for path in files:
            console.print(f"wrote {from_here(folder / path)}")
        console.print("\nTry it, then edit both files:\n")
        console.print(f"  {self.command(folder)}")

    def command(self, folder: Path) -> str:
        """Return the command that uses the files."""
        chosen = f"{self.kind}=[{self.name}]" if self.kind in catalog.MULTI_SELECT else f"{self.kind}={self.name}"
        folder = as_command(from_here(folder / OPTIONS))
        return f"train --config-dir {folder} allow=[{PACKAGE}] {chosen}"


def examples() -> Path:
    """Return examples/plugin: inside the package in a wheel, beside it in a clone."""
    package = Path(__file__).parent.parent
    inside = package / "plugin"
    return inside if inside.is_dir() else package.parent / "examples" / "plugin"


def kinds() -> list[str]:
    """Return the groups that there is an example of."""
    return sorted(path.name for path in (examples() / OPTIONS).iterdir())


def example_of(kind: str) -> Example:
    """Return the example of a group. Errors: DataError where this installation lacks it."""
    try:
        (path,) = (examples() / OPTIONS / kind).glob("*.yaml")
        option = path.read_text()
        _, name, made = target_in(yaml.safe_load(option)).split(".")
        return Example(name, made, (examples() / PACKAGE / f"{name}.py").read_text(), option)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{examples()}: the template of {kind} cannot be read ({error}); install trainer again"
        ) from None


def target_in(node: Mapping) -> str:
    """Return the class that an option names, at any depth."""
    if "_target_" in node:
        return node["_target_"]
    return next(target_in(child) for child in node.values() if isinstance(child, Mapping))


def renamed(example: Example, kind: str, name: str, module: str) -> dict[str, str]:
    """Return the text of each file by its path, with the names of the example replaced."""
    made = "".join(part[:1].upper() + part[1:] for part in name.split("_")) or name
    words = {*re.findall(r"\w+", example.source)} - {example.kind}
    if made in words or not made.isidentifier():  # of a class that the module imports, as Dataset
        made = f"My{made}"
    source = re.sub(rf"\b{example.kind}\b", made, example.source)
    option = example.option.replace(f"{PACKAGE}.{example.name}.{example.kind}", f"{PACKAGE}.{module}.{made}")
    option = re.sub(rf"^( *){example.name}:", rf"\g<1>{name}:", option, flags=re.MULTILINE)
    return {f"{PACKAGE}/{module}.py": source, f"{OPTIONS}/{kind}/{name}.yaml": option}


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files that are not there, and make the package. Errors: MachineError."""
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("x", encoding="utf-8") as file:
                file.write(text)
        (folder / PACKAGE / "__init__.py").touch()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise MachineError(
            f"task.folder={folder}: the files cannot be written ({why}); choose another folder"
        ) from None
