"""compile=model and compile=step: the same training as without, one graph, and what is left out of it."""

import copy
import math
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from trainer.engine import graphs as graphs_of
from trainer.engine.build import build_run
from trainer.engine.compilation import Compilation
from trainer.engine.graphs import CHECKED, GradientGraph, Objective, OtherLosses, StepGraph, used_weights
from trainer.engine.loop import Update, fit
from trainer.engine.measured_update import seconds_without
from trainer.optimizer.graph_updates import group_updates
from trainer.rundir.checkpoint import weights_digest
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

COMPILER = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="inductor needs a C++ compiler")
SHORT = ("data.train_samples=100", "data.val_fraction=0", "batch_size=16", "threads=1", "device=cpu", "log_every=3")
TINY = (*SHORT, "model=mlp", "model.hidden=[8]")
LOSS_TOLERANCE = 1e-3  # relative, of the training loss over 50 steps: docs/speed.md


@pytest.fixture
def graphs(monkeypatch):
    """Compile without inductor, which takes a C++ compiler and half a minute; return how many graphs were made."""

    def make(run, function, whole=True):
        options = graphs_of.guards(run) if whole else None
        return torch.compile(function, dynamic=False, fullgraph=whole, backend="aot_eager", options=options)

    monkeypatch.setattr(graphs_of, "make_graph", make)
    counters.clear()
    yield lambda: counters["stats"]["unique_graphs"]
    torch.compiler.reset()


def trained(composed, folder, *words):
    """Train a run of these words, and return it with its record."""
    run = build_run(composed(*words))
    folder.mkdir()
    recorder = Recorder(folder, run.data.task)
    fit(run, recorder, Console(silent=True))
    recorder.close()
    return run, [row for row in recorder.rows if row["split"] == "train"]


def same(run, other, tolerance):
    """Return whether weights and statistics of two runs agree."""
    one, two = (each.model.state_dict() for each in (run, other))
    return all(torch.allclose(one[name].float(), two[name].float(), rtol=tolerance, atol=tolerance) for name in one)


WHOLE, BOTH, NETWORK = "the whole step", "forward and backward pass", "the network"


@pytest.mark.parametrize(
    ("words", "part", "left_out"),
    [
        ("norm=layer reg=[dropout,l2,grad_clip] optimizer=adamw", WHOLE, ()),
        ("norm=batch reg=[elastic_net,weight_decay,label_smoothing] optimizer=nesterov averaging=ema", WHOLE, ()),
        ("reg=[grad_noise]", BOTH, ("the optimizer's update: torch cannot compile a part of it",)),
        ("accumulate=2 reg=[l1]", BOTH, ("the optimizer's update: a step has several micro-batches",)),
        ("on_nan=skip norm=batch", BOTH, ("the optimizer's update: on_nan=skip",)),
        ("optimizer=sam", BOTH, ("the optimizer's update: Sam",)),
        ("optimizer.dampening=0.5", BOTH, ("the optimizer's update: Momentum, so set,",)),
        ("optimizer=kfac", "", ("the backward pass: Kfac", "the network: Kfac sees its layers by hooks")),
    ],
)
def test_a_compiled_run_is_the_run(words, part, left_out, composed, graphs, tmp_path):
    """6 steps an epoch, of which the last is smaller, with log points and validations between them.

    Probes, with hooks in the layers, look at them after 64 steps. No kinks: at one, rounding decides the gradient.
    """
    words = (*TINY, "act=tanh", *words.split(), "epochs=130st", "eval_every=20st", "data.val_fraction=0.1")
    plain, rows = trained(composed, tmp_path / "off", *words)
    run, found = trained(composed, tmp_path / "step", *words, "compile=step")
    assert run.compiling.compiled == part
    assert all(line.startswith(start) for line, start in zip(run.compiling.left_out, left_out, strict=True))
    assert graphs() == (1 if part else 0)
    assert same(plain, run, 1e-4)  # float32 sums in another order, over 130 steps
    for row, other in zip(rows, found, strict=True):
        assert row.keys() == other.keys()
        for key in ("loss", "grad_norm", "grad_kept", "update_ratio"):
            assert row.get(key, 0.0) == pytest.approx(other.get(key, 0.0), rel=1e-3, abs=1e-6)


def test_only_the_network_is_compiled_where_it_draws_what_it_computes(composed, graphs, tmp_path):
    words = (*SHORT, "model=resnet20", "reg=[stochastic_depth]", "norm=group", "epochs=1st")
    run, _ = trained(composed, tmp_path / "step", *words, "compile=step")
    assert run.compiling.compiled == NETWORK and len(run.compiling.left_out) == 2 and graphs() > 1


def test_compile_model_compiles_the_network_once(composed, graphs, tmp_path):
    words = (*TINY, "norm=batch", "epochs=14st")
    plain, _ = trained(composed, tmp_path / "off", *words)
    run, _ = trained(composed, tmp_path / "model", *words, "compile=model")
    assert run.compiling.compiled == NETWORK and graphs() == 1 and same(plain, run, 1e-5)


@pytest.fixture
def wrong_from(monkeypatch):
    """Return what has graphs give losses that are 1 % larger, from a call of theirs on."""

    def begin(first):
        def make(run, function, whole=True):
            calls = []

            def wrong(*batch):
                calls.append(batch)
                found = function(*batch)
                place = next(place for place, part in enumerate(found) if getattr(part, "ndim", 0) == 1)
                factor = 1.0 if len(calls) < first else 1.01
                return tuple(part * factor if at == place else part for at, part in enumerate(found))

            return wrong

        monkeypatch.setattr(graphs_of, "make_graph", make)

    return begin


@pytest.mark.parametrize(
    "words", [("reg=[dropout]",), ("norm=batch",), ("optimizer.dampening=0.5", "reg=[dropout]"), ("accumulate=2",)]
)
def test_a_run_leaves_a_graph_with_other_losses(words, composed, wrong_from, tmp_path):
    """As torch 2.11 makes one of batch norms and dropout: right in the first step, wrong in the second."""
    wrong_from(CHECKED)
    words = (*TINY, "act=tanh", *words, "epochs=20st")
    plain, _ = trained(composed, tmp_path / "off", *words)
    run, _ = trained(composed, tmp_path / "step", *words, "compile=step")
    assert run.compiling.compiled == "" and run.compiling.left_out[-1].startswith("every part: compiled by torch")
    assert same(plain, run, 1e-5)


@pytest.mark.parametrize("whole", [True, False])
def test_a_graph_with_other_losses_has_changed_nothing(whole, composed, wrong_from):
    """Not even a weight that only a penalty acts on."""
    wrong_from(1)
    run = build_run(composed(*TINY, "norm=batch", "reg=[dropout,l2]"))
    run = replace(run, compiling=Compilation(part="step", mode="default"))
    run.model.register_parameter("spare", nn.Parameter(torch.ones(2, 2)))
    run.optimizer.param_groups[0]["params"].append(run.model.spare)
    decaying, updates = [*run.model.parameters()], group_updates(run.optimizer)
    graph = StepGraph(run, [], run.slots.loss, decaying, updates) if whole else GradientGraph(run, [])
    for weight in run.model.parameters():
        weight.grad = torch.ones_like(weight) if not whole else None

    def everything():
        grads = {name: weight.grad for name, weight in graph.weights.items() if weight.grad is not None}
        of_optimizer = dict(enumerate(tensor for update in updates for tensor in update.tensors()))
        random = {"random": torch.get_rng_state()}
        return copy.deepcopy([run.model.state_dict(), grads, of_optimizer, random])

    before = everything()
    images, targets = run.train.batch(torch.arange(run.batch_size))
    with pytest.raises(OtherLosses):
        graph.checked(images, targets, targets, run.criterion, torch.full((len(images),), 1 / len(images)))
    for one, two in zip(before, everything(), strict=True):
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


class Fading(nn.Module):
    """A dense layer whose outputs fade in stages, by a number that is no tensor."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear, self.factor = nn.Linear(inputs, outputs), 1.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.factor * self.linear(images.flatten(1))


def test_a_number_that_changes_in_a_module_of_your_own_changes_the_graph(composed, graphs):
    """Of ours no such number changes, and torch does not look."""
    run = build_run(composed(*TINY, "compile=step", "epochs=50st"))
    assert graphs_of.guards(run)
    images, _ = run.train.batch(torch.arange(run.batch_size))
    run = replace(run, model=Fading(images[0].numel(), run.data.outputs))
    assert not graphs_of.guards(run)
    graph = graphs_of.make_graph(run, run.model)
    for factor in (1.0, 0.5):
        run.model.factor = factor
        assert torch.allclose(graph(images), factor * run.model.linear(images.flatten(1)))
    assert graphs() == 2


@needs_compiler
def test_inductor_trains_within_the_tolerance_and_twice_the_same(composed, tmp_path):
    """Dropout included: the masks are those of the usual way."""
    words = (*TINY, "norm=batch", "reg=[dropout]", "epochs=50st")
    plain, rows = trained(composed, tmp_path / "off", *words)
    run, found = trained(composed, tmp_path / "step", *words, "compile=step")
    if torch.__version__ < (2, 12):  # has other losses, which is found
        assert "the losses are others" in run.compiling.left_out[0] and same(plain, run, 1e-6)
        return
    assert run.compiling.compiled == WHOLE and not run.compiling.left_out
    for row, other in zip(rows, found, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=LOSS_TOLERANCE)
        assert row["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)
    again, _ = trained(composed, tmp_path / "again", *words, "compile=step")
    assert weights_digest(run.model) == weights_digest(again.model)
    assert run.compiling.seconds > 0 and run.compiling.eager_step > 0 and run.compiling.compiled_step > 0


OPTIMIZERS = {
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.1, weight_decay=0.01),
    "momentum": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
    "nesterov": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "adam": lambda weights: torch.optim.Adam(weights, lr=0.1, weight_decay=0.01, fused=True),
    "amsgrad": lambda weights: torch.optim.Adam(weights, lr=0.1, amsgrad=True, betas=(0.8, 0.99), eps=1e-3),
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_in_a_graph_is_that_of_torch(name):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2))]
    theirs = copy.deepcopy(ours)
    optimizer, reference = OPTIMIZERS[name](ours), OPTIMIZERS[name](theirs)
    (update,) = group_updates(optimizer)
    graph = torch.compile(update.__call__, dynamic=False, fullgraph=True, backend="aot_eager")
    for step in range(4):
        for one, two in zip(ours, theirs):
            one.grad = torch.randn_like(one)
            two.grad = one.grad.clone()
        optimizer.param_groups[0]["lr"] = reference.param_groups[0]["lr"] = 0.1 / (step + 1)
        if step == 2:  # the usual way, between two graphs
            optimizer.step()
        else:
            update.rate.fill_(optimizer.param_groups[0]["lr"])
            with torch.no_grad():
                graph()
        reference.step()
        for one, two in zip(ours, theirs):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
    torch.compiler.reset()


def test_an_optimizer_that_steps_otherwise_has_no_update_in_a_graph():
    class Own(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    weights = [nn.Parameter(torch.ones(2))]
    assert group_updates(Own(weights, lr=0.1)) is None
    assert group_updates(torch.optim.RMSprop(weights, lr=0.1)) is None
    hooked = torch.optim.SGD(weights, lr=0.1)
    hooked.register_step_post_hook(lambda *_: None)
    assert group_updates(hooked) is None


def test_weights_that_no_batch_passes_through_are_left_alone(composed, graphs, tmp_path):
    """Weight decay would move them, if they had a gradient of zeros."""
    run = build_run(composed(*TINY, "compile=step", "optimizer=adamw", "optimizer.weight_decay=0.5"))
    run.model.register_parameter("spare", nn.Parameter(torch.ones(2)))
    run.optimizer.param_groups[0]["params"].append(run.model.spare)
    assert "model.spare" not in used_weights(Objective(run, []), run)
    update, batch = Update(run, None), run.train.batch(torch.arange(16))
    before = copy.deepcopy(run.model.state_dict())
    update(run.clock.at(0), [torch.arange(16)], [batch], False)
    after = run.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert graphs() == 1 and changed == before.keys() - {"spare"} and run.model.spare.grad is None


def test_measuring_the_usual_steps_leaves_no_trace(composed):
    run = build_run(composed(*TINY, "norm=batch", "reg=[dropout,l2]", "optimizer=lookahead", "averaging=ema"))
    before, random = weights_digest(run.model), torch.get_rng_state()
    assert seconds_without(Update, run) > 0
    assert weights_digest(run.model) == before and torch.equal(torch.get_rng_state(), random)
    assert not run.optimizer.state and all(weight.grad is None for weight in run.model.parameters())


@pytest.mark.parametrize(
    ("eager", "graph", "break_even", "said"),
    [
        (0.003, 0.001, 5000, "it pays after 5,000 of 6,000 steps"),
        (0.003, 0.0025, 20_000, "it pays after 20,000 steps, more than the 6,000 of this run"),
        (0.001, 0.003, None, "it never pays; try compile=off"),
        (0.001, 0.001, None, "it never pays; try compile=off"),
    ],
)
def test_the_line_says_after_how_many_steps_compiling_pays(eager, graph, break_even, said):
    compiling = Compilation(part="step", mode="default", compiled=WHOLE, seconds=10.0)
    compiling.eager_step, compiling.compiled_step = eager, graph
    assert compiling.break_even == break_even
    if break_even:
        assert math.isclose(break_even * (eager - graph), compiling.seconds)
    assert compiling.describe(6000).endswith(said)
    assert "compiled in 10.0 s" in compiling.describe(6000)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(9.96, f"compile=step: {WHOLE} compiled in 10.0 s, in a run of 2 steps"), (None, "as no batch was full")],
)
def test_a_run_too_short_to_measure_says_what_compiling_cost(seconds, said):
    assert said in Compilation(part="step", mode="default", compiled=WHOLE, seconds=seconds).describe(2)


@pytest.mark.parametrize("steps", [2, 6])
def test_a_run_of_few_steps_says_at_its_last_one_what_compiling_costs(steps, fitted, graphs, capsys):
    fitted(*TINY, "compile=step", f"epochs={steps}st")
    printed = capsys.readouterr().out
    assert printed.count(f"compile=step: {WHOLE} compiled in") == 1
    assert ("a step takes" in printed) == (steps > 4)  # the first one is compiled, and three are measured
