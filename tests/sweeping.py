"""Sweeps in this process, for tests that look at what one leaves."""

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest

SHORT = ("model=mlp", "model.hidden=[8]", "epochs=2", "batch_size=200", "threads=1", "device=cpu")


def sweep_in(folder: Path, *overrides: str) -> tuple[Path, str, str]:
    """Run `train -m ... hydra.sweep.dir=s` in a folder: the sweep's directory, and what it printed on both streams."""
    from trainer.cli import main

    printed, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["train", "-m", *overrides, "hydra.sweep.dir=s"])
        main.main()
    return folder / "s", printed.getvalue(), errors.getvalue()


def summaries(folder: Path) -> dict[str, dict]:
    """The summaries of a sweep's jobs, by the names of their directories."""
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/summary.json")}


def results(folder: Path) -> dict[str, tuple[str, str | None]]:
    """Status and digest of the final weights of each job."""
    return {name: (summary["status"], summary.get("weights_sha256")) for name, summary in summaries(folder).items()}
