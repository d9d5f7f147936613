"""Formats of an export: what each file holds, how it is written, and how it is opened again."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from trainer.base.atomic import atomic_write
from trainer.base.errors import ConfigError
from trainer.export.graph import Graph, Signature, plain, trace
from trainer.inference.load import load
from trainer.inference.model import TrainedModel
from trainer.rundir import checkpoint
from trainer.rundir.description import KEY

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Model to export, with its graph.

    Args:
        model: without test-time augmentation.
        graph: of the model.
        signature: what the graph takes and gives.
        named: what is typed for the format, for messages.
        opset: of ONNX; None for the newest that torch writes by itself.
    """

    model: TrainedModel
    graph: Graph
    signature: Signature
    named: str
    opset: int | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """Texts that a file holds beside the graph: the model's description and the names, as JSON.

        The preprocessing is in the graph; the description has none.
        """
        signature = self.signature
        scale = {"uint8": "0 ... 255", "float32": "0 ... 1"}[signature.dtype_name]
        given = {"name": signature.input, "type": signature.dtype_name, "shape": ["batch", *signature.shape]}
        made = {"name": signature.output, "type": "float32", "shape": ["batch", len(signature.columns)]}
        return {
            KEY: replace(self.model.description, preprocess=None).to_json()[0],
            "classes": json.dumps(list(self.model.classes)),
            "columns": json.dumps(list(signature.columns)),
            "input": json.dumps(given | ({"values": scale} if signature.input == "images" else {})),
            "output": json.dumps(made),
        }


class Format(Protocol):
    """Format of an export."""

    file: str  # its name
    packages: Sequence[str]  # that it needs beside torch
    has_graph: bool  # runs without this program

    def make(self, subject: Subject) -> Callable[[Path], None]:
        """Return what writes the file. Errors: ConfigError where the model does not go into the format."""

    def open(self, path: Path, allow: Sequence[str]) -> Call:
        """Return what a file computes."""

    def facts(self, path: Path) -> dict[str, object]:
        """Return what else is to be known of a file, by name."""


class Pt2:
    """Program of torch.export: torch alone runs it."""

    file, packages, has_graph = "model.pt2", (), True

    def make(self, subject: Subject) -> Callable[[Path], None]:
        program = trace(subject.graph, subject.signature, subject.named)
        content = io.BytesIO()
        files = {f"{name}.json": text for name, text in subject.metadata.items()}
        torch.export.save(program, content, extra_files=files)
        return lambda path: atomic_write(path, content.getbuffer())

    def open(self, path: Path, allow: Sequence[str]) -> Call:
        return torch.export.load(path).module()

    def facts(self, path: Path) -> dict[str, object]:
        return {"torch": torch.__version__}


class Safetensors:
    """Weights with the description of their model: `load(FILE)` of this program makes it; there is no graph."""

    file, packages, has_graph = "weights.safetensors", (), False

    def make(self, subject: Subject) -> Callable[[Path], None]:
        return lambda path: checkpoint.export(subject.model.module, path, subject.model.description)

    def open(self, path: Path, allow: Sequence[str]) -> Call:
        return plain(load(path, device="cpu", allow=allow))

    def facts(self, path: Path) -> dict[str, object]:
        return {"safetensors": version("safetensors")}


class Onnx:
    """ONNX: onnxruntime and many other programs run it."""

    file, packages, has_graph = "model.onnx", ("onnx", "onnxscript", "onnxruntime"), True

    def make(self, subject: Subject) -> Callable[[Path], None]:
        from trainer.export.onnx import convert

        program = trace(subject.graph, subject.signature, subject.named)
        return convert(program, subject.signature, subject.metadata, subject.opset, subject.named)

    def open(self, path: Path, allow: Sequence[str]) -> Call:
        from trainer.export.onnx import session

        return session(path)

    def facts(self, path: Path) -> dict[str, object]:
        from trainer.export.onnx import opset_of

        return {"opset": opset_of(path), **{name: version(name) for name in self.packages}}


FORMATS: dict[str, Format] = {"pt2": Pt2(), "onnx": Onnx(), "safetensors": Safetensors()}


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    try:
        return find_spec(package) is not None
    except ValueError:  # its import is barred
        return False


def require_installed(name: str) -> None:
    """Check that what a format needs is installed. Errors: ConfigError."""
    missing = [package for package in FORMATS[name].packages if not is_installed(package)]
    if missing:
        raise ConfigError(f"format={name}: needs {' and '.join(missing)}; pip install 'trainer[{name}]'")
