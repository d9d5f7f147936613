"""Losses of classes in place of one-hot targets: when, and that every number is the same, bit for bit."""

from dataclasses import dataclass, replace

import pytest
import torch

from trainer.engine.build import build_run
from trainer.engine.hard_labels import HardLabels
from trainer.engine.order import batches
from trainer.engine.transforms import Transforms
from trainer.loss import CrossEntropy
from trainer.rundir.checkpoint import weights_digest

SMALL = ("model=mlp", "model.hidden=[16]", "threads=1", "device=cpu", "epochs=2")


@dataclass(frozen=True, kw_only=True)
class OfTargets:
    """Cross-entropy of one-hot targets alone."""

    def __call__(self, outputs, targets):
        return CrossEntropy()(outputs, targets)


def test_losses_and_gradients_of_classes_are_those_of_one_hot_targets():
    rng = torch.Generator().manual_seed(0)
    outputs, labels = 5 * torch.randn(40, 7, generator=rng), torch.randint(0, 7, (40,), generator=rng)
    found = []
    for of in (lambda o: CrossEntropy()(o, torch.eye(7)[labels]), lambda o: CrossEntropy().of_labels(o, labels)):
        own = outputs.clone().requires_grad_()
        losses = of(own)
        losses.backward(torch.full((40,), 1 / 40))
        found.append((losses.detach(), own.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("more", [(), ("accumulate=2",), ("norm=batch", "reg=[dropout,l2]"), ("aug=[translate]",)])
def test_a_run_ends_with_the_same_weights(more, fitted):
    words = (*SMALL, *(("model=cnn", "model.channels=[4]", *SMALL[2:], *more) if "aug" in str(more) else more))
    words = tuple(
        word for word in words if not ("cnn" in str(words) and word.startswith(("model=mlp", "model.hidden")))
    )
    digests = {weights_digest(fitted(*words, **changes)[0].model) for changes in ({}, {"criterion": OfTargets()})}
    assert len(digests) == 1


def criteria(run):
    """Return the criterion of the first batch, behind its transforms, and the indices of its samples."""
    indices, batch = next(batches(run))
    before = [targets for _, targets in batch]
    return HardLabels(run)(indices, before, Transforms(run)(run.clock, batch)), indices


@pytest.mark.parametrize(
    "words, hard",
    [
        ((), True),
        (("aug=[translate]",), True),
        (("aug=[mixup]",), False),
        (("reg=[label_smoothing]",), False),
        (("aug=[mixup]", "reg=[label_smoothing]"), False),
        (("loss=hinge",), False),
        (("data=iris", "preprocess=standardize"), True),
    ],
)
def test_what_softens_the_targets_brings_them_back(words, hard, composed):
    model = ("model=linear",) if "data=iris" in words else ("model=cnn", "model.channels=[4]")
    run = build_run(composed(*model, "threads=1", *words))
    [(criterion, truth)], [indices] = criteria(run)
    if hard:
        assert torch.equal(truth, run.train.targets.argmax(1)[indices]) and criterion == run.criterion.of_labels
    else:
        assert truth.shape == (len(indices), run.data.outputs) and criterion is run.criterion


@pytest.mark.parametrize("words", ["data=diabetes", "data=breast_cancer"])
def test_other_kinds_of_data_have_targets(words, composed):
    run = build_run(composed(words, "model=linear", "threads=1"))
    assert run.labels is None
    [(criterion, truth)], [indices] = criteria(run)
    assert criterion is run.criterion and torch.equal(truth, run.train.targets[indices])


class Doubled(CrossEntropy):
    """A loss of one's own that is made from another one."""

    def __call__(self, outputs, targets):
        return 2 * super().__call__(outputs, targets)


class OwnForm(Doubled):
    def of_labels(self, outputs, labels):
        return 2 * super().of_labels(outputs, labels)


@pytest.mark.parametrize("kind, known", [(CrossEntropy, True), (Doubled, False), (OwnForm, True), (OfTargets, False)])
def test_a_loss_that_replaces_the_call_of_another_one_has_no_form_for_classes_by_inheritance(kind, known, composed):
    run = replace(build_run(composed(*SMALL)), criterion=kind())
    assert (run.labels is not None) == known


def test_targets_changed_in_place_are_not_taken_for_classes(composed):
    def halve(images, targets, rng):
        return images, targets.mul_(0.5)

    run = build_run(composed(*SMALL))
    run = replace(run, slots=replace(run.slots, batch=[halve]))
    [(criterion, truth)], _ = criteria(run)
    assert criterion is run.criterion and truth.sum(1).eq(0.5).all()


def test_soft_targets_of_a_data_set_stay_soft(composed):
    assert build_run(composed(*SMALL)).labels is not None
    run = build_run(composed(*SMALL))
    run.train.targets[3] = 0.1
    assert run.labels is None
