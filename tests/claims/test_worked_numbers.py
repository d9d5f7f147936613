"""Numbers that the lectures work out, each computed by the project's own code."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from trainer.base.clock import Clock
from trainer.base.layers import fans
from trainer.claims.backprop import network_3_3_2
from trainer.claims.claim import Option, kit, path_of
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run, make_optimizer
from trainer.engine.lengths import make_clock
from trainer.init.variance_scaling import FanInUniform, HeNormal, LecunNormal, XavierNormal
from trainer.norm import Batch


def rate_at(option, epoch, per_epoch=20, epochs=120, base=0.1, **fields):
    """Return the learning rate of a schedule at the beginning of an epoch."""
    sched = Option("sched", option)(**fields)
    return base * sched(Clock(epochs * per_epoch, per_epoch).at(epoch * per_epoch))


def first_step(option, gradient=3.0, lr=1.0, **fields):
    """Return the size of an optimizer's first step, as a multiple of the learning rate."""
    start = torch.zeros(1, dtype=torch.float64)
    path = path_of(partial(Option("optimizer", option), lr=lr, **fields), start, lambda w: (gradient * w).sum(), 1)
    return abs(float(path[1])) / lr


def deviation(init, inputs, outputs=2000):
    """Return the deviation of the weights that an initialiser draws."""
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs, bias=False)
    init(nn.Sequential(layer), None, None, nn.Tanh)
    return float(layer.weight.detach().std())


# Losses


@pytest.mark.parametrize(("classes", "loss"), [(10, 2.3026), (2, 0.6931), (100, 4.6052), (1000, 6.9078)])
def test_the_loss_of_a_random_guess_is_the_logarithm_of_the_number_of_classes(classes, loss):
    found = Option("loss", "cross_entropy")()(torch.zeros(1, classes), torch.eye(classes)[:1])
    assert float(found) == pytest.approx(loss, abs=5e-5)


def test_smoothed_labels_of_ten_classes_are_091_and_001():
    _, smoothed = Option("reg", "label_smoothing")(alpha=0.1)(None, torch.eye(10)[:1], torch.Generator())
    assert smoothed[0].tolist() == pytest.approx([0.91, *[0.01] * 9])


@pytest.mark.parametrize("fraction", [0.7, 0.4])
def test_the_loss_of_a_cat_of_seven_tenths_is_that_of_both_labels_in_proportion(fraction):
    loss, outputs, labels = Option("loss", "cross_entropy")(), torch.tensor([[0.3, -1.2]]), torch.eye(2)
    mixed = loss(outputs, fraction * labels[:1] + (1 - fraction) * labels[1:])
    # log(1 + e^-1.5) = 0.2014, and 1.5 more for the other label.
    assert float(mixed) == pytest.approx(fraction * 0.2014 + (1 - fraction) * 1.7014, abs=1e-4)


# Activations


@pytest.mark.parametrize(
    ("act", "x", "value", "slope"),
    [
        ("sigmoid", 0.0, 0.5, 0.25),
        ("sigmoid", 10.0, 0.99995, 4.54e-5),
        ("sigmoid", -10.0, 4.54e-5, 4.54e-5),
        ("tanh", 0.0, 0.0, 1.0),
        ("tanh", 10.0, 1.0, 8.24e-9),
        ("relu", 10.0, 10.0, 1.0),
        ("relu", -10.0, 0.0, 0.0),
        ("swish", 0.0, 0.0, 0.5),
        ("leaky_relu", -10.0, -0.1, 0.01),
        ("elu", -10.0, -0.99995, 4.54e-5),
        ("selu", 1.0, 1.0507, 1.0507),
        ("selu", -30.0, -1.0507 * 1.6733, 0.0),
    ],
)
def test_values_and_slopes_at_minus_10_at_0_and_at_10(act, x, value, slope):
    at = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    found = Option("act", act)()(at)
    (derivative,) = torch.autograd.grad(found.sum(), at)
    assert float(found.detach()) == pytest.approx(value, rel=1e-4)
    assert float(derivative) == pytest.approx(slope, rel=1e-3, abs=1e-12)


def test_prelu_with_a_slope_above_one_is_not_the_maximum():
    """max(a x, x) would be x at x = -1 for a = 2."""
    assert Option("act", "prelu")(init=2.0)(torch.tensor([-1.0])).item() == -2.0


# Networks and their weights


def test_the_network_of_3_3_2_units_has_20_parameters():
    assert [weight.numel() for weight in network_3_3_2().parameters()] == [9, 3, 6, 2]


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(nn.Linear(784, 10), 784), (nn.Conv2d(3, 96, 11), 363), (nn.Conv2d(64, 64, 3), 576)],
)
def test_the_fan_in_of_a_convolution_is_its_kernels_area_times_its_channels(layer, fan_in):
    assert fans(layer)[0] == fan_in


@pytest.mark.parametrize(
    ("init", "inputs", "outputs", "std"),
    [
        (LecunNormal(), 784, 2000, 0.0357),  # 1 / sqrt(784), where the variance 1 / sqrt(784) would give 0.189
        (LecunNormal(), 4096, 1000, 0.015625),
        (HeNormal(), 784, 2000, 0.0505),
        (HeNormal(), 4096, 1000, 0.0221),
        (XavierNormal(), 784, 1216, 0.0316),  # sqrt(2 / 2000)
        (Option("init", "xavier_uniform")(), 784, 1216, 0.0316),  # r / sqrt(3), r = sqrt(6 / 2000)
        (Option("init", "small_normal")(), 784, 2000, 0.01),
        (Option("init", "large_normal")(), 784, 2000, 0.05),
    ],
    ids=str,
)
def test_deviations_of_initial_weights(init, inputs, outputs, std):
    # The deviation of 800,000 draws and more is off by 1 / sqrt(2 * 800,000), five of which are 0.4 %.
    assert deviation(init, inputs, outputs) == pytest.approx(std, rel=6e-3)


def test_the_printed_xavier_of_784_inputs_would_be_five_times_as_wide():
    assert 784**-0.25 / deviation(LecunNormal(), 784) == pytest.approx(5.3, abs=0.03)


def test_uniform_within_one_over_the_root_of_the_fan_in_shrinks_by_the_root_of_3():
    assert deviation(FanInUniform(), 784) * math.sqrt(3 * 784) == pytest.approx(1, rel=6e-3)
    torch.manual_seed(0)
    x, layer = torch.randn(16, 2048), nn.Linear(2048, 2048, bias=False)
    FanInUniform()(nn.Sequential(layer), None, None, nn.Identity)
    assert (layer(x).std() / x.std()).item() == pytest.approx(1 / math.sqrt(3), rel=0.03)


def test_a_layer_of_4096_units_has_2_to_the_4096_masks_about_10_to_the_1233():
    """The masks of n units are 2^n, counted for n up to 6."""
    torch.manual_seed(0)
    dropout = Option("reg", "dropout")().train()
    counts = [len(torch.unique(dropout(torch.ones(4096, units)), dim=0)) for units in range(1, 7)]
    assert counts == [2, 4, 8, 16, 32, 64]
    assert 4096 * math.log10(counts[0]) == pytest.approx(1233.02, abs=0.005)


def test_batch_norm_has_two_parameters_a_channel_and_forgets_its_start_by_a_tenth_a_step():
    norm = Batch()(8).train()
    assert [tuple(weight.shape) for weight in norm.parameters()] == [(8,), (8,)]
    norm.running_mean.fill_(1)
    for _ in range(20):
        norm(torch.zeros(32, 8))
    assert norm.running_mean[0].item() == pytest.approx(0.1216, abs=5e-5)  # 0.9^20


def test_the_running_averages_tend_to_the_statistics_of_the_data_set():
    torch.manual_seed(0)
    norm, data = Batch(momentum=0.01)(1).train(), 2 + 3 * torch.randn(4096, 1)
    batches = []
    for _ in range(1500):
        batches.append(data[torch.randint(4096, (16,))])
        norm(batches[-1])
    # An average over about 200 batches of 16: deviation 3 / sqrt(3200) = 0.05; a single batch's is 0.75.
    assert norm.running_mean.item() == pytest.approx(data.mean().item(), abs=0.25)
    assert norm.running_var.item() == pytest.approx(data.var().item(), rel=0.13)
    assert max(abs(batch.mean() - data.mean()) for batch in batches) > 1


# Optimizers


@pytest.mark.parametrize(
    ("option", "fields", "multiple"),
    [
        ("adam", {}, 1.0),
        ("adam_uncorrected", {}, 3.1623),  # 0.1 / sqrt(0.001)
        ("rmsprop", {"alpha": 0.9}, 3.1623),  # 1 / sqrt(1 - 0.9)
        ("adagrad", {}, 1.0),
        ("sgd", {}, 3.0),  # the gradient itself
    ],
)
def test_first_steps_in_learning_rates(option, fields, multiple):
    assert first_step(option, **fields) == pytest.approx(multiple, rel=1e-4)


@pytest.mark.parametrize(("option", "eps"), [("adam", 1e-8), ("adam_uncorrected", 1e-7), ("rmsprop", 1e-7)])
def test_eps_stands_outside_of_the_root(option, eps):
    """A root of the size of eps halves the step; with eps inside the root the factor would be 1 / sqrt(2)."""
    large = first_step(option)
    root = {"adam": 1.0, "adam_uncorrected": math.sqrt(0.001), "rmsprop": math.sqrt(0.1)}[option]
    assert first_step(option, gradient=eps / root) / large == pytest.approx(0.5, rel=1e-4)


def test_adam_descends_from_its_first_step_on_and_keeps_its_means_uncorrected():
    """The lecture's v = a v - (1 - a) g with the step -lr v / (eps + sqrt(r)) would climb."""
    weight = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    optimizer, gradients = Option("optimizer", "adam")([weight], lr=0.1), []
    for step in range(1, 4):
        before = weight.item()
        weight.grad = 2 * weight.detach()
        gradients.append(weight.grad.item())
        optimizer.step()
        assert weight.item() < before
        state = optimizer.state[weight]
        mean = sum(0.1 * 0.9 ** (step - 1 - age) * gradient for age, gradient in enumerate(gradients))
        assert float(state["step"]) == step and state["exp_avg"].item() == pytest.approx(mean)


def test_the_third_step_of_momentum_is_minus_081_g1_minus_09_g2_minus_g3():
    gradients = iter(torch.eye(3, dtype=torch.float64))
    momentum = partial(Option("optimizer", "momentum"), lr=1.0, momentum=0.9)
    path = path_of(momentum, torch.zeros(3, dtype=torch.float64), lambda w: (next(gradients) * w).sum(), 3)
    assert (path[3] - path[2]).tolist() == pytest.approx([-0.81, -0.9, -1.0])


def test_annealed_momentum_rises_from_a_half_to_09():
    weight = torch.zeros(1, requires_grad=True)
    optimizer, found = Option("optimizer", "momentum")([weight], anneal=1, momentum=0.9), []
    for _ in range(6):
        weight.grad = torch.ones(1)
        optimizer.step(lambda: torch.zeros(()))
        found.append(optimizer.param_groups[0]["momentum"])
    assert found == pytest.approx([0.5, 0.75, 5 / 6, 7 / 8, 0.9, 0.9])


# Schedules and batches


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.1), (29, 0.1), (30, 0.01), (60, 1e-3), (90, 1e-4)])
def test_resnets_rate_falls_by_ten_at_30_60_and_90_epochs(epoch, rate):
    assert rate_at("multistep", epoch, milestones=["30ep", "60ep", "90ep"]) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("option", "fields", "rate"),
    [
        ("cosine", {}, 0.05),
        ("linear", {}, 0.05),
        ("inverse", {"rate": 1 / 60}, 0.05),
        ("exponential", {"rate": math.log(2) / 60}, 0.05),
        ("inverse_sqrt", {"length": "1st"}, 0.1 / math.sqrt(60 * 20 + 1)),
        ("power", {"exponent": 1.0}, 0.1 / 61),
        ("polynomial", {"power": 2.0}, 0.025),
    ],
)
def test_rates_in_the_middle_of_a_run_of_120_epochs(option, fields, rate):
    assert rate_at(option, 60, **fields) == pytest.approx(rate)


def test_a_warm_up_of_5000_steps_is_half_way_after_2500():
    warmed = Option("warmup", "linear")(length="5000st")(Option("sched", "constant")())
    assert [warmed(Clock(90_000, 450).at(step)) for step in (2499, 4999, 5000)] == [0.5, 1.0, 1.0]


@pytest.mark.parametrize(("samples", "batch", "steps"), [(50_000, 128, 391), (60_000, 64, 938), (10, 10, 1)])
def test_an_epoch_has_n_over_b_steps_rounded_up(samples, batch, steps, composed):
    cfg = composed(f"batch_size={batch}", "epochs=3")
    invocation = Invocation(overrides=(f"batch_size={batch}",))
    assert make_clock(cfg, samples, invocation) == Clock(total_steps=3 * steps, steps_per_epoch=steps)


def test_twice_the_batch_has_twice_the_rate(composed):
    cfg, net = composed("scale_lr=linear", "base_batch=256", "optimizer=sgd", "optimizer.lr=0.1"), nn.Linear(2, 2)
    rates = [make_optimizer(cfg, net, size, Invocation()).param_groups[0]["lr"] for size in (256, 512, 8192)]
    assert rates == pytest.approx([0.1, 0.2, 3.2])


# Regularisation and test time


def test_one_step_shrinks_a_weight_by_lr_lambda():
    """1 - 0.1 * 0.5 with the factor 1/2 in the penalty; without it the lecture's 1 - 2 lr lambda."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    Option("reg", "l2")(strength=0.5)(model, None, None, None).backward()
    Option("optimizer", "sgd")(model.parameters(), lr=0.1).step()
    assert model.weight.item() == pytest.approx(0.95)


@pytest.mark.parametrize("option", ["l1", "l2", "elastic_net"])
def test_penalties_have_the_strength_of_a_mean_loss(option):
    assert Option("reg", option)().strength == 1e-4


def test_five_scales_of_ten_crops_are_50_views():
    tta = Option("tta", "multi_scale")(scales=[size / 224 for size in (224, 256, 384, 480, 640)], places="five")
    assert len(tta(nn.Flatten(), torch.zeros(1, 3, 14, 14))) == 50


def test_the_first_loss_of_the_default_run_is_near_the_logarithm_of_10(composed):
    run = build_run(composed("threads=1", "device=cpu", "init.head=0"))
    images, targets = run.train.batch(torch.arange(64))
    assert float(run.criterion(run.model(images), targets).mean()) == pytest.approx(2.3026, abs=5e-5)


def test_the_condition_number_of_a_bowl_is_the_ratio_of_its_curvatures():
    """The largest stable rate is 2 / l: at 2.01 / l gradient descent climbs, at 1.99 / l it falls."""
    curvature = torch.tensor([1.0, 100.0], dtype=torch.float64)
    sizes = []
    for rate in (0.0199, 0.0201):
        gd = partial(Option("optimizer", "gd"), lr=rate)
        path = path_of(gd, torch.ones(2, dtype=torch.float64), lambda w: (curvature * w * w).sum() / 2, 200)
        sizes.append(float(path[-1, 1].abs()))
    assert sizes[0] < 0.5 and sizes[1] > 2


def test_maxout_doubles_the_parameters_of_a_layer():
    models = [Option("model", "mlp")((8,), 3, kit(Option("act", act)), hidden=[16]) for act in ("relu", "maxout")]
    assert [sum(weight.numel() for weight in model[1].parameters()) for model in models] == [144, 288]
