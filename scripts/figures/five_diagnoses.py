"""Draw the loss of five runs that cs231n diagnoses by eye, with the verdicts of `train`: docs/five_diagnoses.png.

python scripts/figures/five_diagnoses.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from trainer.rundir.reader import read_rows

RUNS = {  # what the lecture calls it -> the command
    "flat from the start:\nbad initialisation": "model=deep_mlp init=small_normal act=tanh epochs=15",
    "flat after a drop:\ndecayed too early": "model=mlp optimizer.lr=0.01 sched=step sched.length=2ep sched.gamma=1e-3 "
    "epochs=15",
    "a gap:\noverfitting": "model=mlp data.train_samples=200 epochs=60",
    "no gap, high loss:\nunderfitting": "model=mlp model.hidden=[1] epochs=60",
    "still falling:\ntrain longer": "model=mlp optimizer=sgd optimizer.lr=0.01 sched=constant epochs=10",
}
PICTURE = Path(__file__).parents[2] / "docs" / "five_diagnoses.png"


def train(folder: Path, words: str) -> tuple[list[dict], str]:
    """Train in a new folder; return the rows of its curves and the code of its first verdict."""
    run = Path(tempfile.mkdtemp(dir=folder)) / "run"
    command = [sys.executable, "-m", "trainer", *words.split(), "threads=1", f"hydra.run.dir={run}"]
    subprocess.run(command, check=True, capture_output=True)
    verdicts = json.loads((run / "summary.json").read_text())["verdicts"]
    return [*read_rows(run, "train", "val")], verdicts[0]["code"] if verdicts else "no verdict"


def draw() -> None:
    """Train the runs and draw them side by side."""
    figure, panels = plt.subplots(1, len(RUNS), figsize=(13, 3.2), layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        for panel, (title, words) in zip(panels, RUNS.items()):
            rows, code = train(Path(folder), words)
            for split, colour in (("train", "C0"), ("val", "C1")):
                points = [(row["epoch"], row["loss"]) for row in rows if row["split"] == split]
                panel.plot(*zip(*points), color=colour, label=split)
            panel.set_title(f"{title}", fontsize=9)
            panel.set_xlabel(f"epoch\n{code}", fontsize=9)
            panel.set_ylim(0, 2.6)
            panel.grid(alpha=0.3)
    panels[0].set_ylabel("loss")
    panels[0].legend(fontsize=8, loc="lower left")
    figure.savefig(PICTURE, dpi=80)


if __name__ == "__main__":
    draw()
