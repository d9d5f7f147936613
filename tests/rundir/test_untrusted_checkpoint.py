"""A checkpoint runs nothing, whatever is in it."""

import io
import logging
import os
import pickle
import shutil
import subprocess
import tarfile
import zipfile
from functools import partial

import pytest
import torch
from payloads import TOUCH, Reduced, arranged, put, saved

from trainer.base.errors import DataError
from trainer.rundir import checkpoint

PICKLES = {
    "system": Reduced(os.system, "touch marker"),
    "exec": Reduced(exec, TOUCH),
    "eval": Reduced(eval, TOUCH),
    "import": Reduced(__import__, "planted"),
    "open": Reduced(open, "marker", "w"),
    "mkdir": Reduced(os.mkdir, "marker"),
    "Popen": Reduced(subprocess.Popen, ["touch", "marker"]),
    "check_call": Reduced(subprocess.check_call, ["touch", "marker"]),
    "copy": Reduced(shutil.copy, "planted.py", "marker"),
    "a torch.load within": Reduced(partial(torch.load, weights_only=False), "planted.pkl"),
    "a tensor's hook": Reduced(torch.save, 1, "marker"),
    "getattr": Reduced(logging.os.system, "touch marker"),
}  # fmt: skip
CONTAINERS = {
    "torch": lambda state: saved(state),
    "torch, old": lambda state: saved(state, _use_new_zipfile_serialization=False),
    "plain pickle": lambda state: pickle.dumps(state),
    "protocol 0": lambda state: pickle.dumps(state, 0),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", PICKLES)
def test_a_checkpoint_runs_nothing(name, container, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arranged(monkeypatch, tmp_path)
    payload = CONTAINERS[container]({"step": 1, "weights": {"w": PICKLES[name]}})
    put(tmp_path / "step-1.pt", payload)
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "step-1.pt", torch.device("cpu"))
    assert not (tmp_path / "marker").exists()
    torch.load(io.BytesIO(payload), weights_only=False) if container.startswith("torch") else pickle.loads(payload)
    for _ in range(500):
        if (tmp_path / "marker").exists():
            break
        os.waitpid(-1, os.WNOHANG) if name == "Popen" else None  # Popen's child takes its time
        torch.randn(100, 100).sort()
    assert (tmp_path / "marker").exists(), "a payload that does nothing proves nothing"


def test_an_archive_with_code_of_torchscript_runs_nothing(tmp_path):
    class Payload(torch.nn.Module):
        def forward(self, images):
            return images

    torch.jit.save(torch.jit.script(Payload()), tmp_path / "module.pt")
    put(tmp_path / "step-1.pt", (tmp_path / "module.pt").read_bytes())
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "step-1.pt", torch.device("cpu"))


@pytest.mark.parametrize(
    "state", [[], {}, 3, {"step": "x", "weights": {}}, {"step": 1, "weights": []}, torch.zeros(3)], ids=repr
)
def test_a_checkpoint_of_another_shape_is_none(state, tmp_path):
    put(tmp_path / "step-1.pt", saved(state))
    with pytest.raises(DataError, match="not a checkpoint of a run"):
        checkpoint.load(tmp_path / "step-1.pt", torch.device("cpu"))


@pytest.mark.parametrize("kind", ["empty", "text", "zip", "tar"])
def test_other_files_are_no_checkpoints(kind, tmp_path):
    payload = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(payload, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Reduced(os.system, "touch marker")))
    elif kind == "tar":
        with tarfile.open(fileobj=payload, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("storages"))
    put(tmp_path / "step-1.pt", b"hello" if kind == "text" else payload.getvalue())
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "step-1.pt", torch.device("cpu"))


@pytest.mark.parametrize("job", ["resume", "evaluate"])
def test_a_run_whose_checkpoints_hold_a_payload_runs_nothing(job, unfinished, run_in_process, tmp_path):
    for path in checkpoint.newest_first(unfinished / "checkpoints"):
        put(path, saved({"step": 1, "weights": {"w": PICKLES["system"]}}))
    code, said, errors = (
        run_in_process(f"resume={unfinished}")
        if job == "resume"
        else run_in_process("task=evaluate", f"runs=[{unfinished}]")
    )
    assert not (tmp_path / "marker").exists() and "cannot be read as a checkpoint" in (said + errors).replace("\n", "")
    assert code == (
        0 if job == "resume" else 3
    )  # without a checkpoint that can be read a run begins anew, from its words


@pytest.mark.parametrize("value", [float("nan"), torch.zeros(0, 2), "x", {}, [1, 2], [torch.zeros(2)], None, ["a"] * 9])
@pytest.mark.parametrize("key", ["data", "weights"])
def test_a_forged_part_of_a_state_is_refused_by_an_evaluation(key, value, unfinished, run_in_process):
    path = max((unfinished / "checkpoints").glob("step-*.pt"), key=checkpoint.step_of)
    state = torch.load(path, weights_only=True)
    state["progress"]["best"] = None
    state[key] = {"0.weight": value} if key == "weights" else value
    put(path, saved(state))
    code, _, errors = run_in_process("task=evaluate", f"runs=[{unfinished}]")
    assert code == 3 and errors.startswith("train: runs=[") and len(errors.splitlines()) == 1, errors
