"""Evidence on a run that has ended, gathered from its record, its data and its last weights."""

import math
from collections.abc import Mapping, Sequence

import torch
from omegaconf import OmegaConf
from torch import Tensor

from trainer.base.accumulator import MetricAccumulator
from trainer.base.classes import labels_of
from trainer.base.layers import common_rate
from trainer.base.metrics import score_of
from trainer.base.neighbours import score_of_neighbours
from trainer.base.statistics import exact_type
from trainer.config import schema
from trainer.diagnosis.evidence import Evidence
from trainer.engine.evaluate import counting
from trainer.engine.order import order_of
from trainer.engine.probe import affordable, probe_batch, without_trace
from trainer.engine.run import Outcome, Run
from trainer.engine.setup import Setup
from trainer.engine.summary import plain, why_stopped
from trainer.engine.transforms import Transforms
from trainer.engine.validation import constant_loss
from trainer.rundir.status import Status

LEAST, MOST = 128, 4096  # training samples that the last weights are evaluated on
PART, FREE = 0.01, 2e7  # of the samples that the run sees, and multiply-adds, for which there may be more than LEAST
POOR = 0.9  # score on the training split below which it is compared with that of nearest neighbours
NEIGHBOURS, SOME = 5, 1000  # how many they are; samples for them
LARGEST_SAMPLE = 4096  # values of a sample for them
BATCHES = 64  # of an epoch's order that are looked at


def gather(
    setup: Setup,
    rows: Sequence[Mapping],
    outcome: Outcome,
    summary: Mapping,
    layer: str = "",
) -> Evidence:
    """Return the evidence on a run.

    Args:
        rows: of its curves.
        summary: its figures; the test split stands for validation where there is none.
        layer: where its loss became non-finite, in words.
    """
    run, progress = setup.run, setup.run.progress
    known = schema.rules(setup.cfg, setup.invocation.choices)
    test, held_out = summary["test"], "val" if len(run.val) else "test"
    measured = measure_fit(run, outcome.confusion) if outcome.status is not Status.DIVERGED and progress.step else {}
    return Evidence(
        task=run.data.task,
        status=str(outcome.status),
        words=setup.invocation.overrides,
        options=setup.chosen,
        values={path: plain(OmegaConf.select(setup.cfg, path)) for path in known},
        usual={path: key.default for path, key in known.items()},
        steps=progress.step,
        steps_per_epoch=run.clock.steps_per_epoch,
        total_steps=run.clock.total_steps,
        samples=summary["samples"],
        batch=run.batch_size * run.accumulate,
        rows=rows,
        history=progress.recent_history,
        best=progress.best if len(run.val) else test and {"step": progress.step, **test},
        held_out=held_out,
        zero_loss=constant_loss(run.criterion, torch.zeros_like(run.train.targets[0]), run.train.targets[:MOST]),
        constant=summary["constant"].get(held_out, {}),
        probes=progress.probes,
        multipliers=multipliers(run, rows),
        counts=class_counts(run),
        classes=run.data.classes,
        mixing=mixing(run),
        constants=constant_features(run),
        layer=layer,
        nonfinite_step=outcome.nonfinite_step,
        stopped="; ".join(why_stopped(run)),
        **measured,
    )


def multipliers(run: Run, rows: Sequence[Mapping]) -> dict[int, float]:
    """Return the schedule's multiplier of each step with a row: its learning rate over the optimizer's."""
    base = common_rate(run.optimizer, "base_lr")
    return {row["step"]: row["lr"] / base for row in rows if base and row.get("lr") is not None and row["step"]}


def class_counts(run: Run) -> list[int]:
    """Return the training samples of each class; empty for regression."""
    if run.data.task == "regression":
        return []
    counts = run.train.targets.sum(0, dtype=exact_type(run.device)).round().long().tolist()
    return [len(run.train) - counts[0], counts[0]] if len(counts) == 1 else counts


def mixing(run: Run) -> float | None:
    """Return the entropy of the labels within the batches of an epoch over that within shuffled ones.

    None where it says nothing: for values, and for batches of one sample or of all.
    """
    size, count = run.batch_size * run.accumulate, len(run.train)
    if run.data.task == "regression" or not 1 < size < count:
        return None
    labels = labels_of(run.train.targets)
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(0)).to(labels.device)
    found, usual = (batch_entropy(labels[order], size) for order in (order_of(run, 0), shuffled))
    return found / usual if usual > 0 else None


def batch_entropy(labels: Tensor, size: int) -> float:
    """Return the mean entropy, in nats, of the labels within the first batches."""
    parts = [part for part in labels.split(size)[:BATCHES] if len(part) == size]
    classes = int(labels.max()) + 1
    shares = torch.stack([part.bincount(minlength=classes) for part in parts]).double() / size
    return -(shares * shares.clamp(min=1e-12).log()).sum(1).mean().item()


def constant_features(run: Run) -> list[str]:
    """Return the numbers of those features of a table that have one value in the training split."""
    images = run.data.train.images
    if len(run.data.input_shape) != 1 or not isinstance(images, Tensor) or not len(images):
        return []
    same = (images == images[:1]).all(0)
    return [f"feature {index + 1}" for index in same.nonzero().flatten().tolist()]


@torch.no_grad()
def measure_fit(run: Run, counts: Tensor | None = None) -> dict:
    """Return what the last weights make of the data: `fit`, `neighbours`, `noisy`, `peak` and `confusion` of Evidence.

    Args:
        counts: of the validation split by class and prediction, where they are known.
    """
    count = min(len(run.train), max(affordable(run, PART, FREE), LEAST), MOST)
    some = run.random_samples("fit", count)
    with without_trace(run), run.evaluation_model() as model:
        scores = run.evaluate_batches(model, run.train.batches(some.split(run.eval_batch_size)))
        if counts is None and len(run.val):
            run.evaluate(model, run.val, observe=counting(counts := run.no_confusion()))
    noisy, peak = as_in_training(run)
    score = scores[score_of(run.data.task).name]
    return {
        "neighbours": neighbours_score(run) if score < POOR else None,
        "fit": {**scores, "samples": count},
        "noisy": noisy,
        "peak": peak,
        "confusion": counts.tolist() if counts is not None else [],
    }


def neighbours_score(run: Run) -> float | None:
    """Return the score of five nearest neighbours on the training split; None for large samples.

    It is what the data gives without a network: one that does worse on the samples it was trained on is held back.
    """
    if math.prod(run.train.images.shape[1:]) > LARGEST_SAMPLE or len(run.train) < 30:
        return None
    return score_of_neighbours(*run.train.batch(run.random_samples("fit", SOME)), run.data.task, NEIGHBOURS)


def as_in_training(run: Run) -> tuple[dict[str, float | None], float | None]:
    """Return the scores on the probe's samples as training sees them, beside `plain`, and the mean largest target.

    No scores of a run that changes no sample and drops nothing.
    """
    with without_trace(run):
        images, targets = probe_batch(run)
        now = run.clock.at(max(run.progress.step - 1, 0))
        ((changed, soft),) = Transforms(run)(now, [(images, targets)])
        found, drops = {}, bool(run.slots.layer or run.slots.model)
        if drops or run.aug or run.slots.batch:
            plain_scores = scores_of(run, run.model.eval(), images, targets)
            seen = plain_scores if changed is images and soft is targets else scores_of(run, run.model, changed, soft)
            dropping = scores_of(run, run.model.train(), images, targets) if drops else plain_scores
            for name, scores in (("plain", plain_scores), ("augmented", seen), ("dropping", dropping)):
                found |= {name: scores["loss"], f"score_{name}": scores[score_of(run.data.task).name]}
            before, after = (each.flatten(1).float().std(0).norm() for each in (images, changed))
            found["contrast"] = (after / before).item() if len(images) > 1 and before > 0 else None
    peak = soft.max(1).values.mean().item() if soft.shape[1] > 1 and run.data.task == "classification" else None
    return found, peak


def scores_of(run: Run, model: torch.nn.Module, images: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the scores of a model on one batch, in the mode that it is in."""
    accumulator = MetricAccumulator(run.data.task)
    with run.autocast():
        outputs = model(images)
    accumulator.add(run.criterion(outputs.float(), targets), outputs.float(), targets)
    return accumulator.compute_and_reset()
