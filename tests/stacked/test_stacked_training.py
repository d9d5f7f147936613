"""Training of several runs at once against `fit` of each alone."""

import math

import pytest
import torch
from torch import nn

from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.training import Training
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder
from trainer.rundir.status import Status
from trainer.stacked.fit import Member, train_until_one_ends
from trainer.stacked.groups import difference_of, refusal_of_network, refusals_of_settings, structure_of
from trainer.stacked.layers import EachJob, Generators, JobLinear, StackedConv2d, StackedDropout, stack_layers
from trainer.stacked.step import StackedUpdate
from trainer.stacked.weights import StackedWeights

TINY = ("model=mlp", "model.hidden=[16]", "data.train_samples=128", "batch_size=48", "device=cpu", "threads=1")
STEPS = ("epochs=200st", "eval_every=100%")


class Folders:
    """Trainings in folders of their own."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0

    def training(self, run):
        self.count += 1
        directory = self.folder / str(self.count)
        directory.mkdir()
        saved = {"config": {}, "description": {}}
        return Training(None, None, run, directory, Console(silent=True), [], saved, ("", []))


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path)


@pytest.fixture
def together(folders):
    """Return a function that trains runs at once: a member for each."""

    def train(runs):
        members = left = [Member(folders.training(run)) for run in runs]
        while left:
            ended = train_until_one_ends(left)
            left = [member for member in left if member not in ended]
        assert not any(member.error for member in members)
        return members

    return train


def weights_of(run):
    return torch.cat([value.flatten().double() for value in run.model.state_dict().values()])


def distance(run, other):
    one, two = weights_of(run), weights_of(other)
    return float((one - two).norm() / two.norm())


def built(composed, common, each):
    return [build_run(composed(*TINY, *common, *own)) for own in each]


SETTINGS = {
    "momentum": (["optimizer=momentum"], [["optimizer.lr=0.01", "seed=1"], ["optimizer.momentum=0.5", "seed=2"]]),
    "annealed": (["optimizer=momentum"], [["optimizer.anneal=20"], ["optimizer.dampening=0.1", "seed=2"]]),
    "nesterov and sgd": ([], [["optimizer=nesterov"], ["optimizer=sgd", "sched=step"]]),
    "adam": (["optimizer=adam"], [["optimizer.betas=[0.8,0.9]"], ["optimizer.eps=1e-4", "optimizer.amsgrad=true"]]),
    "adamw": (["optimizer=adamw"], [["optimizer.weight_decay=0.1"], ["optimizer.lr=0.003", "warmup=linear"]]),
    "rmsprop and adagrad": ([], [["optimizer=rmsprop"], ["optimizer=adagrad"]]),
    "unfused": (["optimizer.fused=false"], [["seed=1"], ["seed=2"]]),
    "dropout, norms": (["norm=batch"], [["reg=dropout", "reg.layer.dropout.p=0.2"], ["reg=dropout", "seed=2"]]),
    "scaled dropout": (["reg=dropout_scaled"], [["seed=1"], ["seed=2"]]),
    "acts": ([], [["act=relu"], ["act=tanh"]]),
    "soft labels": ([], [["reg=label_smoothing"], ["reg=label_smoothing", "reg.batch.label_smoothing.alpha=0.3"]]),
    "edits": ([], [["reg=[l2,grad_clip,max_norm]"], ["reg=[grad_noise,weight_decay]", "averaging=ema"]]),
    "augmented": ([], [["aug=[noise]", "seed=1"], ["aug=[mixup]", "seed=2"]]),
    "losses": (["loss=bce"], [["seed=1"], ["seed=2"]]),
    "squares": (["loss=mse", "drop_last=true"], [["seed=1", "sampler=hard_examples"], ["seed=2"]]),
    "regression": (["data=diabetes", "loss=auto"], [["seed=1"], ["seed=2"]]),
    "images": (["model=cnn", "model.channels=[4,6]", "norm=batch"], [["seed=1"], ["seed=2", "optimizer=adam"]]),
    "slopes": (["act=prelu", "norm=layer"], [["seed=1"], ["seed=2"]]),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_200_steps_at_once_are_those_of_each_alone(name, composed, together, run_alone):
    """Weights, buffers and curves within 1e-4: the kernels of a batch of matrices may add in another order."""
    common, each = SETTINGS[name]
    common = [text for text in common if not text.startswith("model")], [t for t in common if t.startswith("model")]
    base = [text for text in TINY if not (common[1] and text.startswith("model"))]
    words = [[*base, *STEPS, *common[0], *common[1], *own] for own in each]
    members = together([build_run(composed(*own)) for own in words])
    for member, own in zip(members, words):
        alone, curves = run_alone(*own)
        assert distance(member.run, alone) <= 1e-4
        assert [row["split"] for row in member.recorder.rows] == [row["split"] for row in curves.rows]
        for row, other in zip(member.recorder.rows, curves.rows):
            for key in row.keys() - {"seconds", "time", "throughput"}:
                assert row[key] == other[key] or row[key] == pytest.approx(other[key], rel=1e-4, abs=1e-6), key


@pytest.fixture
def run_alone(composed, folders):
    """Return a function that trains a run by itself: the run and its curves."""

    def run(*words):
        parts = build_run(composed(*words))
        training = folders.training(parts)
        fit(parts, training.recorder, training.console)
        return parts, training.recorder

    return run


def test_the_comparison_can_fail(composed, together, run_alone):
    """Another seed, or another rate in a hundredth, is farther than what the comparison above allows."""
    members = together(built(composed, STEPS, [["optimizer.lr=0.05"], ["seed=1"]]))
    assert distance(members[0].run, run_alone(*TINY, *STEPS, "optimizer.lr=0.0505")[0]) > 1e-3
    assert distance(members[1].run, run_alone(*TINY, *STEPS, "seed=2")[0]) > 1e-1


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_job_that_diverges_leaves_the_others_bit_equal(optimizer, composed, together, run_alone):
    own = [["seed=1"], ["seed=2"], ["seed=3"]]
    common = [f"optimizer={optimizer}", "norm=batch", "reg=dropout", "epochs=20st", "log_every=5"]
    calm = together(built(composed, common, own))
    wild = together(built(composed, common, [own[0], [*own[1], "optimizer.lr=1e30"], own[2]]))
    alone = run_alone(*TINY, *common, *own[1], "optimizer.lr=1e30")
    assert wild[1].outcome.status is Status.DIVERGED and wild[0].outcome.status is Status.FINISHED
    assert wild[1].outcome.nonfinite_step == wild[1].watch.nonfinite_step > 0
    assert len(wild[1].recorder.rows) == len(alone[1].rows)
    for member, other in zip(wild[::2], calm[::2]):
        assert torch.equal(weights_of(member.run), weights_of(other.run))


def test_members_that_are_behind_reach_the_others_first(composed, together, folders):
    """One has done 7 steps before the other begins: both end as if they had begun together."""
    words = ["epochs=30st", "eval_every=10st"]
    apart, equal = built(composed, words, [["seed=1"], ["seed=2"]]), built(composed, words, [["seed=1"], ["seed=2"]])
    training = folders.training(apart[0])
    fit(apart[0], training.recorder, training.console, until=7)
    members = together(apart)
    for member, other in zip(members, together(equal)):
        assert member.outcome.now.step == 30 and distance(member.run, other.run) <= 1e-6


def test_weights_are_views_while_they_are_stacked(composed):
    runs = built(composed, ["norm=batch"], [["seed=1"], ["seed=2"]])
    before = [weights_of(run) for run in runs]
    update = StackedUpdate(runs, [])
    with torch.no_grad():
        update.weights.trained[0][1] += 1
    first = next(iter(runs[1].model.parameters()))
    after = [weights_of(run) for run in runs]
    assert torch.equal(after[0], before[0])
    assert float((after[1] - before[1]).sum()) == pytest.approx(first.numel(), rel=1e-3)
    update.release()
    assert all(value.untyped_storage().nbytes() == value.nbytes for value in runs[0].model.state_dict().values())
    assert torch.equal(weights_of(runs[1]), after[1])


def test_a_checkpoint_of_a_stacked_run_holds_its_own_weights_alone(composed, folders):
    runs = built(composed, [], [["seed=1"], ["seed=2"]])
    alone = folders.training(runs[0])
    alone.save(runs[0].clock.at(0), None, False)
    update = StackedUpdate(runs, [])
    stacked = folders.training(runs[0])
    stacked.save(runs[0].clock.at(0), None, False)
    sizes = [(part.directory / "checkpoints" / "step-0.pt").stat().st_size for part in (alone, stacked)]
    assert sizes[1] <= sizes[0] + 100
    update.release()


def test_the_dense_layers_gradient_is_that_of_its_formula():
    torch.manual_seed(0)
    x, weight, bias = (
        torch.randn(3, *shape, dtype=torch.double, requires_grad=True) for shape in ((5, 4), (2, 4), (2,))
    )
    assert torch.autograd.gradcheck(JobLinear.apply, (x, weight, bias))
    assert torch.autograd.gradcheck(lambda x, w: JobLinear.apply(x, w, None), (x, weight))
    expected = torch.stack([nn.functional.linear(a, b, c) for a, b, c in zip(x, weight, bias)])
    assert torch.allclose(JobLinear.apply(x, weight, bias), expected)


def test_dropout_draws_the_masks_that_torch_draws_for_each_job_alone():
    layers, x = [nn.Dropout(0.3), nn.Dropout(0.0), nn.Dropout(1.0), nn.Dropout(0.5)], torch.randn(4 * 6, 7)
    generators = Generators([11, 12, 13, 14])
    stacked = StackedDropout(layers, generators)
    generators.seed(5)
    once, twice = stacked(x), stacked(x)  # two layers draw one after the other
    for job, layer in enumerate(layers):
        torch.manual_seed(11 + job + 5)
        part = x.chunk(4)[job]
        assert torch.equal(once.chunk(4)[job], layer(part)) and torch.equal(twice.chunk(4)[job], layer(part))


def test_convolutions_on_other_devices_are_those_of_each_job(monkeypatch):
    """The form with K groups, on the CPU in float64: only the order of sums differs."""
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2)).double() for _ in range(3)]
    x = torch.randn(3 * 5, 4, 8, 8, dtype=torch.double)
    expected = torch.cat([model(part) for model, part in zip(models, x.chunk(3))])
    stacked = stack_layers(models, StackedWeights(models), Generators([0, 0, 0]))
    assert isinstance(stacked[0], StackedConv2d) and torch.equal(stacked(x), expected)
    stacked[0].on_cpu = False
    assert torch.allclose(stacked(x), expected, rtol=1e-12, atol=1e-14)


def test_a_network_whose_samples_depend_on_one_another_is_refused(composed):
    class Centred(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    for made, reason in ((Centred, "other outputs in a stack"), (Noisy, "random numbers")):
        runs = built(composed, [], [["seed=1"], ["seed=2"]])
        assert refusal_of_network(runs) is None
        before = [weights_of(run) for run in runs]
        for run in runs:
            run.model.append(made())
        assert reason in refusal_of_network(runs)
        assert all(torch.equal(weights_of(run), old) for run, old in zip(runs, before))


def test_large_convolutions_are_refused_on_a_cpu(composed):
    words = ["device=cpu", "threads=1", "data.train_samples=128", "model=cnn"]
    runs = [build_run(composed(*words, f"seed={seed}")) for seed in (0, 1)]
    assert "convolutions" in refusal_of_network(runs) and difference_of(runs) is None


def test_networks_of_other_shapes_or_runs_of_other_lengths_have_another_structure(composed):
    same, other, longer, wider = (
        build_run(composed(*TINY, *own)) for own in (["seed=3"], ["act=tanh"], ["epochs=21"], ["model.hidden=[17]"])
    )
    assert structure_of(same) == structure_of(other)
    assert len({structure_of(run) for run in (same, longer, wider)}) == 3


@pytest.mark.parametrize(
    "word, reason",
    [
        ("accumulate=2", "several passes"),
        ("precision=bf16", "fp32"),
        ("on_nan=skip", "leaves out"),
        ("on_oom=halve", "size"),
        ("compile=step", "compiled"),
    ],
)
def test_settings_that_are_not_stacked_are_refused(word, reason, composed):
    assert [*refusals_of_settings(composed(*TINY))] == []
    (found,) = refusals_of_settings(composed(*TINY, word))
    assert word.partition("=")[0] in found and reason in found


def test_layers_with_weights_of_another_kind_run_one_a_job():
    models = [nn.Sequential(nn.Linear(4, 4), nn.PReLU()) for _ in range(2)]
    stacked = stack_layers(models, StackedWeights(models), Generators([0, 0]))
    assert isinstance(stacked[1], EachJob)
    with torch.no_grad():
        models[1][1].weight.fill_(math.pi)
    x = torch.randn(6, 4)
    assert torch.allclose(stacked(x), torch.cat([model(part) for model, part in zip(models, x.chunk(2))]))


def test_the_recorder_of_each_run_is_its_own(composed, together):
    members = together(built(composed, ["epochs=4st"], [["seed=1"], ["seed=2"]]))
    assert all(isinstance(member.recorder, Recorder) for member in members)
    one, other = ([row["loss"] for row in member.recorder.rows] for member in members)
    assert one != other
