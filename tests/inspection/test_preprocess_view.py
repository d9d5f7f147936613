"""Preprocessing before and after: moments by NumPy, and the points that are drawn."""

import numpy as np
import pytest

from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.engine.build import fit_preprocess
from trainer.inspection import preprocess_view
from trainer.inspection.preprocess_view import describe, make_view


@pytest.fixture
def view_of(composed):
    """Return a function that makes the view of overrides, with the raw training samples."""

    def make(*words):
        cfg = composed(*words)
        data = factory(cfg, "data", Invocation())().load()
        return make_view(data, fit_preprocess(cfg, data, Invocation())), data.train.images.double().numpy()

    return make


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(preprocess_view, "write_figure", lambda figure, path: figures.append(figure))

    def draw(view):
        preprocess_view.draw(view, tmp_path / "p.png", Invocation())
        return figures[-1]

    return draw


def test_two_features_of_unlike_scales(view_of, drawn):
    view, raw = view_of("data=height_weight")
    for place, (name, mean, deviation, after, one) in enumerate(view.scales()):
        assert name == ("height", "weight")[place]
        assert (mean, deviation) == pytest.approx((raw[:, place].mean(), raw[:, place].std()))
        assert (after, one) == pytest.approx((0, 1), abs=1e-5)  # float32
    ratio = raw[:, 1].std() / raw[:, 0].std()
    assert describe(view)[-1] == f"largest deviation / smallest: {ratio:.3g} before, 1 after"
    before, after = drawn(view).axes
    np.testing.assert_allclose(before.collections[0].get_offsets(), raw, rtol=1e-6)
    standardized = (raw - raw.mean(0)) / raw.std(0)
    np.testing.assert_allclose(after.collections[0].get_offsets(), standardized, atol=1e-5)
    for axes in (before, after):  # one scale for both
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        assert right - left == pytest.approx(high - low) and axes.get_aspect() == 1


@pytest.mark.parametrize(
    ("option", "kept"), [("none", True), ("standardize", True), ("minmax", True), ("center", True), ("pca", False),
                         ("whiten_zca", False), ("polynomial", False)]
)  # fmt: skip
def test_features_that_are_mixed_have_no_name_behind_the_preprocessing(option, kept, view_of, drawn):
    view, raw = view_of("data=height_weight", f"preprocess={option}")
    assert view.by_feature == kept
    lines = describe(view)
    assert ("mean after" in lines[0]) == kept and ("new features" in lines[-1]) == (not kept)
    assert drawn(view).axes[1].get_xlabel().startswith("height" if kept else "feature 1")


def test_a_single_feature_is_a_histogram(view_of, drawn):
    view, raw = view_of("data=polynomial")
    before, after = drawn(view).axes
    assert sum(bar.get_height() for bar in before.patches) == len(raw)


@pytest.mark.parametrize(
    ("words", "panels"), [(["data=digits"], 12), (["preprocess=pca", "preprocess.components=5"], 6)]
)
def test_images_before_and_after(words, panels, view_of, drawn):
    view, raw = view_of("data=digits", *words)
    figure = drawn(view)
    assert len(figure.axes) == panels
    np.testing.assert_allclose(np.asarray(figure.axes[0].images[0].get_array())[..., 0], raw[0, 0], atol=1e-6)
    assert ("no image" in figure.get_supxlabel()) == (panels == 6)
