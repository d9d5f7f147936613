"""Preprocessing against NumPy in float64 and closed forms; only the training split is fitted."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch.testing import assert_close

from trainer import preprocess
from trainer.config import catalog
from trainer.engine.build import build_run
from trainer.preprocess import ChannelStandardize, Identity, MinMax, Pca, Standardize, WhitenPca, WhitenZca

# Center, scale and result are float32: 6e-8 each, grown by the division by deviations near 0.1.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


def technique(option, **keys):
    """Make an option with the values of its YAML."""
    settings = yaml.safe_load(catalog.file("preprocess", option).read_text())
    return getattr(preprocess, settings.pop("_target_").rpartition(".")[2])(**{**settings, **keys})


ALL = [name for name in catalog.options("preprocess") if name != "model"]  # that is not fitted: test_model_timm.py
KINDS = ["table", "float", "uint8"]
# The lectures' formulas, t the training split and x any: statistics over samples, or over samples and pixels.
FORMULAS = {
    "none": lambda t, x, over: x,
    "center": lambda t, x, over: x - t.mean(0),
    "mean_image": lambda t, x, over: x - t.mean(0),
    "channel_mean": lambda t, x, over: x - t.mean(over, keepdims=True),
    "standardize": lambda t, x, over: (x - t.mean(0)) / t.std(0),
    "channel_standardize": lambda t, x, over: (x - t.mean(over, keepdims=True)) / t.std(over, keepdims=True),
    "minmax": lambda t, x, over: (x - t.min(0)) / (t.max(0) - t.min(0)),
}


def samples(kind, count, seed):
    draws = np.random.default_rng(seed)
    if kind == "table":
        return draws.normal([3, -40, 0.5], [2, 9, 0.1], (count, 3)).astype(np.float32)
    pixels = draws.integers(0, 256, (count, 3, 4, 2), dtype=np.uint8) // np.array([1, 2, 5], np.uint8).reshape(3, 1, 1)
    return pixels if kind == "uint8" else pixels.astype(np.float32) / 255


def plain(values):
    return values / 255 if values.dtype == np.uint8 else values.astype(np.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", FORMULAS)
def test_fitted_on_train_and_applied_to_another_split(option, kind):
    train, other = samples(kind, 300, 0), samples(kind, 40, 1)
    apply = technique(option).fit(torch.from_numpy(train))
    for split in (train, other):
        ours = apply(torch.from_numpy(split.copy()))
        assert ours.dtype == torch.float32
        expected = FORMULAS[option](plain(train), plain(split), 0 if kind == "table" else (0, 2, 3))
        assert_close(ours, torch.from_numpy(expected).float(), **ROUNDING)


def test_every_option_has_its_formula():
    assert set(ALL) == {*FORMULAS, "pca", "whiten_pca", "whiten_zca", "polynomial"}


@pytest.mark.parametrize("kind", KINDS)
def test_minmax_takes_training_values_to_the_ends_of_a_range(kind):
    train = torch.from_numpy(samples(kind, 300, 0))
    ours = MinMax(low=-1.0, high=0.5).fit(train)(train)
    assert_close(ours.amin(0), torch.full(ours.shape[1:], -1.0))
    assert_close(ours.amax(0), torch.full(ours.shape[1:], 0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_rotations_are_those_of_the_lecture(kind):
    train, other = samples(kind, 300, 0), samples(kind, 40, 1)
    t, x = (plain(part).reshape(len(part), -1) for part in (train, other))
    x, t = x - t.mean(0), t - t.mean(0)
    u, s, _ = np.linalg.svd(t.T @ t / len(t))
    u = u * np.sign(u[abs(u).argmax(0), range(len(u))])
    rotated = x @ u
    expected = {
        "pca": rotated,
        "whiten_pca": rotated / np.sqrt(s + 1e-5),
        "whiten_zca": rotated / np.sqrt(s + 1e-5) @ u.T,
    }
    for option, values in expected.items():
        ours = technique(option).fit(torch.from_numpy(train))(torch.from_numpy(other))
        assert ours.dtype == torch.float32 and ours.shape == other.shape
        # Sums of up to 24 products in float32.
        assert_close(ours.flatten(1).double(), torch.from_numpy(values), rtol=1e-4, atol=1e-4)
    few = technique("pca", components=2).fit(torch.from_numpy(train))(torch.from_numpy(other))
    assert_close(few.double(), torch.from_numpy(rotated[:, :2]), rtol=1e-4, atol=1e-4)


def spread(values, count=64):
    """Return a table of exactly the covariance R diag(values) R^T with a mean of 1/2, and R.

    Cosines of whole periods are orthogonal and of mean 0.
    """
    angles = 2 * np.pi * np.outer(np.arange(count), np.arange(1, len(values) + 1)) / count
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(len(values), len(values))))[0]
    return torch.from_numpy(np.sqrt(2 * np.array(values)) * np.cos(angles) @ rotation.T + 0.5), rotation


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_whitened_variances_are_l_over_l_plus_eps(eps):
    values = np.array([4.0, 0.3, 0.1, 1e-5, 0.0])
    table, rotation = spread(values)
    variances = values / (values + eps)  # for eps = 1e-5: 1, 1, 1, 1/2, 0
    # Components of deviation sqrt(eps) = 3e-3 come out of values near 1 in float32: to 1e-4 of themselves.
    tolerance = {"rtol": 1e-3, "atol": 1e-4}
    for fitted, expected in (
        (Pca().fit(table), np.diag(values)),
        (WhitenPca(eps=eps).fit(table), np.diag(variances)),
        (WhitenZca(eps=eps).fit(table), rotation @ np.diag(variances) @ rotation.T),
    ):
        ours = fitted(table).double()
        assert_close(ours.mean(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-4)
        assert_close(ours.T @ ours / len(ours), torch.from_numpy(expected), **tolerance)


def test_zca_is_symmetric_and_positive_and_not_diagonal():
    table, _ = spread([4.0, 0.3, 0.1, 0.02])
    apply = WhitenZca().fit(table)
    matrix = (apply(torch.eye(4)) - apply(torch.zeros(4, 4))).double()
    assert_close(matrix, matrix.T, rtol=0, atol=1e-5)  # entries near 3 in float32
    assert (torch.linalg.eigvalsh(matrix) > 0).all()
    assert not torch.allclose(matrix, torch.diag(matrix.diag()), atol=0.1)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_entry_of_a_component_is_positive_the_first_of_equals(sign):
    table = sign * torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, -0.5]])
    ours = Pca(components=2).fit(table)(torch.eye(3))
    assert_close(ours, torch.tensor([[0.5**0.5, 0.0], [-(0.5**0.5), 0.0], [0.0, 1.0]]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", ALL)
def test_a_fitted_function_can_be_inverted(option, kind):
    fitted = technique(option).fit(torch.from_numpy(samples(kind, 300, 0)))
    other = samples(kind, 40, 1)
    ours = fitted.invert(fitted(torch.from_numpy(other)))
    # Values up to 60 in float32; whitening multiplies by deviations that it divided by, 30 to 1 in these data.
    assert_close(ours.double(), torch.from_numpy(plain(other)), rtol=1e-5, atol=1e-5 if kind != "table" else 2e-4)


def test_few_components_invert_to_the_projection():
    table, rotation = spread([4.0, 0.3, 0.1])
    fitted = Pca(components=2).fit(table)
    kept = rotation[:, :2] @ rotation[:, :2].T
    expected = 0.5 + (table.numpy() - 0.5) @ kept
    assert_close(fitted.invert(fitted(table)).double(), torch.from_numpy(expected), rtol=0, atol=1e-5)  # float32


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Write two data sets of images that differ in the validation and test splits, not in the training split."""
    root, draws = tmp_path_factory.mktemp("splits"), np.random.default_rng(5)
    train = draws.integers(0, 256, (2, 12, 3, 4, 3), dtype=np.uint8)
    splits = {"train": train, "val": draws.integers(0, 60, (2, 5, 3, 4, 3), dtype=np.uint8), "test": train[:, :5] // 3}
    for version in ("one", "other"):
        for split, images in splits.items():
            for name, rows in zip(("ant", "bee"), images if version == "one" or split == "train" else 255 - images):
                (folder := root / version / split / name).mkdir(parents=True)
                for number, row in enumerate(rows):
                    Image.fromarray(row).save(folder / f"{number:02}.png")
    return root / "one", root / "other"


@pytest.mark.parametrize("option", ALL)
def test_only_the_training_split_is_fitted(option, composed, folders):
    overrides = (f"preprocess={option}", "data=image_folder", "model=linear", "batch_size=8")
    one, other = (build_run(composed(*overrides, f"data.root={folder}")) for folder in folders)
    assert torch.equal(one.train.images, other.train.images)
    assert not torch.equal(one.val.images, other.val.images)
    assert not torch.equal(one.test.images, other.test.images)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 12345.678])
def test_a_constant_feature_is_only_centred(constant):
    table = torch.tensor([[constant, 1.0], [constant, 3.0], [constant, 5.0]] * 333)
    ours = Standardize().fit(table)(table)
    assert_close(ours[:, 0], torch.zeros(999), rtol=0, atol=0)  # the mean of equal float32 is itself
    assert_close(ours[:3, 1], torch.tensor([-1.5, 0.0, 1.5]).mul(2 / 3 * 1.5**0.5))
    shifted = Standardize().fit(table)(table + torch.tensor([1.0, 0.0]))
    assert_close(shifted[:, 0], torch.ones(999), rtol=0, atol=1e-3)  # 12346.678 in float32 has steps of 1e-3


def test_a_constant_channel_of_uint8_images_is_only_centred():
    images = torch.tensor([77, 0], dtype=torch.uint8).view(1, 2, 1, 1).repeat(50, 1, 3, 3)
    images[:25, 1] = 255
    ours = ChannelStandardize().fit(images)(images)
    assert_close(ours[:, 0], torch.zeros(50, 3, 3), rtol=0, atol=1e-7)  # 77/255 in float32
    assert_close(ours[:, 1].abs(), torch.ones(50, 3, 3))


@pytest.mark.parametrize("constant", [0.0, -7.3])
def test_a_constant_feature_becomes_low_and_is_0_to_a_rotation(constant):
    table = torch.tensor([[constant, 1.0], [constant, 3.0], [constant, 5.0]])
    assert_close(MinMax(low=-1.0).fit(table)(table), torch.tensor([[-1.0, -1.0], [-1.0, 0.0], [-1.0, 1.0]]))
    # The rounding of 7.3, 5e-7, times 1 / sqrt(1e-5) = 316.
    assert_close(WhitenZca().fit(table)(table)[:, 0], torch.zeros(3), rtol=0, atol=1e-3)
    expected = torch.tensor([[-1.5, 0.0], [0.0, 0.0], [1.5, 0.0]]) * (2 / 3) ** 0.5
    assert_close(WhitenPca().fit(table)(table), expected, rtol=1e-4, atol=1e-3)


def test_a_small_deviation_beside_a_large_mean_is_no_constant():
    table = torch.tensor([[1000.0], [1000.5]] * 100)
    assert_close(Standardize().fit(table)(table), torch.tensor([[-1.0], [1.0]] * 100))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", ALL)
def test_statistics_taken_in_chunks_are_those_of_the_whole(option, kind, monkeypatch):
    train = torch.from_numpy(samples(kind, 301, 0))
    whole = technique(option).fit(train)(train)
    monkeypatch.setattr("trainer.base.statistics.CHUNK", 100)
    # float64 sums in another order, then float32.
    assert_close(technique(option).fit(train)(train), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("option", ALL)
def test_a_split_may_be_a_map_of_a_file(option, tmp_path):
    images = samples("uint8", 300, 0)
    images.tofile(tmp_path / "images")
    mapped = torch.from_file(str(tmp_path / "images"), size=images.size, dtype=torch.uint8).view(images.shape)
    expected = technique(option).fit(torch.from_numpy(images))(torch.from_numpy(images))
    assert torch.equal(technique(option).fit(mapped)(mapped), expected)


def test_identity_scales_uint8_and_keeps_floats():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert Identity().fit(torch.empty(0))(pixels).tolist() == pytest.approx([0, 0.2, 1])
    floats = torch.tensor([0.3, -2.0])
    assert torch.equal(Identity().fit(floats)(floats), floats)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", ALL)
def test_the_input_is_not_overwritten_and_a_split_may_be_empty(option, kind):
    images = torch.from_numpy(samples(kind, 30, 0))
    before = images.clone()
    fitted = technique(option).fit(images)
    fitted.invert(fitted(images))
    assert torch.equal(images, before)
    assert fitted(images[:0]).shape == (0, *fitted(images).shape[1:])


def test_components_of_images_are_a_table_once_some_are_left_out():
    images = torch.from_numpy(samples("uint8", 30, 0))
    shapes = [tuple(Pca(components=k).fit(images)(images[:7]).shape) for k in (None, 24, 5)]
    assert shapes == [(7, 3, 4, 2), (7, 24), (7, 5)]


def test_height_and_weight_count_the_same_once_standardised():
    """A least-squares fit's curvature, X^T X / N, is [[1, r], [r, 1]] then, of condition (1 + r) / (1 - r)."""
    draws = np.random.default_rng(0)
    height = draws.normal(1.7, 0.1, 500)
    table = np.stack([height, draws.normal(70 + 60 * (height - 1.7), 10)], 1)
    r = np.corrcoef(table.T)[0, 1]
    ours = Standardize().fit(torch.from_numpy(table))(torch.from_numpy(table)).double().numpy()
    assert np.linalg.cond(ours.T @ ours) == pytest.approx((1 + r) / (1 - r), rel=1e-4)  # float32
    assert np.linalg.cond(table.T @ table) > 1e4


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: MinMax(low=0.5), r"low must be in \[-1, 0\], got 0.5"),
        (lambda: MinMax(high=0.0), r"high must be in \(0, 1\], got 0.0"),
        (lambda: Pca(components=0), "components must be >= 1, got 0"),
        (lambda: WhitenPca(eps=-1e-9), "eps must be >= 0, got -1e-09"),
        (lambda: WhitenZca(eps=-1.0), "eps must be >= 0, got -1.0"),
        (
            lambda: Pca(components=4).fit(torch.zeros(5, 3)),
            "components must be <= 3, the features of the data, got 4",
        ),
        (
            lambda: Pca().fit(torch.zeros(2, 3, 64, 64)),
            "takes 10000 features at most, the data has 12288; try preprocess=channel_stand",
        ),
        (lambda: WhitenPca().fit(torch.zeros(2, 3, 64, 64)), "takes 10000 features at most"),
        (lambda: WhitenZca().fit(torch.zeros(2, 3, 64, 64)), "takes 10000 features at most"),
    ],
)
def test_values_out_of_range_are_refused(use, message):
    with pytest.raises(ValueError, match=message):
        use()


@pytest.mark.parametrize("make", [WhitenPca, WhitenZca])
def test_whitening_without_eps_is_exact_where_the_data_vary_in_every_direction(make):
    mixing = np.array([[3.0, 1, 0, 0], [0, 0.5, 2, 0], [0, 0, 0.2, 1], [0, 0, 0, 0.3]])
    table = torch.from_numpy(np.random.default_rng(0).standard_normal((500, 4)) @ mixing)
    values = make(eps=0.0).fit(table)(table).double().numpy()
    # Deviations are some 50 times apart, float32's rounding 1e-7 of the largest.
    np.testing.assert_allclose(np.cov(values.T, bias=True), np.eye(4), atol=1e-4)


@pytest.mark.parametrize("make", [WhitenPca, WhitenZca])
def test_whitening_without_eps_names_directions_in_which_the_data_do_not_vary(make):
    table = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    table = torch.cat([table, table[:, :1] + table[:, 1:2], torch.ones(50, 1)], 1)
    with pytest.raises(ValueError, match="eps=0: .* do not vary in 2 of 5 directions, .*; try preprocess.eps=1e-5"):
        make(eps=0.0).fit(table)
