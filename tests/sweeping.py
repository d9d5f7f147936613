"""Sweeps in this process, for tests that look at what one leaves."""

import json
from pathlib import Path

from conftest import command

INTERRUPTING = '''
import os, signal

class Interrupting:
    """Interrupts the sweep before the 9th step of its first job, once."""
    done = False
    def __call__(self, now):
        if now.step == 8 and not Interrupting.done:
            Interrupting.done = True
            os.kill(os.getpid(), signal.SIGINT)
        return 1.0
'''  # a schedule

SHORT = ("model=mlp", "model.hidden=[8]", "epochs=2", "batch_size=200", "threads=1", "device=cpu")


def sweep_in(folder: Path, *overrides: str) -> tuple[Path, str, str]:
    """Run `train -m ... hydra.sweep.dir=s` in a folder: the sweep's directory, and what it printed on both streams."""
    code, printed, errors = command(folder, "-m", *overrides, "hydra.sweep.dir=s")
    assert code == 0, errors
    return folder / "s", printed, errors


def summaries(folder: Path) -> dict[str, dict]:
    """The summaries of a sweep's jobs, by the names of their directories."""
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/summary.json")}


def results(folder: Path) -> dict[str, tuple[str, str | None]]:
    """Status and digest of the final weights of each job."""
    return {name: (summary["status"], summary.get("weights_sha256")) for name, summary in summaries(folder).items()}
