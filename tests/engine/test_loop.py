"""The loop against loops written out here, on the real digits."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from trainer.base.clock import Clock
from trainer.base.errors import ConfigError
from trainer.base.metrics import ACCURACY
from trainer.base.rng import derive
from trainer.engine import cadence
from trainer.engine.build import build_run
from trainer.engine.loss_watch import LossWatch
from trainer.engine.order import batches
from trainer.engine.progress import Progress
from trainer.rundir.checkpoint import weights_digest
from trainer.rundir.recorder import Recorder

PLAIN = ("model=mlp", "model.hidden=[16]", "epochs=2", "sched=constant", "sampler=sequential", "threads=1")


def by_hand(composed, words, optimizer, batch_size=64, before_step=lambda model: None):
    """A plain loop over the same model and data, in the order of the set, with hard labels."""
    run = build_run(composed(*words))
    model, labels = copy.deepcopy(run.model), run.train.targets.argmax(1)
    steps = optimizer(model)
    for _ in range(int(run.clock.total_epochs)):
        for indices in torch.arange(len(labels)).split(batch_size):
            steps.zero_grad()
            F.cross_entropy(model(run.train.images[indices]), labels[indices]).backward()
            before_step(model)
            steps.step()
    return model


def assert_same_weights(one, other, tolerance=1e-5):
    # float32 sums in another order, over 40 updates of weights of size 0.1
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


def test_the_loop_is_the_plain_loop(fitted, composed):
    run, _ = fitted(*PLAIN)
    assert_same_weights(
        run.model, by_hand(composed, PLAIN, lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    )


def test_the_penalty_of_l2_is_the_weight_decay_of_sgd_on_the_matrices(fitted, composed):
    run, _ = fitted(*PLAIN, "reg=l2", "reg.loss.l2.strength=0.03")

    def with_decay(model):
        matrices = [weight for weight in model.parameters() if weight.dim() > 1]
        biases = [weight for weight in model.parameters() if weight.dim() == 1]
        return torch.optim.SGD([{"params": matrices, "weight_decay": 0.03}, {"params": biases}], lr=0.05, momentum=0.9)

    assert_same_weights(run.model, by_hand(composed, PLAIN, with_decay))


def test_the_gradient_slot_acts_between_backward_and_step(fitted, composed):
    run, _ = fitted(*PLAIN, "reg=grad_clip", "reg.gradient.grad_clip.limit=0.1")
    clip = lambda model: torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)  # noqa: E731
    hand = by_hand(
        composed, PLAIN, lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), before_step=clip
    )
    assert_same_weights(run.model, hand)


def test_the_weights_slot_acts_after_the_step(fitted):
    run, _ = fitted(*PLAIN, "reg=max_norm", "reg.weights.max_norm.limit=0.5")
    assert all(weight.norm(dim=1).max() <= 0.5 + 1e-6 for weight in run.model.parameters() if weight.dim() > 1)


def test_accumulated_batches_are_one_large_batch(fitted):
    large, large_curves = fitted(*PLAIN, "batch_size=64", "reg=l2")
    small, small_curves = fitted(*PLAIN, "batch_size=16", "accumulate=4", "reg=l2")
    for mine, theirs in zip(large_curves.rows, small_curves.rows, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    assert_same_weights(large.model, small.model, tolerance=1e-6)
    assert large.clock == small.clock


def test_an_augmentation_does_not_change_the_order_of_the_data(composed):
    words = ("model=mlp", "epochs=1", "seed=3")
    one, other = (
        build_run(composed(*words, *more)) for more in ((), ("aug=[crop,flip]", "reg=dropout", "optimizer=adam"))
    )
    for (mine, _), (theirs, _) in zip(batches(one), batches(other), strict=True):
        assert torch.equal(mine[0], theirs[0])


def test_an_epoch_holds_every_sample_once_and_drop_last_leaves_the_rest_out(composed):
    run = build_run(composed("model=mlp", "epochs=2", "batch_size=100"))
    updates = list(batches(run))
    sizes = [len(targets) for _, ((_, targets),) in updates]
    assert sizes == [*[100] * 12, 59] * 2
    seen = torch.cat([images for _, ((images, _),) in updates[:13]])
    assert torch.equal(seen.flatten(1).sort(0).values, run.train.images.flatten(1).sort(0).values)
    run = build_run(composed("model=mlp", "epochs=2", "batch_size=100", "drop_last=true"))
    assert [len(targets) for _, ((_, targets),) in batches(run)] == [100] * 24 and run.clock.total_steps == 24


def test_dropout_masks_are_the_same_however_often_an_optimizer_looks(fitted):
    values = []

    class Curious(torch.optim.SGD):
        def step(self, closure):
            values.append([closure().item() for _ in range(3)])
            return super().step()

    words = ("model=mlp", "epochs=1", "reg=dropout")
    parts, _ = fitted(*words)
    optimizer = Curious(parts.model.parameters(), lr=0.01)
    optimizer.param_groups[0]["base_lr"] = 0.01
    fitted(*words, model=parts.model, forward=parts.model, optimizer=optimizer)
    assert all(len(set(looks)) == 1 for looks in values) and len({looks[0] for looks in values}) > 1


def test_the_schedule_and_the_warmup_set_the_rate_of_every_update(fitted):
    _, curves = fitted(
        *PLAIN,
        "sched=step",
        "sched.length=1ep",
        "sched.gamma=0.5",
        "warmup=linear",
        "warmup.length=10st",
        "log_every=1",
    )
    rates = [row["lr"] for row in curves.rows if row["split"] == "train"]
    expected = [0.05 * 0.5 ** (step // 20) * min(1, (step + 1) / 10) for step in range(40)]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_the_plateau_sees_the_validation_loss(fitted):
    run, _ = fitted(*PLAIN, "sched=plateau", "sched.patience=0", "sched.threshold=0.9", "epochs=6")
    assert run.sched(run.clock) == pytest.approx(0.1**5)  # the first scoring is the best, five are not 90 % below it


def test_training_averages_are_those_of_the_batches(fitted, monkeypatch):
    monkeypatch.setattr(cadence, "FIRST_STEPS", 0)
    run, curves = fitted(*PLAIN, "optimizer.lr=1e-30", "log_every=7")
    rows = [row for row in curves.rows if row["split"] == "train"]
    with torch.no_grad():
        outputs, labels = run.model(run.train.images), run.train.targets.argmax(1)
    for row, part in zip(rows, (slice(0, 7 * 64), slice(7 * 64, 14 * 64), slice(14 * 64, None))):
        assert row["loss"] == pytest.approx(F.cross_entropy(outputs[part], labels[part]).item(), rel=1e-5)
        assert row["accuracy"] == pytest.approx(
            (outputs[part].argmax(1) == labels[part]).float().mean().item(), rel=1e-6
        )


def test_the_average_since_the_last_scoring_spans_the_log_points_between(tmp_path):
    curves, now = Recorder(tmp_path, "classification"), Clock(10, 10)
    for step, losses in enumerate(([1.0, 2.0], [3.0], [8.0, 8.0, 2.0])):
        outputs = torch.eye(2)[torch.zeros(len(losses), dtype=torch.long)]
        curves.add(torch.tensor(losses), outputs, outputs)
        if step < 2:
            curves.before_step([torch.ones(1)])
            curves.log([torch.ones(1)], now.at(step + 1))
    curves.flush_averages(now.at(3))
    assert curves.since_evaluation() == {"loss": 4.0, "accuracy": 1.0}  # 24 over six samples
    assert [row["loss"] for row in curves.rows] == pytest.approx([1.5, 3.0, 6.0])
    curves.close()


def test_gradient_norm_and_update_ratio_are_measured_before_edits_and_after_the_step(fitted, composed):
    words = (*PLAIN, "batch_size=full", "epochs=1", "optimizer=sgd", "reg=grad_clip")
    run, curves = fitted(*words)
    fresh = build_run(composed(*words))
    F.cross_entropy(fresh.model(fresh.train.images), fresh.train.targets.argmax(1)).backward()
    norm = torch.cat([weight.grad.flatten() for weight in fresh.model.parameters()]).norm().item()
    size = torch.cat([weight.detach().flatten() for weight in fresh.model.parameters()]).norm().item()
    (row,) = [row for row in curves.rows if row["split"] == "train"]
    assert row["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert row["update_ratio"] == pytest.approx(0.1 * min(1, norm) / size, rel=1e-4)
    after = torch.cat([weight.detach().flatten() for weight in run.model.parameters()]).norm().item()
    assert row["param_norm"] == pytest.approx(after, rel=1e-5) and after != pytest.approx(size, rel=1e-7)


def test_scoring_leaves_the_model_as_it_was_and_weighs_every_sample_alike(composed):
    run = build_run(composed("model=mlp", "norm=batch", "reg=dropout"))
    run.model.train()
    before = weights_digest(run.model)
    scores = replace(run, eval_batch_size=50).evaluate(run.model, run.val)
    assert weights_digest(run.model) == before and run.model.training
    assert scores == pytest.approx(replace(run, eval_batch_size=10_000).evaluate(run.model, run.val), rel=1e-6)
    run.model.eval()
    with torch.no_grad():
        assert scores["loss"] == pytest.approx(
            F.cross_entropy(run.model(run.val.images), run.val.targets.argmax(1)).item(), rel=1e-6
        )


def test_seeds_of_purposes_and_epochs_are_apart():
    seeds = {
        derive(seed, purpose, epoch)
        for seed in range(20)
        for purpose in ("order", "layers", "transforms")
        for epoch in range(20)
    }
    assert len(seeds) == 1200 and all(0 <= seed < 2**62 for seed in seeds)


def test_losses_that_wait_are_checked_when_their_limit_is_reached():
    watch, now = LossWatch(Progress(losses=torch.zeros(0))), Clock(2000, 100)
    for step in range(LossWatch.MAX_PENDING):
        assert not watch.full
        watch.add(now.at(step + 1), torch.tensor(float("inf") if step in (700, 800) else 1.0))
    assert watch.full
    watch.check(now.at(LossWatch.MAX_PENDING))
    assert watch.nonfinite_step == 701 and not watch.full


def test_a_run_that_neither_logs_nor_validates_checks_its_losses_at_their_limit(fitted, monkeypatch):
    monkeypatch.setattr(LossWatch, "MAX_PENDING", 3)
    monkeypatch.setattr(cadence, "FIRST_STEPS", 0)
    poisoned = lambda images, targets, rng: (images * float("nan"), targets)  # noqa: E731
    _, curves = fitted(*PLAIN, "log_every=1000", "eval_every=1000st", "save_every=1000min", aug=[poisoned])
    assert [row["step"] for row in curves.rows] == [0]  # else it would have gone on to its last step, which logs


def test_further_evaluations_of_a_step_are_no_part_of_the_training_curves(fitted, composed):
    """SAM's second pass is at other weights, 10 away: the losses that are logged are those of the first pass."""
    words = (*PLAIN, "batch_size=full", "epochs=1", "optimizer=sam", "optimizer.rho=10")
    _, curves = fitted(*words)
    fresh = build_run(composed(*words))
    with torch.no_grad():
        outputs, labels = fresh.model(fresh.train.images), fresh.train.targets.argmax(1)
    (row,) = [row for row in curves.rows if row["split"] == "train"]
    assert row["loss"] == pytest.approx(F.cross_entropy(outputs, labels).item(), rel=1e-5)
    assert row["accuracy"] == pytest.approx((outputs.argmax(1) == labels).float().mean().item(), rel=1e-6)


def test_an_optimizer_that_ignores_the_closure_is_named(fitted):
    class Deaf(torch.optim.SGD):
        def step(self, closure=None):
            return None

    parts, _ = fitted(*PLAIN, "epochs=1")
    optimizer = Deaf(parts.model.parameters(), lr=0.1)
    optimizer.param_groups[0]["base_lr"] = 0.1
    with pytest.raises(ConfigError, match=r"Deaf .* does not call the closure in its step"):
        fitted(*PLAIN, model=parts.model, forward=parts.model, optimizer=optimizer)


def test_the_best_evaluation_is_the_monitors_then_the_losss_and_never_a_non_finite_one():
    progress, now = Progress(losses=torch.zeros(1)), Clock(100, 10)
    scores = [(1.0, 0.5), (0.9, 0.5), (0.1, 0.4), (float("nan"), 0.9), (float("inf"), 0.9), (0.8, 0.6), (0.8, 0.6)]
    best = [
        progress.add_evaluation(now.at(step), {"loss": loss, "accuracy": accuracy}, ACCURACY)
        for step, (loss, accuracy) in enumerate(scores, start=1)
    ]
    assert best == [True, True, False, False, False, True, False]
    assert progress.best == {"step": 6, "epoch": 0.6, "loss": 0.8, "accuracy": 0.6}
    assert [record["step"] for record in progress.history] == [1, 2, 3, 4, 5, 6, 7]
