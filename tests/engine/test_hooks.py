"""Hooks of optimizers, samplers and regularisers into the training loop and the build."""

import pytest
import torch
from augmenting import Drift
from torch import nn

from trainer.base.layer_factory import LayerFactory
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.run import Slots
from trainer.norm import Identity

WORDS = (
    "model=mlp",
    "model.hidden=[16]",
    "epochs=2",
    "sampler=sequential",
    "threads=1",
    "optimizer=sgd",
    "sched=constant",
)


class Recorder(torch.optim.SGD):
    """SGD that records its calls."""

    def __init__(self, weights, lr):
        super().__init__(weights, lr)
        self.said = []

    def step(self, closure):
        self.said.append("step")
        return super().step(closure)

    def eval(self):
        self.said.append("eval")

    def train(self):
        self.said.append("train")


def rated(optimizer):
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    return optimizer


def test_an_optimizer_with_a_point_of_evaluation_is_there_while_it_is_scored(fitted, composed):
    model = build_run(composed(*WORDS)).model
    optimizer = rated(Recorder(model.parameters(), lr=0.1))
    run, _ = fitted(*WORDS, "eval_every=10st", model=model, forward=model, optimizer=optimizer)
    assert optimizer.said == [*["step"] * 10, "eval", "train"] * 4
    with run.evaluation_model() as scored:
        assert optimizer.said[-1] == "eval" and scored is model
    assert optimizer.said[-1] == "train"


def test_an_optimizer_that_watches_the_model_gets_it_once_as_it_is_built(package, composed):
    name = package(
        """import torch

class Watching(torch.optim.SGD):
    def watch(self, model):
        self.watched = [*getattr(self, "watched", []), model]
"""
    )
    allowing = Invocation(overrides=(f"allow=[{name}]",))
    run = build_run(composed(*WORDS, f"optimizer._target_={name}.Watching"), allowing)
    assert len(run.optimizer.watched) == 1 and run.optimizer.watched[0] is run.model


@pytest.mark.filterwarnings(
    "ignore:Using backward:UserWarning"
)  # torch says it once in a process, whichever test comes first
def test_an_optimizer_that_asks_for_the_graph_can_differentiate_the_gradient(fitted, composed):
    class Curvature(torch.optim.SGD):
        create_graph = True
        products = []

        def step(self, closure):
            closure()
            weight = self.param_groups[0]["params"][0]
            (product,) = torch.autograd.grad(weight.grad.sum(), weight)
            self.products.append(product.abs().sum().item())
            for weight in self.param_groups[0]["params"]:
                weight.grad = weight.grad.detach()  # lets go of the graph
            super().step()

    model = build_run(composed(*WORDS)).model
    fitted(*WORDS, model=model, forward=model, optimizer=rated(Curvature(model.parameters(), lr=0.1)))
    assert len(Curvature.products) == 40 and all(product > 0 for product in Curvature.products)


def test_a_weights_edit_may_look_before_the_step(fitted):
    seen = []

    class Watching:
        def before(self, model, optimizer, now):
            seen.append(("before", now.step, now.lr, model[1].weight.detach().clone()))

        def __call__(self, model, optimizer, now):
            seen.append(("after", now.step, now.lr, model[1].weight.detach().clone()))

    fitted(*WORDS, slots=Slots(weights=[Watching()]))
    assert [(when, step) for when, step, _, _ in seen] == [
        (when, step) for step in range(40) for when in ("before", "after")
    ]
    assert all(not torch.equal(a[3], b[3]) for a, b in zip(seen[::2], seen[1::2]))  # the step lies between
    assert all(torch.equal(a[3], b[3]) for a, b in zip(seen[1::2], seen[2::2]))
    assert {rate for _, _, rate, _ in seen} == {0.1}


def test_of_a_sample_that_comes_twice_in_a_batch_the_larger_loss_is_kept(fitted):
    class Twice:
        uses_losses = True

        def __call__(self, epoch, targets, losses, rng):
            return torch.zeros(len(losses), dtype=torch.long)

    def grow(images, targets, rng):  # the same sample, looked at with ever wronger targets
        return images, targets * torch.arange(1.0, len(targets) + 1).unsqueeze(1)

    run, _ = fitted(*WORDS, "epochs=1", "optimizer.lr=1e-30", "batch_size=full", sampler=Twice(), aug=[grow])
    with torch.no_grad():
        one = -(run.model(run.train.images[:1]).log_softmax(1) * run.train.targets[:1]).sum()
    torch.testing.assert_close(run.progress.losses[0], one * len(run.train), rtol=1e-5, atol=0)  # float32


@pytest.mark.parametrize("count", [1, 2])
def test_a_warp_gets_the_time_of_every_step_alone_and_fused_with_its_neighbours(fitted, count):
    drifts = [Drift() for _ in range(count)]
    fitted(*WORDS, aug=drifts)
    assert [drift.steps for drift in drifts] == [list(range(40))] * count


@pytest.mark.parametrize("asks", [True, False])
def test_a_sampler_with_uses_losses_gets_the_last_loss_of_each_sample(fitted, asks):
    received = []

    class Asking:
        uses_losses = asks

        def __call__(self, epoch, targets, losses, rng):
            received.append((targets.clone(), losses.clone()))
            return len(losses) - 100 + torch.arange(len(losses)) % 100  # the last hundred, again and again

    run, _ = fitted(*WORDS, "optimizer.lr=1e-30", sampler=Asking())
    with torch.no_grad():
        losses = -(run.model(run.train.images).log_softmax(1) * run.train.targets).sum(1)
    assert torch.equal(received[0][0], run.train.targets)
    assert received[0][1].count_nonzero() == 0
    if asks:
        torch.testing.assert_close(received[1][1][-100:], losses[-100:])  # only these were seen
        assert received[1][1][:-100].count_nonzero() == 0
    else:
        assert received[1][1].count_nonzero() == 0


def test_weights_that_decay_and_others_are_two_groups(composed):
    run = build_run(composed("model=cnn", "norm=batch", "act=prelu", "optimizer=adamw"))
    decaying, others = run.optimizer.param_groups
    assert [weight.dim() for weight in decaying["params"]] == [4, 4, 4, 2]
    assert {weight.dim() for weight in others["params"]} == {1} and len(
        others["params"]
    ) == 3 * 3 + 1  # gamma, beta, slope; the head's bias
    assert decaying["weight_decay"] == 0.01 and others["weight_decay"] == 0.0


def test_the_linear_scaling_rule(composed):
    base = ("model=linear", "optimizer=sgd", "optimizer.lr=0.1")
    assert build_run(composed(*base, "batch_size=64")).optimizer.param_groups[0]["base_lr"] == 0.1
    scaled = build_run(composed(*base, "batch_size=64", "accumulate=2", "scale_lr=linear", "base_batch=32"))
    assert [group["base_lr"] for group in scaled.optimizer.param_groups] == pytest.approx(
        [0.4]
    )  # Goyal et al.: lr 128 / 32


def test_an_option_that_holds_another_is_given_the_means_to_make_it(composed):
    run = build_run(
        composed("model=linear", "optimizer=lookahead", "optimizer@optimizer.base=adam", "optimizer.base.lr=0.003")
    )
    assert run.optimizer.param_groups[0]["betas"] == [0.9, 0.999] or run.optimizer.param_groups[0]["betas"] == (
        0.9,
        0.999,
    )
    assert run.optimizer.param_groups[0]["base_lr"] == 0.003


def test_map_dropout_follows_convolutions_and_nothing_else():
    class DropMaps(nn.Module):
        on_maps = True

    kit = LayerFactory(act=nn.ReLU, norm=Identity(), pool=lambda: nn.MaxPool2d(2, 2), drops=[nn.Dropout, DropMaps])
    kinds = lambda block: [type(part) for part in block]  # noqa: E731
    assert kinds(kit.conv(2, 3)) == [nn.Conv2d, nn.ReLU, DropMaps]
    assert kinds(kit.conv(2, 3, act=False)) == [nn.Conv2d]
    assert kinds(kit.dense(2, 3)) == [nn.Linear, nn.ReLU, nn.Dropout]
    assert kinds(kit.drop()) == [nn.Dropout] and kinds(kit.drop_maps()) == [DropMaps]
