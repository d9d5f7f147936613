"""Export every model, activation, norm, pooling, preprocessing and loss of the catalogue, and write the table of
docs/export.md: the largest difference from the model, or the reason why there is none.

    python scripts/export_table.py [--write] [--only TEXT] [--formats pt2,onnx]

Each setting is trained for a few steps on data that ships with the install, exported by task=export and compared on 256
real samples in batches of 1, 2, 64 and 256. With --write the table in docs/export.md is replaced. Needs trainer[onnx].
"""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trainer import train
from trainer.base.errors import CheckFailed, Interrupted, UserError
from trainer.base.text import markdown_table
from trainer.cli import overrides
from trainer.config import catalog, hydra_context, instantiate

PAGE = Path(__file__).parent.parent / "docs" / "export.md"
START, END = "<!-- table: scripts/export_table.py -->", "<!-- end of the table -->"
DENSE = ("deep_mlp", "linear", "linear_chain", "mlp")
PHOTOS = ("data=photos", "data.size=32")
CLASSIFIERS = (  # of torchvision, one of each family that has other operators
    "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5",
    "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vit_b_16",
)  # fmt: skip
SIZES = {"inception_v3": 128, "maxvit_t": 224}  # of the images that a network needs at least
EXTRA = {"exponential": ("init=small_normal",)}  # so that the fresh network's outputs are finite
LAYERS = ("alpha_dropout", "dropconnect", "dropout", "dropout_scaled", "spatial_dropout", "stochastic_depth")
OTHERS = (
    "data=iris model=mlp", "data=breast_cancer model=mlp", "data=diabetes model=mlp",
    "data=regression data.outputs=3 model=mlp", "data=polynomial model=linear preprocess=polynomial",
    "data=digits model=cnn norm=batch norm.place=after_act", "data=digits model=cnn norm=batch norm.on_input=true",
    "data=digits model=resnet20 norm=batch act=maxout", "data=digits model=cnn tta=flip averaging=ema",
)  # fmt: skip


def settings() -> Iterator[str]:
    """Yield the settings of the table."""
    for model in catalog.options("model"):
        if model != "torchvision":
            yield " ".join([f"model={model}", *(("data=digits",) if model in DENSE else PHOTOS)])
    for name in CLASSIFIERS:
        yield f"model=torchvision model.name={name} data=photos data.size={SIZES.get(name, 64)}"
    for group in ("act", "norm", "pool"):
        for option in catalog.options(group):
            yield " ".join([f"{group}={option}", *EXTRA.get(option, ()), "model=cnn", "data=digits"])
    for option in catalog.options("preprocess"):
        yield f"preprocess={option} model=mlp data=digits"
    for option in ("cross_entropy", "bce", "hinge", "mse"):
        yield f"loss={option} model=mlp data=digits"
    for option in LAYERS:
        yield f"reg=[{option}] data=digits model={'resnet20' if option == 'stochastic_depth' else 'cnn'}"
    yield from OTHERS


def trained(words: str, folder: Path) -> Path:
    """Return the directory of a run of a few steps."""
    fixed = ("epochs=3st", "batch_size=16", "threads=1", "device=cpu", "data.train_samples=100", f"output={folder}")
    if "data=photos" in words:  # smaller than 100
        fixed = tuple(word for word in fixed if not word.startswith("data.train_samples"))
    return train(*words.split(), *fixed, quiet=True).directory


def exported(run: Path, name: str) -> str:
    """Return the largest difference of an exported file, or why there is none."""
    folder = run / name
    words = ["task=export", f"runs=[{run}]", f"task.format={name}", f"task.folder={folder}", "threads=1"]
    command = overrides.check(words)
    invocation, cfg = hydra_context.invocation_of(command.cfg.hydra), hydra_context.without_hydra_node(command.cfg)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            instantiate.make_task(cfg, invocation).execute(cfg, invocation)
    except CheckFailed as error:
        return f"{error}"
    except UserError as error:
        return f"no: {error}"
    largest = json.loads((folder / "export.json").read_text())["equality"]["largest"]
    return f"{largest:.0e}" if largest else "0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the table in docs/export.md")
    parser.add_argument("--only", default="", help="settings that hold this text")
    parser.add_argument("--formats", default="pt2,onnx")
    arguments = parser.parse_args()
    formats, rows = arguments.formats.split(","), []
    for words in settings():
        if arguments.only not in words:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                run = trained(words, Path(folder))
                cells = [exported(run, name) for name in formats]
            except Interrupted:
                raise
            except UserError as error:
                cells = [f"not trained: {error}"] * len(formats)
        rows.append([words, *(cell.replace(str(folder), "") for cell in cells)])
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    table = "\n".join(markdown_table(["setting", *formats], rows))
    if arguments.write:
        before, _, rest = PAGE.read_text().partition(START)
        PAGE.write_text(f"{before}{START}\n\n{table}\n\n{END}{rest.partition(END)[2]}")
    else:
        print(table)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
