"""task=landscape: the surface and the paths that it draws are those of training."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import SMALL, command, only_run
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.rundir.integrity import is_whole_picture

BOWL = ("data=polynomial", "model=linear", "preprocess=minmax", "threads=1", "device=cpu")
FAST = ("task=landscape", *BOWL, "task.points=5", "epochs=12st", "batch_size=full", "sched=constant")


def landscape_in(folder):
    (path,) = (folder / "outputs").rglob("landscape.json")
    return path.parent, json.loads(path.read_text())


def test_the_path_of_gradient_descent_by_hand(tmp_path):
    code, out, errors = command(
        tmp_path, *FAST, "task.optimizers=[sgd,momentum]", "optimizer.lr=0.1", "task.samples=all"
    )
    assert code == 0 and not errors
    folder, found = landscape_in(tmp_path)
    sgd, momentum = (np.array(path["points"]) for path in found["paths"])
    assert found["axes"] == ["1.weight", "1.bias"] and found["paths"][0]["steps"] == [*range(13)]
    from hydra import compose

    from trainer.config.hydra_context import initialized
    from trainer.engine.build import build_run

    with initialized():
        run = build_run(compose("config", [*BOWL]))
    everything = torch.arange(len(run.train))
    x, y = (part.double().numpy()[:, 0] for part in run.train.batch(everything))
    point = sgd[0]
    for place in sgd:
        assert place == pytest.approx(point, abs=1e-5)  # float32
        residual = point[0] * x + point[1] - y
        point = point - 0.1 * np.array([2 * (residual * x).mean(), 2 * residual.mean()])
    assert momentum[0] == pytest.approx(sgd[0]) and momentum[-1] != pytest.approx(sgd[-1])
    loss = np.array(found["loss"])
    expected = [[np.mean((w * x + b - y) ** 2) for w in found["a"]] for b in found["b"]]
    assert loss == pytest.approx(np.array(expected), rel=1e-4)  # float32
    for path in found["paths"]:
        w, b = path["points"][-1]
        assert path["loss"] == pytest.approx(np.mean((w * x + b - y) ** 2), rel=1e-4)
    assert is_whole_picture(folder / "landscape.png") and "landscape.png" in out
    assert EventAccumulator(str(folder)).Reload().Tags()["images"] == ["landscape"]


@pytest.mark.parametrize(
    "words",
    [
        ["data=iris", "model=mlp", "model.hidden=[4]", "norm=batch", "reg=dropout", "averaging=ema"],
        ["data=breast_cancer", "model=linear", "task.optimizers=[lbfgs,sam,schedule_free,gd]"],
        ["data=iris", "model=mlp", "task.plane=random", "task.optimizers=[lion]"],
        ["data=iris", "model=linear", "optimizer=lookahead", "optimizer.k=2"],
        ["data=digits", "model=cnn", "model.channels=[4]", "task.plane=paths", "optimizer=adam"],
    ],
    ids=" ".join,
)
def test_any_model_and_optimizer_has_a_picture(words, tmp_path):
    base = ("task=landscape", "threads=1", "device=cpu", "task.points=5", "task.samples=32", "epochs=4st")
    code, out, errors = command(tmp_path, *base, *words)
    assert code == 0 and not errors, errors
    _, found = landscape_in(tmp_path)
    assert np.isfinite(np.array(found["loss"], dtype=float)).all() and "finished" in out
    starts = [path["points"][0] for path in found["paths"]]
    assert all(start == pytest.approx(starts[0], abs=1e-4) for start in starts)  # of the projection


def test_a_path_that_diverges_is_drawn_as_far_as_it_is_finite(tmp_path):
    words = ("task.optimizers=[sgd]", "optimizer.lr=5", "epochs=300st")
    code, out, errors = command(tmp_path, *[word for word in FAST if word != "epochs=12st"], *words)
    assert code == 0 and not errors and "diverged" in out
    _, found = landscape_in(tmp_path)
    (path,) = found["paths"]
    # The largest stable rate is below 2: the first step already leaves, and losses of 1e30 would be drawn.
    assert path["status"] == "diverged" and np.isfinite(path["points"]).all() and len(path["points"]) < 5
    assert np.abs(found["a"]).max() < 100 and np.isfinite(np.array(found["loss"], dtype=float)).all()


def test_a_finished_run_has_a_random_plane_around_its_best_weights(tmp_path):
    code, _, errors = command(tmp_path, *SMALL)
    assert code == 0, errors
    run = only_run(tmp_path)
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, out, errors = command(tmp_path, "task=landscape", f"runs=[{run}]", "task.points=5", "threads=1", "device=cpu")
    assert code == 0 and not errors and "(best weights)" in out
    _, found = landscape_in(tmp_path)
    assert not found["paths"] and "random" in found["axes"][0] and found["a"] == [-1, -0.5, 0, 0.5, 1]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == kept
    assert load_file(run / "weights.safetensors")
    code, _, errors = command(tmp_path, "task=landscape", f"runs=[{run}]", "task.optimizers=[sgd]", "threads=1")
    assert code == 2 and "a finished run has no path to draw" in errors
    code, printed, errors = command(
        tmp_path, "task=landscape", f"runs=[{run}]", "threads=1", "task.points=5", "output=typed"
    )
    assert code == 0 and [*(tmp_path / "typed").rglob("landscape.png")], errors + printed  # not in the run's own output
    shutil.rmtree(run / "checkpoints")
    assert command(tmp_path, "task=landscape", f"runs=[{run}]", "threads=1")[0] == 3


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["task.optimizers=[sgd,adm]"], "did you mean adam?"),
        (["task.optimizers=[]"], "at least one"),
        (["optimizer.momentum=0.5"], "of which optimizer?"),
        (["optimizer=adam", "task.optimizers=[sgd]"], "leave one of the two out"),
        (["epochs=0"], "there is no path to draw"),
        (["task.points=4"], "task.points=4"),
        (["task.plane=pca"], "task.plane=pca"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(words, reason, tmp_path):
    code, _, errors = command(tmp_path, "task=landscape", *BOWL, *words)
    assert code == 2 and reason in errors and len(errors.splitlines()) <= 2, errors
    assert not (tmp_path / "outputs").exists()


def test_a_sweep_draws_each_job(tmp_path):
    words = ("data.degree=1,2", "task.optimizers=[sgd]")
    code, _, errors = command(tmp_path, "-m", *FAST, *words)
    assert code == 0, errors
    found = [json.loads(path.read_text()) for path in (tmp_path / "outputs" / "sweeps").rglob("landscape.json")]
    assert len(found) == 2 and found[0]["loss"] != found[1]["loss"]
