"""ONNX through torch's exporter, with the layers named whose operators an opset lacks. Needs trainer[onnx]."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch._decomp import decomposition_table

from trainer.base.atomic import atomic_write
from trainer.base.errors import ConfigError
from trainer.base.text import printable
from trainer.export.graph import Signature, silenced

OLDEST = 18  # opset that torch's exporter writes; older ones are converted from it
LARGEST = 1_900_000_000  # bytes of weights in one file: the format ends at 2 GiB
SCOPES, KINDS = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"  # of a node's metadata
NO_EQUIVALENT = r"No ONNX function found for <OpOverload\(op='([\w.]+)', overload='(\w+)'"
NOT_IN_OPSET, NOT_CONVERTED = r"No Previous Version of (\w+)", r"No Adapter .*? for (\w+)"  # of the converter's errors


def convert(
    program: torch.export.ExportedProgram,
    signature: Signature,
    metadata: Mapping[str, str],
    opset: int | None,
    named: str,
) -> Callable[[Path], None]:
    """Return what writes a program as ONNX.

    Args:
        metadata: texts for the file.
        opset: of the file; None for torch's default.
        named: what is typed for the format, for messages.
    Errors: ConfigError, which names an operator that ONNX or the opset lacks, and its layer.
    """
    axis = next(node for node in program.graph.nodes if node.op == "placeholder" and node.name == "samples")
    try:
        with silenced():
            made = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=[signature.input],
                output_names=[signature.output],
                opset_version=opset and max(opset, OLDEST),
            )
            made.rename_axes({str(axis.meta["val"].shape[0]): "batch"})
    except Exception as error:
        raise ConfigError(f"{named}: {without_equivalent(error, program)}") from error
    reached = made.model.opset_imports[""]
    if opset is not None and opset >= OLDEST and reached != opset:
        what = f"the exporter of torch {torch.__version__} writes opset {reached} in its place"
        raise ConfigError(f"task.opset={opset}: {what}; try task.opset={reached}, or leave it out")
    made.model.metadata_props.update(metadata)
    tensors = [*program.state_dict.values(), *program.constants.values()]
    if sum(value.nbytes for value in tensors if isinstance(value, Tensor)) > LARGEST and (
        opset is None or opset >= OLDEST
    ):
        return lambda path: made.save(path, external_data=True)  # weights in a second file
    proto = made.model_proto
    if opset is not None and opset < OLDEST:
        proto = in_older_opset(proto, opset)
    content = proto.SerializeToString()
    return lambda path: atomic_write(path, content)


def without_equivalent(error: Exception, program: torch.export.ExportedProgram) -> str:
    """Return why a program has no ONNX: the operator that has no equivalent there, with its layer, else the error."""
    texts, cause = [], error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__
    found = next((found for text in texts if (found := re.search(NO_EQUIVALENT, text))), None)
    if found is None:
        reason = printable(texts[-1].strip().partition("\n")[0])
        return f"torch's exporter fails ({reason}); write format=pt2"
    with silenced():  # the exporter decomposes operators first, by torch's table
        nodes = [*program.graph.nodes, *program.run_decompositions(dict(decomposition_table)).graph.nodes]
    name = ".".join(found.groups())
    layer = next((layer_of(node) for node in nodes if str(node.target) == name), "the model")
    return f"the operator {found[1]} of {layer} has no equivalent in ONNX; write format=pt2, which has it"


def layer_of(node: torch.fx.Node) -> str:
    """Return the layer that a node of a program comes from, in words."""
    stack = [*node.meta.get("nn_module_stack", {}).values()]
    paths = [(str(path).partition("network.")[2], str(kind).rpartition(".")[2].strip("'>")) for path, kind in stack]
    known = [f"{path} ({kind})" for path, kind in paths if path]
    return known[-1] if known else "the model"


def in_older_opset(proto: object, opset: int) -> object:
    """Return an ONNX model in an older opset. Errors: ConfigError, which names an operator that it lacks."""
    import onnx

    try:
        with silenced():
            made = onnx.version_converter.convert_version(proto, opset)
            onnx.checker.check_model(made, full_check=True)
    except Exception as error:
        hint = f"try task.opset={OLDEST}, or format=pt2"
        raise ConfigError(f"task.opset={opset}: {not_in_opset(str(error), proto, opset)}; {hint}") from error
    made.metadata_props.extend(proto.metadata_props if not made.metadata_props else [])
    return made


def not_in_opset(text: str, proto: object, opset: int) -> str:
    """Return why a model cannot be converted to an older opset, by the converter's error."""
    missing, unknown = re.search(NOT_IN_OPSET, text), re.search(NOT_CONVERTED, text)
    if found := missing or unknown:
        where = next((f" of {scope_of(node)}" for node in proto.graph.node if node.op_type == found[1]), "")
        what = "does not exist in ONNX's opset" if missing else "cannot be converted to ONNX's opset"
        return f"the operator {found[1]}{where} {what} {opset}"
    reason = printable(text.strip().partition("\n")[0])
    return f"the model cannot be converted to ONNX's opset {opset} ({reason})"


def scope_of(node: object) -> str:
    """Return the layer that a node of an ONNX model comes from, in words."""
    known = {entry.key: re.findall(r"'([^']*)'", entry.value) for entry in node.metadata_props}
    names, kinds = known.get(SCOPES, []), known.get(KINDS, [])
    layers = [(name, kind) for name, kind in zip(names, kinds) if name.startswith("network.")]
    if not layers:
        return "the model"
    name, kind = layers[-1]
    return f"{name.removeprefix('network.')} ({kind.rpartition('.')[2]})"


def session(path: Path) -> Callable[[Tensor], Tensor]:
    """Return what an ONNX file computes in onnxruntime, on the CPU, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in opened.get_inputs())
    return lambda samples: torch.from_numpy(opened.run(None, {name: samples.numpy()})[0])


def opset_of(path: Path) -> int:
    """Return the opset of an ONNX file."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    return next(known.version for known in model.opset_import if not known.domain)
