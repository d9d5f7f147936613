"""Network of the speed runs: written out, and the whitened patches of its first layer."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import EXACT, avg_pool, make_kit, scrambled
from torch import nn
from torch.testing import assert_close

from trainer.base.layers import weight_layers
from trainer.engine.build import build_run
from trainer.model.fast_cnn import FastCnn
from trainer.norm import Batch


def test_fast_cnn_is_the_net_written_out():
    """9x12 is 8x11 behind the first layer; the norm follows the pooling, with its running averages."""
    kit = make_kit(Batch(), act=nn.Tanh, pool=avg_pool)
    model = scrambled(FastCnn((2, 9, 12), 4, kit, channels=[3, 5], scale=0.25)).double()
    images, values = torch.rand(3, 2, 9, 12).double(), iter(model.state_dict().values())

    def norm(x):
        gamma, beta, mean, var, _ = (next(values) for _ in range(5))
        return F.batch_norm(x, mean, var, gamma, beta)

    whiten, bias = next(values), next(values)
    x = F.conv2d(images, whiten, bias).tanh()
    for _ in range(2):
        x = norm(F.avg_pool2d(F.conv2d(x, next(values), padding=1), 2)).tanh()
        x = norm(F.conv2d(x, next(values), padding=1)).tanh()
    weight, bias = values
    assert_close(model(images), 0.25 * (x.amax((2, 3)) @ weight.T + bias), **EXACT)


def test_fast_cnn_whitens_patches():
    """On its own patches the outputs' covariance is diag(v / (v + eps)), v the eigenvalues, largest first.

    That is the identity up to eps.
    """
    draws = np.random.default_rng(0)
    images = draws.normal(size=(40, 3, 7, 6)) @ draws.normal(size=(6, 6)) + 3  # correlated rows; a mean that is not 0
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values = np.linalg.eigvalsh(np.cov(patches.T, bias=True))[::-1]
    model = FastCnn((3, 7, 6), 10, make_kit(), channels=[4], eps=0.01).double()
    model.calibrate(torch.from_numpy(images))
    outputs = model.whiten(torch.from_numpy(images)).detach().numpy().transpose(1, 0, 2, 3).reshape(24, -1)
    expected = values / (values + 0.01) * np.array([[1], [-1]])
    covariance = np.cov(outputs, bias=True)
    np.testing.assert_allclose(covariance[:12, :12], np.diag(expected[0]), atol=1e-9)  # a matrix of 12 x 12 in float64
    np.testing.assert_allclose(covariance[:12, 12:], np.diag(expected[1]), atol=1e-9)
    assert not model.whiten.weight.requires_grad and model.whiten.bias.requires_grad and not model.whiten.bias.any()


@pytest.mark.parametrize("overrides", [[], ["reg=[dropconnect]"]])
def test_fast_cnn_is_calibrated_on_training_images_and_keeps_its_filters(overrides, composed):
    """In a run, also with dropped weights: no initialiser reaches the filters, and patches come out white."""
    run = build_run(composed("model=fast_cnn", "model.channels=[8]", "norm=batch", *overrides))
    model = run.model.eval()
    images = run.train.batch(torch.arange(len(run.train)))[0]
    outputs = model.whiten(images).detach().numpy().transpose(1, 0, 2, 3).reshape(8, -1)
    covariance = np.cov(outputs)
    np.testing.assert_allclose(covariance[:4, :4], np.eye(4), atol=0.15)  # calibrated on 256 of the digits
    np.testing.assert_allclose(covariance[:4, 4:], -covariance[:4, :4], atol=1e-4)  # float32
    assert model.whiten not in list(weight_layers(model)) and not model.whiten.bias.any()


def test_the_first_filters_of_fast_cnn_begin_as_dirac_filters():
    model = FastCnn((1, 8, 8), 10, make_kit(Batch()), channels=[4, 12])
    kernels = [module.weight for module in model.layers.modules() if isinstance(module, nn.Conv2d)]
    assert [tuple(kernel.shape[:2]) for kernel in kernels] == [(4, 8), (4, 4), (12, 4), (12, 12)]
    for kernel in kernels:
        images = torch.rand(2, kernel.shape[1], 5, 5)
        same = min(kernel.shape[:2])
        assert torch.equal(F.conv2d(images, kernel, padding=1)[:, :same], images[:, :same])
    # The others hold torch's draw, Uniform(-1/6, 1/6) for a fan-in of 36: 0.096.
    assert 0.08 < kernels[2][4:].std() < 0.11


def test_fast_cnn_needs_a_patch():
    with pytest.raises(ValueError, match="needs images of 2x2 pixels or more"):
        FastCnn((1, 1, 5), 3, make_kit())


@pytest.mark.parametrize("name, peak", [("cifar10_94", 1.9), ("cifar10_96", 1.5)])
def test_the_words_of_the_speed_runs_train_with_their_rates(name, peak, run_in_process, tmp_path):
    """13 steps of 4 images, 3 images left out: the rate rises from a fifth for 3 steps, and falls in a line to 7 %."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (65, 32, 32, 3), dtype=np.uint8), np.arange(65) % 10
    np.savez(tmp_path / "own.npz", x_train=images[:55], y_train=labels[:55], x_test=images[55:], y_test=labels[55:])
    words = ["data=npz", "data.path=own.npz", "batch_size=4", "epochs=1", "model.channels=[4,6,8]", "device=cpu"]
    code, _, errors = run_in_process(f"experiment={name}", *words, "hydra.run.dir=run")
    assert code == 0, errors
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = {row["step"]: row["lr"] for row in rows if row["split"] == "train" and row["step"]}
    rise = {1: 0.2 + 0.8 / 3, 2: 0.2 + 0.8 * 2 / 3, 4: 1, 8: 1, 13: 1}
    assert rates == {step: pytest.approx(peak * (1 - 0.93 * (step - 1) / 13) * rise[step]) for step in rise}
    assert all(np.isfinite(row["loss"]) for row in rows) and {row["split"] for row in rows} == {"train", "test"}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["steps"] == 13
