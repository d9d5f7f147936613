"""Checks of the data: inputs, preprocessing, and what both make of the first layer's gradients."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.base.layers import weight_of
from trainer.base.rng import seed_default
from trainer.data.image_files import read
from trainer.data.splits import Split
from trainer.engine.build import fit_preprocess
from trainer.inspection.check import Check, Subject, judge, not_applicable, scaled

EFFECT = 256  # samples whose preprocessing is looked at
FEW = 8  # samples that are preprocessed alone and among others
POOLED_VALUES = 2**26  # of all splits together, beyond which they are not averaged
EXACT_MEAN, EXACT_STD = 1e-5, 1e-2  # within which statistics are those that something was fitted to
NOISE, DRAWS = 0.01, 8  # of the first layer's weights: deviation, in that of the weights, and number


def centred_inputs(subject: Subject) -> Check:
    """Check that the inputs have mean 0: a mean apart from it pushes all units of the first layer to one side."""
    images = subject.run.train.batch(subject.some(2048))[0].double()
    dims = (0, *range(2, images.dim()))
    deviation, mean = torch.std_mean(images, dims, correction=0)
    varies = deviation > 1e-9 * mean.abs().clamp(min=1e-3)
    if not varies.any():
        meaning = "No input varies over the training samples, so that there is nothing to learn from."
        return Check(passed=False, detail="all inputs are constant", meaning=meaning, advice="look at the data")
    ratio = float((mean[varies] / deviation[varies]).square().mean().sqrt())
    detail = f"|mean| / deviation; inputs from {images.min():.3g} to {images.max():.3g}"
    if images.dim() == 2 and len(spread := deviation[varies]) > 1:
        detail += f"; the deviation of one feature is {spread.max() / spread.min():.3g} times that of another"
    meaning = "The inputs are not centred: their mean acts like a strong bias, and the first layer learns slowly."
    return judge(ratio, "<= 0.2", detail, meaning, subject.words(subject.standardize, "preprocess=center"))


def preprocessing_fitted_on_train(subject: Subject) -> Check:
    """Check that preprocessing a sample depends on nothing but the sample and the training split.

    Fitted again with other validation and test samples, it must do the same; so it must on a sample without others.
    """
    run, data = subject.run, subject.run.data
    raw = read(data.train.images, subject.some(EFFECT).cpu())
    apply = run.train.preprocess
    effect = apply(raw.clone())
    size = effect.double().std().clamp(min=1e-12) if effect.numel() > 1 else effect.new_ones(())
    alone = torch.cat([apply(raw[number : number + 1].clone()) for number in range(min(FEW, len(raw)))])
    changes = {"without other samples": float((alone - effect[: len(alone)]).abs().max() / size)}
    if any(len(split) and isinstance(split.images, Tensor) for split in (data.val, data.test)):
        other = replace(data, val=disturbed(data.val), test=disturbed(data.test))
        again = fit_preprocess(subject.cfg, other, subject.invocation)(raw.clone())
        changes["with other validation and test samples"] = float((again - effect).abs().max() / size)
    worst = max(changes, key=changes.__getitem__)
    meaning = f"A training sample is preprocessed differently {worst}, so that scores depend on what is held out."
    advice = "compute all statistics in fit(images), from the training images alone"
    return judge(changes[worst], "<= 1e-4", f"largest change of an input {worst}, in deviations", meaning, advice)


def disturbed(split: Split) -> Split:
    """Return other samples of the same kind: bytes inverted, numbers scaled and shifted."""
    images = split.images
    if not isinstance(images, Tensor):
        return split
    return Split(255 - images if images.dtype == torch.uint8 else 3 * images + 1, split.targets)


def no_statistics_of_held_out_data(subject: Subject) -> Check:
    """Check that the inputs are not standardised over all splits together, which a data set could have done."""
    run = subject.run
    splits = [split for split in (run.train, run.val, run.test) if len(split)]
    if len(splits) < 2:
        return not_applicable("nothing is held out")
    if sum(len(split) for split in splits) * subject.batch[0][0].numel() > POOLED_VALUES:
        return not_applicable("the splits are too large to average all of them")
    sums = [moments([images for images, _ in split.in_order(run.eval_batch_size)]) for split in splits]
    (train_mean, _), (mean, std) = statistics(sums[:1]), statistics(sums)
    fitted_to_train = train_mean <= EXACT_MEAN
    detail = "mean of the inputs of all splits together, in deviations"
    if fitted_to_train or std > EXACT_STD:
        return Check(passed=True, value=mean, threshold=f"> {EXACT_MEAN:g}", detail=detail)
    meaning = "The inputs are standardised over all splits together: the scores of held-out data are too good."
    advice = "standardise with the statistics of the training split, as preprocess=standardize does"
    return judge(mean, f"> {EXACT_MEAN:g}", detail, meaning, advice)


def moments(batches: list[Tensor]) -> tuple[float, Tensor, Tensor]:
    """Return the count, the sum and the sum of squares of each channel."""
    values = torch.cat(batches).double()
    dims = (0, *range(2, values.dim()))
    return values.numel() / values.shape[1], values.sum(dims), values.square().sum(dims)


def statistics(sums: list[tuple[float, Tensor, Tensor]]) -> tuple[float, float]:
    """Return, over channels that vary, the root mean square of their means, in deviations, and of deviations - 1."""
    count = sum(number for number, _, _ in sums)
    mean = sum(total for _, total, _ in sums) / count
    deviation = (sum(squares for _, _, squares in sums) / count - mean.square()).clamp(min=0).sqrt()
    varies = deviation > 1e-6
    mean, deviation = mean[varies], deviation[varies]
    return float((mean / deviation).square().mean().sqrt()), float((deviation - 1).square().mean().sqrt())


def signs_of_first_gradients(subject: Subject) -> Check:
    """Check that the inputs of a unit have both signs: else all its weights grow, or all shrink, with one sample.

    The gradient of a weight is delta x. Source: CS231n, lecture on activations.
    """
    found = gradients_of_first_layer(subject)
    if found is None:
        return not_applicable("the first layer is neither dense nor a convolution of images")
    inputs, grad = found
    if inputs.shape[-1] < 2:
        return not_applicable("a unit of the first layer has one input only")
    one_sample, batch = one_signed(inputs), one_signed(grad)
    detail = f"units whose gradient has one sign on one sample; on {len(subject.batch[0])} samples {batch:.2f}"
    meaning = (
        "All inputs have the same sign, so that one sample moves all weights of a unit in the same direction,"
        " and learning zigzags."
    )
    return judge(one_sample, "< 0.99", detail, meaning, subject.words(subject.standardize, "preprocess=center"))


def gradients_of_first_layer(subject: Subject) -> tuple[Tensor, Tensor] | None:
    """Return what the units of the first layer see, (places, inputs), and the gradient of its weight, (units, inputs).

    None where the layer is of another kind.
    """
    model, name = subject.copy_model(), subject.first_layer()
    layer = model.get_submodule(name) if name is not None else None
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return None
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    images, targets = subject.batch
    subject.run.criterion(model(images).float(), targets).mean().backward()
    handle.remove()
    inputs = seen[0]
    if isinstance(layer, nn.Conv2d):
        if layer.groups != 1 or isinstance(layer.padding, str):
            return None
        geometry = {"dilation": layer.dilation, "padding": layer.padding, "stride": layer.stride}
        inputs = F.unfold(inputs.float(), layer.kernel_size, **geometry).transpose(1, 2)
    grad = weight_of(layer).grad
    return None if grad is None else (inputs.reshape(-1, inputs.shape[-1]), grad.flatten(1))


def one_signed(rows: Tensor) -> float:
    """Return the fraction of rows whose numbers have one sign, zeros aside, among those that are not all 0."""
    positive, negative = (rows > 0).any(1), (rows < 0).any(1)
    rows = positive | negative
    return float((positive ^ negative)[rows].double().mean()) if rows.any() else 0.0


def sensitivity_to_weights(subject: Subject) -> Check:
    """Check that noise on the first layer's weights changes the loss no more than with standardised inputs.

    Source: CS231n, lecture on data preprocessing: before normalisation the loss is very sensitive to small changes.
    """
    name = subject.first_layer()
    if name is None:
        return not_applicable("the model has no dense layer and no convolution")
    images, run = subject.batch[0], subject.run
    change = loss_change(subject, name)
    own, standard = change(images), change(scaled(images))
    if not standard > 0:
        return not_applicable("the loss does not depend on the first layer's weights")
    raw = read(run.data.train.images, subject.some(EFFECT).cpu()).to(images.device)
    raw = raw.float() / 255 if raw.dtype == torch.uint8 else raw
    before = f"; with raw inputs {change(raw) / standard:.3g}" if raw.shape == images.shape else ""
    detail = f"change of the loss by noise on the first weights, over that with standardised inputs{before}"
    meaning = (
        "The loss is far more sensitive to small changes of the weights than it would be with standardised inputs."
    )
    advice = subject.words(subject.standardize)
    return judge(own / standard, "<= 5", detail, meaning, advice or "try norm=batch norm.on_input=true")


def loss_change(subject: Subject, name: str) -> Callable[[Tensor], float]:
    """Return what measures, on inputs, the root mean square change of the loss by noise on a layer's weights."""
    model, (_, targets), run = subject.copy_model(), subject.batch, subject.run
    weight = weight_of(model.get_submodule(name))
    before = weight.detach().clone()

    @torch.no_grad()
    def change(images: Tensor) -> float:
        weight.copy_(before)
        seed_default(run.device, 0)  # the same noise for all inputs
        losses = [run.criterion(model(images).float(), targets).double().mean()]
        for _ in range(DRAWS):
            weight.copy_(before + NOISE * before.square().mean().sqrt() * torch.randn_like(before))
            losses.append(run.criterion(model(images).float(), targets).double().mean())
        return float((torch.stack(losses[1:]) - losses[0]).square().mean().sqrt())

    return change
