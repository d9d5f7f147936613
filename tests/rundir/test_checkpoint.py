"""Checkpoints on disk: complete or not counted, the best and the newest kept, damage found."""

import random

import pytest
import torch
from conftest import files_of_at_most

from trainer.base import atomic
from trainer.base.clock import Clock
from trainer.base.errors import DataError
from trainer.rundir import checkpoint
from trainer.rundir.checkpoint import Checkpoints

NOW = Clock(total_steps=100, steps_per_epoch=10)


def state(step, **more):
    return {"step": step, "weights": {"w": torch.full((50,), float(step))}, **more}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_two_newest_and_the_best_are_kept_each_with_its_digest(tmp_path):
    kept = Checkpoints(tmp_path)
    for step in (10, 20, 30, 40, 50):
        kept.save(state(step), best=step == 20)
    files = [f"step-{step}.pt{ending}" for step in (20, 40, 50) for ending in ("", ".sha256")]
    assert names(kept.folder) == sorted(["best", "last", *files])
    assert (
        checkpoint.resolve_pointer(kept.folder, "best").name == "step-20.pt"
        and checkpoint.resolve_pointer(kept.folder, "last").name == "step-50.pt"
    )
    assert torch.equal(
        checkpoint.load(kept.folder / "step-20.pt", torch.device("cpu"))["weights"]["w"], torch.full((50,), 20.0)
    )


@pytest.mark.parametrize("kind", ["cut", "flip"])
def test_fifty_cuts_and_fifty_flipped_bits_are_all_found(tmp_path, kind):
    kept = Checkpoints(tmp_path)
    kept.save(state(10))
    path = kept.folder / "step-10.pt"
    whole, draw = path.read_bytes(), random.Random(0)
    for _ in range(50):
        damaged = bytearray(whole)
        if kind == "cut":
            del damaged[draw.randrange(len(whole)) :]
        else:
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        assert not checkpoint.is_complete(path)
        with pytest.raises(DataError, match="its digest does not match"):
            checkpoint.load(path, torch.device("cpu"))
    path.write_bytes(whole)
    assert checkpoint.is_complete(path)


def test_a_file_without_its_digest_is_incomplete(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.save(state(10))
    (kept.folder / "step-10.pt.sha256").unlink()
    with pytest.raises(DataError, match="incomplete: its digest is missing"):
        checkpoint.load(kept.folder / "step-10.pt", torch.device("cpu"))
    kept.save(state(10))  # the same step again mends it
    assert checkpoint.is_complete(kept.folder / "step-10.pt")


def test_a_pointer_moves_after_its_file(tmp_path):
    """Keep both pointers on the last complete checkpoint where a file of 4 kB is refused and one of 9 bytes is not."""
    kept = Checkpoints(tmp_path)
    kept.save(state(10), best=True)
    with files_of_at_most(1000), pytest.raises(OSError):
        kept.save(state(20, more=torch.zeros(1000)), best=True)
    for pointer in ("best", "last"):
        assert checkpoint.resolve_pointer(kept.folder, pointer).name == "step-10.pt"
    assert kept.newest().name == "step-10.pt" and kept.failed


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    atomic.atomic_write(path, b"old")
    with pytest.raises(TypeError):
        atomic.atomic_write(path, "not bytes")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


def test_only_checkpoints_of_the_same_folder_can_be_pointed_at(tmp_path):
    for word in ("../../elsewhere.pt", "/etc/passwd", "step-1.pt.sha256", ""):
        (tmp_path / "best").write_text(word)
        assert checkpoint.resolve_pointer(tmp_path, "best") is None


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (9, 100, 20):
        (tmp_path / f"step-{step}.pt").touch()
    (tmp_path / "step-x.pt").touch()
    assert [path.name for path in checkpoint.newest_first(tmp_path)] == ["step-100.pt", "step-20.pt", "step-9.pt"]
