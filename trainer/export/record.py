"""Record of an export: export.json, and the lines on the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from trainer.base.json_text import as_json
from trainer.base.text import counted
from trainer.export.equality import Equality
from trainer.export.speed import Speed


@dataclass(frozen=True, kw_only=True)
class Record:
    """Record of an exported file, and of its comparison with the model.

    Args:
        run: that the model is from.
        format: pt2, onnx or safetensors.
        file: name of the file.
        size: of it, in bytes.
        has_graph: whether it runs without this program.
        input, dtype, output: names of input and output, type of the input.
        shape: of a sample.
        columns: names of the output's columns.
        facts: opset and versions.
        notes: what was done to the model, or left out.
        equality: of file and model.
        speed: by batch.
        machine: that measured it.
        command: that made it.
        versions: of the libraries.
    """

    run: str
    format: str
    file: str
    size: int
    has_graph: bool
    input: str
    dtype: str
    output: str
    shape: Sequence[int]
    columns: Sequence[str]
    facts: Mapping[str, object]
    notes: Sequence[str]
    equality: Equality
    speed: Sequence[Speed]
    machine: str
    command: str
    versions: Mapping[str, str]

    @property
    def example(self) -> list[str]:
        """Lines of Python that use the file."""
        shape = ", ".join(map(str, (1, *self.shape)))
        if self.format == "onnx":
            return [
                "import numpy as np, onnxruntime",
                f'session = onnxruntime.InferenceSession("{self.file}")',
                f'{self.input} = np.zeros(({shape}), dtype="{self.dtype}")',
                f'{self.output} = session.run(None, {{"{self.input}": {self.input}}})[0]',
            ]
        samples = f"{self.input} = torch.zeros(({shape}), dtype=torch.{self.dtype})"
        if self.format == "pt2":
            return [
                "import torch",
                f'model = torch.export.load("{self.file}").module()',
                samples,
                f"{self.output} = model({self.input})",
            ]
        return [
            "import torch",
            "from trainer import load",
            f'model = load("{self.file}")',
            samples,
            f"{self.output} = model({self.input})",
        ]

    def as_json(self) -> bytes:
        """Return the content of export.json."""
        plain = {**asdict(self), "equality": {**asdict(self.equality), "holds": self.equality.holds}}
        return as_json(plain)

    def lines(self) -> Iterator[str]:
        """Yield the lines for the terminal."""
        shape = " x ".join(["batch", *map(str, self.shape)])
        given = f"{self.input} ({self.dtype}, {shape})"
        made = f"{self.output} (float32, batch x {len(self.columns)})"
        yield f"{self.file}: {given} -> {made}, {self.size / 2**20:.2f} MiB"
        yield from (f"note: {note}" for note in self.notes)
        yield f"largest difference from the model: {self.equality.in_words}, on {self.equality.source}"
        yield f"speed on {self.machine}, {self.speed[0].macs:,} MACs a sample:"
        for speed in self.speed:
            times = f"model {1000 * speed.model:.3g} ms, {self.file} {1000 * speed.exported:.3g} ms"
            yield f"  {counted('sample', speed.batch)}: {times}"
