"""Pictures of the fit: what is drawn is what the model says, and the run is the same with and without them."""

import io
import json

import numpy as np
import pytest
import torch
from conftest import command, only_run
from PIL import Image

from trainer.engine import fit_pictures
from trainer.engine.build import build_run
from trainer.engine.fit_pictures import drawn_features, fit_map
from trainer.rundir import fit_map as numbers
from trainer.rundir import fit_plot
from trainer.rundir.fit_frames import FRAMES, FrameDrawer, chosen, frames_in, is_frame

SMALL = ("model=mlp", "model.hidden=[8]", "threads=1", "device=cpu")


def standardized(run, inputs):
    """The inputs as preprocess=standardize makes them, by NumPy."""
    raw = run.data.train.images.double().numpy()
    return torch.from_numpy((inputs - raw.mean(0)) / raw.std(0)).float()


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Return a function that draws a map and returns its axes."""
    figures = []
    monkeypatch.setattr(fit_plot, "write_figure", lambda figure, path: figures.append(figure))

    def draw(found, title="data=x"):
        fit_plot.draw(found, tmp_path / "fit.png", title)
        return figures[-1]

    return draw


def test_the_curve_is_that_of_the_model_and_the_dots_are_the_samples(composed, drawn):
    run = build_run(composed("data=polynomial", *SMALL))
    found = fit_map(run, run.model, "best weights")
    (x,) = found.grid
    with torch.no_grad():
        expected = run.model(standardized(run, x[:, None].astype(np.float64)))[:, 0].numpy()
    figure = drawn(found)
    (axes,) = figure.axes
    curve = next(line for line in axes.get_lines() if line.get_label() == "fit")
    np.testing.assert_allclose(curve.get_xdata(), x)
    np.testing.assert_allclose(curve.get_ydata(), expected, rtol=1e-4, atol=1e-6)  # float32, in another order
    for dots, split in zip(axes.collections, (run.data.train, run.data.val)):
        np.testing.assert_allclose(dots.get_offsets(), np.c_[split.images.numpy(), split.targets.numpy()], rtol=1e-6)
    assert x[0] < run.data.train.images.min() and x[-1] > run.data.train.images.max()
    assert [text.get_text() for text in figure.texts] == ["data=x\nbest weights"]


def test_a_place_of_the_plane_has_the_colour_of_the_class_that_the_model_gives_it(composed, drawn):
    run = build_run(composed("data=spirals", *SMALL))
    found = fit_map(run, run.model, "")
    x, y = found.grid
    image = drawn(found).axes[0].images[0]
    assert image.origin == "lower" and image.get_array().shape == (len(y), len(x), 3)
    rows, columns = np.meshgrid([0, 13, 50, len(y) - 1], [0, 31, 77, len(x) - 1])
    for row, column in zip(rows.ravel(), columns.ravel()):
        with torch.no_grad():
            p = run.model(standardized(run, np.array([[x[column], y[row]]], dtype=np.float64))).softmax(1)[0].numpy()
        np.testing.assert_allclose(found.predictions[row, column], p, rtol=1e-3, atol=1e-5)
        full = numbers.as_rgb(numbers.COLORS[p.argmax()])
        opacity = numbers.LEAST + (numbers.MOST - numbers.LEAST) * (p.max() - 1 / 3) * 3 / 2
        np.testing.assert_allclose(np.asarray(image.get_array())[row, column], 1 - opacity * (1 - full), atol=1e-3)


def test_the_values_are_in_the_unit_of_the_data(composed, tmp_path):
    x = np.linspace(0, 1, 200)
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{one},{1000 + 50 * one}\n" for one in x))
    words = ("data=csv", f"data.path={tmp_path}/t.csv", "data.target=b", "model=linear", "threads=1", "device=cpu")
    run = build_run(composed(*words))
    found = fit_map(run, run.model, "")
    targets = found.samples["train"][1]
    assert found.features == ("a",) and found.outputs == ("b",) and 1000 <= targets.min() <= targets.max() <= 1050
    mean, deviation = run.data.predicted.mean[0], run.data.predicted.deviation[0]
    with torch.no_grad():
        expected = run.model(standardized(run, found.grid[0][:, None].astype(np.float64))).numpy() * deviation + mean
    np.testing.assert_allclose(found.predictions, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "features"),
    [
        (["data=iris"], ()),
        (["data=digits"], ()),
        (["data=gaussians", "data.features=3"], ()),
        (["data=gaussians"], ("x1", "x2")),
        (["data=height_weight"], ("height", "weight")),
        (["data=polynomial", "preprocess=polynomial", "model=linear"], ("x",)),
    ],
)
def test_one_and_two_features_are_drawn_and_no_others(words, features, composed):
    run = build_run(composed(*words, "model=linear", "threads=1", "device=cpu"))
    assert drawn_features(run.data) == features
    assert (fit_map(run, run.model, "") is None) == (not features)


def test_the_numbers_are_written_and_read(composed, tmp_path):
    run = build_run(composed("data=gaussians", "data.classes=2", "loss=hinge", *SMALL))
    found = fit_map(run, run.model, "caption")
    numbers.write(found, tmp_path / "fit.npz")
    again = numbers.read(tmp_path / "fit.npz")
    assert (again.features, again.outputs, again.classes) == (found.features, found.outputs, True)
    assert not again.probabilities and again.caption == "caption"
    np.testing.assert_array_equal(again.predictions, found.predictions)
    np.testing.assert_array_equal(again.samples["val"][1], found.samples["val"][1])


def test_modes_and_generator_are_left_as_they_were(composed):
    run = build_run(composed("data=spirals", "norm=batch", "reg=dropout", *SMALL))
    run.model.train()
    frozen = next(run.model.children()).eval()
    buffers = [buffer.clone() for buffer in run.model.buffers()]
    generator = torch.get_rng_state()
    fit_map(run, run.model, "")
    assert torch.equal(generator, torch.get_rng_state()) and run.model.training and not frozen.training
    assert all(map(torch.equal, buffers, run.model.buffers()))


def test_few_evaluations_are_drawn_most_of_them_early():
    assert all(map(is_frame, range(8))) and sum(map(is_frame, range(401))) <= 40
    drawn = [count for count in range(10_000) if is_frame(count)]
    assert len(drawn) < 65 and all(later <= 1.16 * one + 1 for one, later in zip(drawn[1:], drawn[2:]))
    frames = [(step, bytes([step])) for step in range(60)]
    assert len(chosen(frames)) == FRAMES and chosen(frames)[0] == b"\0" and chosen(frames)[-1] == bytes([59])
    assert chosen(frames[:3]) == [b"\0", b"\1", b"\2"]


@pytest.mark.parametrize("kind", ["line", "plane"])
def test_a_frame_shows_its_predictions(kind, composed):
    """A plane of one class has its colour beside the samples; a constant curve is a red line at its height."""
    run = build_run(composed("data=polynomial" if kind == "line" else "data=spirals", *SMALL))
    found = fit_map(run, run.model, "", fit_pictures.COARSE)
    drawer = FrameDrawer(found, "title")
    left, top, right, bottom = drawer.box
    if kind == "plane":
        p = np.zeros_like(found.predictions)
        p[..., 1] = 1.0
        pixels = np.asarray(Image.open(io.BytesIO(drawer.draw(p, "c"))).convert("RGB")) / 255
        expected = 1 - numbers.MOST * (1 - numbers.as_rgb(numbers.COLORS[1]))
        corner = pixels[top + 2 : top + 8, left + 2 : left + 8]
        np.testing.assert_allclose(corner, np.broadcast_to(expected, corner.shape), atol=0.04)  # of the palette
    else:
        low, high = found.limits
        flat = np.full_like(found.predictions, low + (high - low) / 4)
        pixels = np.asarray(Image.open(io.BytesIO(drawer.draw(flat, "c"))).convert("RGB")).astype(int)
        red = (pixels[..., 0] > 180) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)
        rows = np.flatnonzero(red[top:bottom, left:right].mean(1) > 0.9)
        assert len(rows) and abs(rows.mean() - 0.75 * (bottom - top)) < 3


def test_a_run_with_pictures_is_the_run_without_them(tmp_path, monkeypatch):
    words = ("data=spirals", "norm=batch", "reg=dropout", "averaging=ema", "epochs=3", *SMALL)
    found = []
    for name in ("with", "without"):
        folder = tmp_path / name
        folder.mkdir()
        if name == "without":
            monkeypatch.setattr(fit_pictures, "drawn_features", lambda data: ())
        assert command(folder, *words)[0] == 0
        found.append(only_run(folder))
    one, other = (json.loads((run / "summary.json").read_text()) for run in found)
    assert one["weights_sha256"] == other["weights_sha256"] and one["best"] == other["best"]
    assert all((found[0] / name).is_file() for name in ("fit.png", "fit.npz", "fit.gif"))
    assert not [*found[1].glob("fit.*")] and not frames_in(found[1] / "train")
    frames, steps = frames_in(found[0] / "train"), one["steps"] // 3
    assert [step for step, _ in frames] == [0, steps, 2 * steps, 3 * steps]
    with Image.open(found[0] / "fit.gif") as gif:
        assert gif.n_frames == 4
    best = numbers.read(found[0] / "fit.npz")
    assert best.caption == f"best weights, epoch {one['best']['epoch']:.0f}"


def test_a_resumed_run_goes_on_with_its_animation(tmp_path):
    assert command(tmp_path, "data=polynomial", "epochs=2", *SMALL)[0] == 0
    run = only_run(tmp_path)
    assert command(tmp_path, f"resume={run}", "epochs=+2")[0] == 0
    frames = frames_in(run / "train")
    with Image.open(run / "fit.gif") as gif:
        assert gif.n_frames == len(frames) == 5
    (run / "fit.png").write_bytes(b"damaged")
    code, out, _ = command(tmp_path, f"resume={run}")
    assert code == 0 and "fit.png" in out and (run / "fit.png").read_bytes().startswith(b"\x89PNG")


def test_a_sweep_has_the_picture_of_each_job_and_no_animation(tmp_path):
    words = ("data=gaussians", "seed=0,1", "epochs=1", *SMALL)
    assert command(tmp_path, "-m", *words)[0] == 0
    jobs = [path.parent for path in (tmp_path / "outputs").rglob("summary.json")]
    assert len(jobs) == 2
    for job in jobs:
        assert (job / "fit.png").is_file() and not (job / "fit.gif").exists() and not frames_in(job / "train")
