"""Test-time views against explicit loops and averages in NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import expit, logit, softmax
from torch import nn
from torch.testing import assert_close
from torchvision import ops

from trainer.base.layers import Residual
from trainer.engine.build import build_run
from trainer.loss import BinaryCrossEntropy, CrossEntropy, Hinge, MeanSquaredError
from trainer.pool import Fractional as FractionalPool
from trainer.reg.dropconnect import DropConnect
from trainer.reg.dropout import ScaledDropout, SpatialDropout
from trainer.reg.stochastic_depth import StochasticDepth
from trainer.tta import Flip, Fractional, Identity, McDropout, MultiScale, TenCrop, average

CRITERIA = [CrossEntropy(), BinaryCrossEntropy(), MeanSquaredError(), MeanSquaredError(reduction="sum"), Hinge()]


def images(count=4, channels=2, height=6, width=9, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, channels, height, width))
    return torch.from_numpy(values.astype(np.float32))


class Pixels(nn.Module):
    """Return the pixels as outputs, so that views can be read off them."""

    def forward(self, x):
        return x.flatten(1)


def views_of(technique, batch):
    """Return the views (V, B, C, H, W) that a technique shows a model."""
    return technique(Pixels(), batch).view(-1, *batch.shape).numpy()


def net(*drops):
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), *drops, nn.Linear(112, 3)]
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("views", [2, 7])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_average_is_that_of_what_the_criterion_takes_outputs_for(criterion, views):
    outputs = np.random.default_rng(views).normal(0, 3, (views, 5, 4))
    ours = average(torch.from_numpy(outputs), criterion).numpy()
    if isinstance(criterion, CrossEntropy):
        expected = np.log(np.mean([softmax(view, axis=1) for view in outputs], 0))
    elif isinstance(criterion, BinaryCrossEntropy):
        expected = logit(np.mean([expit(view) for view in outputs], 0))
    else:
        expected = sum(outputs) / views
    assert_close(ours, expected, rtol=1e-9, atol=1e-9)  # float64


@pytest.mark.parametrize("criterion", [*CRITERIA, lambda outputs, targets: (outputs - targets).abs().sum(1)])
def test_views_that_are_alike_have_the_loss_of_one_of_them(criterion):
    outputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    targets = torch.eye(4)[[0, 1, 2, 3, 0, 1]].double()
    three = average(outputs.expand(3, 6, 4), criterion)
    assert_close(criterion(three, targets), criterion(outputs, targets), rtol=1e-10, atol=1e-10)  # float64


@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "mse", "hinge"])
def test_a_run_on_mirror_symmetric_images_has_one_test_loss_with_and_without_views(loss, composed):
    run = build_run(composed(f"loss={loss}", "tta=flip", "model=linear", "preprocess=none", "threads=1"))
    run.test.images.copy_(run.test.images // 2 + run.test.images.flip(3) // 2)
    plain, flipped = (run.evaluate(run.model, run.test, views)["loss"] for views in (None, run.tta))
    assert flipped == pytest.approx(plain, rel=1e-5)  # float32


def test_the_average_of_extreme_outputs_is_finite_and_exact():
    """Two views of certainty: (1, 0) and (0, 1) make 1/2 each; e^-1000 is 0 to any float."""
    certain = average(torch.tensor([[[1000.0, 0.0]], [[0.0, 1000.0]]]), CrossEntropy())
    assert_close(certain, torch.full((1, 2), 0.5).log())
    (alike,) = average(torch.tensor([[[1000.0, 0.0]], [[800.0, 0.0]]]), CrossEntropy()).tolist()
    assert alike == [0.0, pytest.approx(-800 + np.log(0.5), rel=1e-6)]
    opposite = average(torch.tensor([[[500.0]], [[-500.0]]]), BinaryCrossEntropy())
    assert opposite.item() == pytest.approx(0, abs=1e-4)  # 500 - 500 in float32
    both = average(torch.tensor([[[500.0]], [[400.0]]]), BinaryCrossEntropy())
    assert both.item() == pytest.approx(400 + np.log(2), rel=1e-6)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_single_view_leaves_outputs_as_they_are_bit_for_bit(criterion):
    model, batch = net(), images()
    outputs = Identity()(model, batch)
    assert outputs.shape == (1, 4, 3) and torch.equal(average(outputs, criterion), model(batch))


def test_flip_shows_each_image_and_its_mirror_image():
    batch = images()
    assert np.array_equal(views_of(Flip(), batch), np.stack([batch.numpy(), batch.numpy()[..., ::-1]]))


@pytest.mark.parametrize("technique", [Flip, TenCrop, MultiScale])
def test_images_of_which_the_model_is_sure_are_shown_as_they_are_alone(technique):
    model, batch = net(), images(9)
    plain, all_views = model(batch).detach().numpy(), technique()(model, batch).detach().numpy()
    below = float(np.median(softmax(plain, axis=1).max(1)))  # four are below it
    found = technique(below=below)(model, batch).detach().numpy()
    sure = softmax(plain, axis=1).max(1) >= below
    assert sure.sum() == 5 and found.shape == all_views.shape
    for view, of_all in zip(found, all_views):
        assert_close(view[sure], plain[sure])
        assert_close(view[~sure], of_all[~sure], rtol=1e-5, atol=1e-6)  # another batch
    calls = []
    model.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    technique(below=below)(model, batch)
    assert calls == [9, *[4] * len(all_views)]
    assert technique(below=1e-9)(model, batch).shape == (1, *plain.shape)


def test_a_single_output_has_no_sure_class():
    with pytest.raises(ValueError, match=r"below=0\.9: needs an output for each class, and the model has one"):
        Flip(below=0.9)(lambda batch: batch.flatten(1)[:, :1], images())
    with pytest.raises(ValueError, match="below"):
        Flip(below=0.0)


@pytest.mark.parametrize(
    ("size", "ratio", "borders"),
    [((6, 9), 0.875, (1, 1)), ((8, 8), 0.5, (4, 4)), ((32, 28), 0.875, (2, 2)), ((1, 40), 0.8, (1, 5))],
)
def test_ten_crop_cuts_corners_and_centre_of_the_padded_image(size, ratio, borders):
    """A border makes side / ratio of the side: (32 / 0.875 - 32) / 2 = 2.29, so 2; at least 1."""
    (height, width), (down, across) = size, borders
    batch = images(height=height, width=width)
    padded = np.pad(batch.numpy(), [(0, 0), (0, 0), (down, down), (across, across)])
    places = [(0, 0), (0, 2 * across), (2 * down, 0), (2 * down, 2 * across), (down, across)]
    five = [padded[..., top : top + height, left : left + width] for top, left in places]
    expected = np.stack(five + [view[..., ::-1] for view in five])
    assert np.array_equal(views_of(TenCrop(ratio=ratio), batch), expected)
    assert np.array_equal(expected[4], batch.numpy())


def test_ten_crop_of_large_images_cuts_the_enlarged_image():
    """Beyond 64 pixels: 70 pixels become 80, the 10 more in NumPy's linear interpolation at the pixels' centres."""
    batch = images(2, 1, 70, 70)
    assert np.array_equal(views_of(TenCrop(), batch), views_of(TenCrop(method="resize"), batch))
    centres = (np.arange(80) + 0.5) * 70 / 80 - 0.5
    along = np.stack([np.interp(centres, np.arange(70), row) for row in np.eye(70)], 1)  # (80, 70)
    large = along @ batch.double().numpy() @ along.T
    places = [(0, 0), (0, 10), (10, 0), (10, 10), (5, 5)]
    five = [large[..., top : top + 70, left : left + 70] for top, left in places]
    ours = views_of(TenCrop(), batch)
    assert_close(ours.astype(float), np.stack(five + [view[..., ::-1] for view in five]), rtol=0, atol=1e-5)  # float32
    assert np.array_equal(views_of(TenCrop(method="pad"), batch)[4], batch.numpy())


def test_multi_scale_zooms_in_to_the_centre_and_out_to_a_border():
    """Twice the side of 4 x 8: the middle of 8 x 16. Half: 2 x 4 in a border of zeros.

    The interpolation to half is by a triangle, two pixels of the image wide each way.
    """
    batch = images(3, 2, 4, 8)
    larger, same, smaller = views_of(MultiScale(scales=(2.0, 1.0, 0.5), mirror=False), batch)
    assert np.array_equal(same, batch.numpy())
    assert np.array_equal(larger, F.interpolate(batch, (8, 16), mode="bilinear")[..., 2:6, 4:12].numpy())
    halves = [
        np.clip(1 - abs(np.arange(side) + 0.5 - centre[:, None]) / 2, 0, None)
        for side, centre in ((4, np.array([1, 3])), (8, np.arange(1, 8, 2)))
    ]
    down, across = (half / half.sum(1, keepdims=True) for half in halves)
    expected = np.pad(down @ batch.double().numpy() @ across.T, [(0, 0), (0, 0), (1, 1), (2, 2)])
    assert_close(smaller.astype(float), expected, rtol=0, atol=1e-5)  # float32


def test_multi_scale_takes_places_and_mirror_images_of_every_scale():
    batch, model = images(), net()
    outputs = MultiScale(scales=(1.0, 1.5), places="five")(model, batch)
    large = F.interpolate(batch, (9, 14), mode="bilinear")  # round(13.5) = 14
    five = [large[..., top : top + 6, left : left + 9] for top, left in [(0, 0), (0, 5), (3, 0), (3, 5), (1, 2)]]
    views = [batch] * 5 + five
    expected = torch.stack([model(view) for view in [*views, *(view.flip(3) for view in views)]])
    assert_close(outputs, expected)
    assert len(MultiScale()(model, batch)) == 6
    assert len(MultiScale(scales=(1.0, 1.143, 1.714, 2.143, 2.857), places="five")(model, batch)) == 50


@pytest.mark.parametrize("technique", [Flip(), TenCrop(), MultiScale()])
def test_the_prediction_is_that_of_an_explicit_loop(technique):
    model, batch = net(), images()
    views = [torch.from_numpy(view.copy()) for view in views_of(technique, batch)]
    expected = np.log(np.mean([softmax(model(view).detach().double().numpy(), axis=1) for view in views], 0))
    ours = average(technique(model, batch), CrossEntropy())
    assert_close(ours.detach().double().numpy(), expected, rtol=1e-5, atol=1e-5)  # float32


ALL = [Identity(), Flip(), TenCrop(), MultiScale(scales=(0.25, 3.0)), McDropout(passes=3)]


@pytest.mark.parametrize("technique", ALL)
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (8, 8)])
def test_views_have_the_size_of_the_images_also_of_a_single_one(technique, size):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * size[0] * size[1], 2)).eval()
    outputs = technique(model, images(1, 3, *size))
    assert outputs.shape[1:] == (1, 2) and outputs.isfinite().all()


def test_mc_dropout_draws_a_mask_each_pass_with_the_mean_of_evaluation():
    """A linear layer behind dropout of p = 1/2: mean as in evaluation, variance sum (w x)^2 p / (1 - p)."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 1, bias=False)).eval()
    x = torch.tensor([[0.5, -1.0, 2.0, 0.3, -0.7, 1.1]])
    torch.manual_seed(0)
    with torch.no_grad():
        outputs = McDropout(passes=4000)(model, x).flatten().double()
        variance = (model[1].weight * x).square().sum().double()
        assert abs(outputs.mean() - model(x).item()) < 5 * (variance / 4000) ** 0.5  # five deviations of the mean
        # Five deviations of the variance: less than a normal one's, as bounded draws have thin tails.
        assert abs(outputs.var() / variance - 1) < 5 * (2 / 4000) ** 0.5
    assert len(outputs.unique()) > 40  # of 64 masks


class Halved(nn.Module):
    """A user's module that drops in training and says so."""

    drops_in_training = True

    def forward(self, x):
        return x * torch.randint(0, 2, x.shape) if self.training else x / 2


DROPS = {
    "dropout": lambda: net(nn.Dropout(0.5)),
    "scaled": lambda: net(ScaledDropout(p=0.5)),
    "alpha": lambda: net(nn.AlphaDropout(0.5)),
    "spatial": lambda: nn.Sequential(SpatialDropout(p=0.5), net()).eval(),
    "dropconnect": lambda: DropConnect(p=0.5)(net()).eval(),
    "a module of one's own": lambda: net(Halved()),
    "torchvision's stochastic depth": lambda: net(ops.StochasticDepth(0.5, "row")),
    "torchvision's DropBlock": lambda: nn.Sequential(ops.DropBlock2d(0.3, 3), net()).eval(),
}


@pytest.mark.parametrize("kind", DROPS)
def test_mc_dropout_is_an_explicit_loop_with_only_the_dropping_layers_in_training(kind):
    model, batch = DROPS[kind](), images()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    outputs = McDropout(passes=4)(model, batch)
    assert not any(module.training for module in model.modules())
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    torch.manual_seed(3)
    expected = torch.stack([model(batch) for _ in range(4)])
    assert torch.equal(outputs, expected) and not torch.equal(outputs[0], outputs[1])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    assert torch.equal(Identity()(model, batch), Identity()(model, batch))


def test_mc_dropout_goes_by_the_kind_of_a_layer_not_by_its_name():
    class DropBlock2d(nn.Module):
        def forward(self, x):
            assert not self.training
            return x

    outputs = McDropout(passes=2)(net(DropBlock2d(), nn.Dropout(0.5)), images())
    assert not torch.equal(*outputs)
    with pytest.raises(ValueError, match="no layer that drops anything"):
        McDropout()(net(DropBlock2d()), images())


def test_mc_dropout_drops_residual_branches_and_leaves_their_batch_norms():
    torch.manual_seed(0)
    blocks = [
        Residual(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)), nn.Identity(), nn.ReLU())
        for _ in range(4)
    ]
    model, batch = StochasticDepth(survival=0.2)(nn.Sequential(*blocks, nn.Flatten())).eval(), images()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    outputs = McDropout(passes=6)(model, batch)
    assert not any(module.training for module in model.modules())
    torch.manual_seed(3)
    for view in outputs:
        x = batch
        for depth, block in enumerate(blocks, start=1):
            kept = torch.rand(()) < 1 - depth / 4 * 0.8
            x = block.after(block.branch(x) + x) if kept else block.after(x)
        assert_close(view, x.flatten(1), rtol=1e-5, atol=1e-5)  # float32
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_fractional_is_an_explicit_loop_over_drawn_regions():
    torch.manual_seed(0)
    model = nn.Sequential(FractionalPool(), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 3)).eval()
    batch = images()
    torch.manual_seed(5)
    outputs = Fractional(passes=3)(model, batch)
    assert model[0].draws_in_evaluation is False and not model[0].training
    torch.manual_seed(5)
    expected = []
    for _ in range(3):
        pooled = F.fractional_max_pool2d(batch, 2, (4, 6))  # floor(0.7071 (6, 9))
        expected.append(model[4](model[3](model[1](pooled))))
    assert torch.equal(outputs, torch.stack(expected)) and not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize(("technique", "attribute"), [(McDropout(), "training"), (Fractional(), "draws_in_evaluation")])
def test_an_error_within_the_model_leaves_it_in_evaluation(technique, attribute):
    model = nn.Sequential(FractionalPool(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(5, 3)).eval()
    with pytest.raises(RuntimeError):
        technique(model, images())
    assert not any(getattr(module, attribute, False) is True for module in model.modules())


def test_batch_norms_take_a_single_example():
    """With running statistics a sample's outputs do not depend on the others of its batch."""
    model, batch = net(), images()
    model[1].running_mean.fill_(0.3)
    for technique in (Flip(), TenCrop(), MultiScale()):
        # Sums in another order.
        assert_close(technique(model, batch[:1]), technique(model, batch)[:, :1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("technique", "message"),
    [
        (
            McDropout(),
            "the model has no layer that drops anything; try reg=dropout, reg=dropconnect, reg=stochastic_depth",
        ),
        (Fractional(), "the model has no fractional max pooling; try pool=fractional"),
    ],
)
def test_models_without_random_layers_are_refused(technique, message):
    with pytest.raises(ValueError, match=message):
        technique(net(), images())


@pytest.mark.parametrize("technique", [Flip(), TenCrop(), MultiScale()])
def test_views_of_images_refuse_tables(technique):
    with pytest.raises(ValueError, match=r"needs images \(B, C, H, W\), got a batch of shape \(4, 3\)"):
        technique(nn.Linear(3, 2), torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TenCrop(ratio=1.0), r"ratio must be in \[0.5, 1\), got 1.0"),
        (lambda: TenCrop(method="zoom"), "method must be one of auto, pad, resize, got zoom"),
        (lambda: MultiScale(scales=(1.0, 0.0)), "scales must be > 0, got 0.0"),
        (lambda: MultiScale(scales=()), "scales must name at least one scale"),
        (lambda: MultiScale(places="all"), "places must be one of center, five, got all"),
        (lambda: McDropout(passes=0), "passes must be >= 1, got 0"),
        (lambda: Fractional(passes=0), "passes must be >= 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
