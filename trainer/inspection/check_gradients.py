"""Checks of the gradients: against differences, through the layers, and between the samples of a batch."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainer.base.origin import origin
from trainer.base.rng import seed_default
from trainer.diagnosis.start import EXPLODING, VANISHED, VANISHING
from trainer.inspection.check import Check, Subject, judge, not_applicable
from trainer.inspection.derivatives import Derivative, derivatives_of_modules, describe_error, is_wrong
from trainer.inspection.practice import at_the_start

FEW = 3  # samples on which derivatives are compared
LEAK = 6  # samples among which one must not depend on another
ROUNDING = 1e-3  # of an output, by which other samples may change it: kernels differ by the place in a batch
WITHIN = f"in [{VANISHING:g}, {EXPLODING:g}]"  # gradient norm of the first layer over that of the last


def gradients_against_differences(subject: Subject) -> Check:
    """Check backward passes against central differences in float64: modules that are not torch's own, and losses.

    Layers that drop something draw the same masks in each evaluation.
    """
    wrong, failing, count = {}, {}, 0
    for derivative in derivatives(subject):
        if isinstance(derivative, str):
            failing[derivative] = ""
            continue
        count += 1
        try:
            error = is_wrong(derivative)
        except Exception as raised:
            failing[derivative.name] = describe_error(raised)
            continue
        if error is not None:
            wrong[derivative.name] = error
    detail = f"wrong ones, of {count} modules and losses that are not torch's own (gradcheck in float64)"
    if failing:
        name, why = next(iter(failing.items()))
        detail += f"; not compared: {name} {why}".rstrip()
    if not count:
        return not_applicable(detail if failing else "all modules are torch's own")
    name = max(wrong, key=wrong.__getitem__, default="")
    meaning = f"The gradient of {name} is not the derivative: relative error {wrong.get(name, 0):.2g} in float64."
    advice = "compare its backward pass with its formula; without one of its own, autograd derives it"
    return judge(len(wrong), "<= 0", detail, meaning, advice)


def derivatives(subject: Subject) -> Iterator[Derivative | str]:
    """Yield the derivatives to compare; for what cannot be computed in float64 on the CPU, its description."""
    run = subject.run
    images, targets = (part.cpu() for part in run.train.batch(subject.some(FEW)))
    model = copy_in_float64(subject)
    outputs = torch.randn(targets.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    yield Derivative(
        label(run.criterion), lambda tensors: run.criterion(tensors["outputs"], targets.double()), {"outputs": outputs}
    )
    for penalty in run.slots.loss:
        yield of_penalty(penalty, model, images.double(), outputs, targets.double())
    try:
        yield from derivatives_of_modules(model, images.double())
    except Exception as error:
        yield f"the model in float64 {describe_error(error)}"


def copy_in_float64(subject: Subject) -> nn.Module:
    """Return a copy of the model on the CPU in float64, in training mode, in which dropouts are at work."""
    return subject.copy_model().train().cpu().double()


def label(technique: object) -> str:
    """Return the name of a technique, for messages."""
    return (
        origin(technique).partition(" (")[0] if type(technique).__module__.startswith("trainer") else origin(technique)
    )


class Penalized(nn.Module):
    """A penalty as a module that holds the model, so that its parameters can be replaced."""

    def __init__(self, penalty: object, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        super().__init__()
        self.model = model
        self.penalty = penalty
        self.batch = batch

    def forward(self) -> Tensor:
        return self.penalty(self.model, *self.batch)


def of_penalty(penalty: object, model: nn.Module, images: Tensor, outputs: Tensor, targets: Tensor) -> Derivative:
    """Return the derivative of a penalty by the model's trainable parameters."""
    whole = Penalized(penalty, model, (images, outputs, targets))
    weights = {key: weight.detach() for key, weight in whole.named_parameters() if weight.requires_grad}

    def evaluate(tensors: Mapping[str, Tensor]) -> Tensor:
        return functional_call(whole, {key: tensors[key] for key in weights}, ())

    return Derivative(label(penalty), evaluate, weights)


def gradient_flow(subject: Subject) -> Check:
    """Check that the gradient reaches the first layer: neither vanished nor exploded on its way from the last one."""
    return at_the_start(subject, lambda probe: flow_of(probe, subject))


def flow_of(probe: dict, subject: Subject) -> Check:
    """Return the check of the gradient's way through the layers of a probe."""
    layers, activations = probe["layers"], probe["activations"]
    if len(layers) < 2:
        return not_applicable("the model has fewer than two layers with a weight matrix")
    first, last = layers[0]["grad_norm"], layers[-1]["grad_norm"]
    slopes = math.prod(row["slope"] for row in activations if row["slope"] is not None)
    product = f"; product of the mean |f'| of {len(activations)} activations {slopes:.2g}" if activations else ""
    detail = f"gradient norm of the first layer over that of the last one{product}"
    advice = subject.words("init=auto", "act=relu", "norm=batch")
    if any(row["grad_norm"] is None for row in layers):
        return judge(math.nan, WITHIN, detail, "The gradient is not finite (NaN or Inf).", advice)
    faintest = min(layers, key=lambda row: row["grad_mean"])
    if faintest["grad_mean"] < VANISHED:
        text = f"mean |gradient| of the weights of {faintest['name']}{product}"
        meaning = f"The gradient has vanished in {faintest['name']}: its weights do not learn."
        return judge(faintest["grad_mean"], f">= {VANISHED:g}", text, meaning, advice)
    ratio = first / last
    meaning = "The gradient grows on its way to the first layer: steps that suit the last layer break it."
    if ratio < 1:
        meaning = "The gradient vanishes on its way to the first layer, which learns a thousand times slower."
    return judge(ratio, WITHIN, detail, meaning, advice)


def independent_samples(subject: Subject) -> Check:
    """Check that in evaluation the output for a sample does not depend on the other samples of the batch.

    The gradient of output i with respect to input j is 0 for j != i, and output 0 stays where other samples change.
    """
    model, indices = subject.copy_model().eval(), subject.some(2 * LEAK)
    if len(indices) < 3:
        return not_applicable("there are fewer than three training samples")
    images, _ = subject.run.train.batch(indices[:LEAK])
    others, _ = subject.run.train.batch(indices.flip(0)[: len(images)])
    images = images.detach().clone().requires_grad_()

    def evaluate(batch: Tensor) -> Tensor:
        seed_default(subject.run.device, 0)  # a model that draws in evaluation has a check of its own
        return model(batch).float()

    outputs = evaluate(images)
    leaks = [leaked(row, place, images) for place, row in enumerate(outputs)]
    with torch.no_grad():
        again = evaluate(torch.cat([images[:1], others[1:]]))
        size = (outputs - outputs.mean(0)).abs().max().clamp(min=1e-12)
        change = float((again[0] - outputs[0]).abs().max() / size)
    worst = max(leaks) or (change if change > ROUNDING else 0.0)
    detail = "fraction of an output's gradient, or of the output, that comes from other samples of the batch"
    meaning = "The answer for a sample depends on the others in its batch, also in evaluation."
    advice = "look in the model for a mean, a reshape or a softmax over the batch, dimension 0"
    return judge(worst, "<= 0.001", detail, meaning, advice)


def leaked(output: Tensor, own: int, images: Tensor) -> float:
    """Return the fraction of the gradient of a sample's output by a batch that belongs to other samples than `own`."""
    if not output.requires_grad:
        return 0.0
    (grad,) = torch.autograd.grad(output.sum(), images, retain_graph=True, allow_unused=True)
    if grad is None or not grad.any():
        return 0.0
    sizes = grad.abs().flatten(1).sum(1)
    return float((sizes.sum() - sizes[own]) / sizes.sum())
