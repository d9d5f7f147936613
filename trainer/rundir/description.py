"""Description of a model, for its use without the data that it was trained on.

A run writes it as run.json, into the metadata of weights.safetensors, and into every checkpoint.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import Tensor

from trainer.base.atomic import atomic_write
from trainer.base.errors import DataError
from trainer.base.fitted import lists_to_tensors, tensors_to_lists
from trainer.base.text import printable
from trainer.data.inputs import Inputs, Predicted, from_plain, predicted_from, to_plain

FORMAT = 1  # raised where older versions would misread
KEY = "trainer"  # of the metadata of weights.safetensors
LARGE = 50_000  # numbers from which a tensor of the preprocessing is one of weights.safetensors
TENSORS = "preprocess"  # beginning of the names of such tensors
TASKS = ("classification", "binary", "regression")


@dataclass(frozen=True, kw_only=True)
class Description:
    """Inputs and outputs of a model, and the settings that make it.

    Args:
        task: classification, binary or regression.
        classes: names in the order of the outputs; of binary data, of the output's 0 and 1.
        inputs: what a sample is.
        predicted: what the targets are.
        preprocess: the fitted preprocessing as plain values and tensors; None where it has no such form.
        input_shape: of a preprocessed sample.
        outputs: of the model.
        config: settings of the run that shape it, without paths.
        choices: the option of every group.
        command: the overrides, as they were typed.
        versions: of Python and the libraries.
        scores: of the weights, by split.
    """

    task: str
    classes: tuple[str, ...]
    inputs: Inputs
    predicted: Predicted
    preprocess: object
    input_shape: tuple[int, ...]
    outputs: int
    config: Mapping
    choices: Mapping[str, str | None]
    command: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_state(self) -> dict:
        """Return the description as dicts, lists, tensors, numbers and texts."""
        return {
            "format": FORMAT,
            "task": self.task,
            "classes": list(self.classes),
            "inputs": to_plain(self.inputs),
            "predicted": asdict(self.predicted),
            "preprocess": self.preprocess,
            "input_shape": list(self.input_shape),
            "outputs": self.outputs,
            "choices": dict(self.choices),
            "config": dict(self.config),
            "command": list(self.command),
            "versions": dict(self.versions),
            "scores": dict(self.scores),
        }

    def to_json(self) -> tuple[str, dict[str, Tensor]]:
        """Return the description as JSON, a line for each key, and the large tensors that it names."""
        state, large = self.to_state(), {}
        state["preprocess"] = tensors_to_lists(state["preprocess"], TENSORS, LARGE, large)
        lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in state.items())
        return "{\n" + ",\n".join(lines) + "\n}", large


def write_description(path: Path, description: Description) -> None:
    """Write run.json. Errors: OSError."""
    atomic_write(path, f"{description.to_json()[0]}\n".encode())


def from_state(state: object) -> Description:
    """Return a description from what `to_state` returned. Errors: DataError for anything else."""
    if not isinstance(state, Mapping):
        raise DataError("it has no description; it was trained by an older version")
    if (made := state.get("format")) != FORMAT:
        newer = isinstance(made, int) and made > FORMAT
        raise DataError("it was trained by a newer version; update this one" if newer else "its description is damaged")
    try:
        found = Description(
            task=state["task"],
            classes=tuple(map(str, state["classes"])),
            inputs=from_plain(state["inputs"]),
            predicted=predicted_from(state["predicted"]),
            preprocess=state["preprocess"],
            input_shape=tuple(map(int, state["input_shape"])),
            outputs=int(state["outputs"]),
            config=dict(state["config"]),
            choices={str(group): option for group, option in state["choices"].items()},
            command=tuple(map(str, state["command"])),
            versions={str(name): str(version) for name, version in state["versions"].items()},
            scores=dict(state["scores"]),
        )
        require_consistent(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"its description is damaged ({printable(error)})") from None
    return found


def require_consistent(found: Description) -> None:
    """Check that the parts of a description fit one another. Errors: ValueError."""
    if found.task not in TASKS:
        raise ValueError(f"no kind of data: {found.task}")
    expected = {"classification": found.outputs, "binary": 2, "regression": 0}[found.task]
    if len(found.classes) != expected or found.outputs < 1 or (found.task == "binary" and found.outputs != 1):
        raise ValueError(f"{len(found.classes)} classes for {found.outputs} outputs")
    scale = found.predicted.mean, found.predicted.deviation
    if any(scale) and [*map(len, scale)] != [found.outputs, found.outputs]:
        raise ValueError("another number of means and deviations than of outputs")
    if not all(0 < size < 10**9 for size in found.input_shape):
        raise ValueError(f"no shape: {found.input_shape}")


def from_json(text: str | bytes, tensors: Mapping[str, Tensor]) -> Description:
    """Return a description from its JSON and the tensors that it may name. Errors: DataError."""
    try:
        state = json.loads(text)
        if isinstance(state, dict) and "preprocess" in state:
            state["preprocess"] = lists_to_tensors(state["preprocess"], tensors)
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError, RecursionError) as error:
        raise DataError(f"its description is damaged ({printable(error)})") from None
    return from_state(state)
