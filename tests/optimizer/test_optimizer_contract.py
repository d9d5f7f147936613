"""Contract of every optimizer of conf/optimizer: made from its option, stepped with a closure as the loop does."""

import copy
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache, partial

import pytest
import torch
from stepping import Net, draws, make, reloaded, settings
from torch import nn
from torch.testing import assert_close

from trainer.base.hooks import needs_graph
from trainer.base.protocols import HasEvaluationPoint
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.engine import build
from trainer.engine.loop import fit
from trainer.engine.progress import Progress
from trainer.engine.run import Run
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

OPTIONS = catalog.options("optimizer")


class Point(nn.Module):
    """Two outputs of a layer, each a weight: some methods precondition layers, some centralise a unit's gradients."""

    def __init__(self, start: tuple[float, float]) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.layer.weight.zero_()[:, 0] = torch.tensor(start)

    def forward(self) -> torch.Tensor:
        return self.layer(torch.tensor([[1.0, 0.0, 0.0]]))[0]


@pytest.fixture(scope="module")
def configured(composed):
    """Return a function that puts an option into one composed configuration: to compose takes longer than the steps."""
    default = composed()

    def configuration(option: str, **changes: object):
        cfg = default.copy()
        cfg.optimizer = {**settings(option), **changes}
        return cfg

    return configuration


@pytest.fixture(scope="module")
def optimizer_for(configured):
    """Return a function that makes the optimizer of an option over a model."""
    return lambda option, model, **changes: build.make_optimizer(configured(option, **changes), model, 64, Invocation())


def stepping(optimizer, loss):
    """Return a function that takes a step: the loss that it returned and that of the closure's first evaluation."""

    def step():
        losses = []

        def closure():
            assert torch.is_grad_enabled()
            optimizer.zero_grad()
            value = loss()
            value.backward(create_graph=needs_graph(optimizer))
            losses.append(value.detach())
            return value.detach()

        return optimizer.step(closure), losses[0]  # an IndexError where the closure was not called

    return step


def bowl(w):
    return (2 * w[0].square() + w[1].square() / 2) / 2


def rosenbrock(w):
    """Over 1000, so that its curvature at the start, 1500, is what the learning rates here are meant for."""
    return ((1 - w[0]).square() + 100 * (w[1] - w[0].square()).square()) / 1000


@pytest.mark.parametrize(
    ("function", "start"), [(bowl, (1.0, -2.0)), (rosenbrock, (-1.2, 1.0))], ids=["bowl", "rosenbrock"]
)
@pytest.mark.parametrize("option", OPTIONS)
def test_the_loss_falls(option, function, start, optimizer_for):
    model = Point(start)
    before = function(model()).item()
    optimizer = optimizer_for(option, model)
    step = stepping(optimizer, lambda: function(model()))
    for _ in range(60):
        step()
    if isinstance(optimizer, HasEvaluationPoint):
        optimizer.eval()
    assert function(model()).item() < before * 0.995


@dataclass
class Walk:
    """Six steps of an optimizer on Net: weights, state of the optimizer, returned and first evaluated losses."""

    weights: list[torch.Tensor] = field(default_factory=list)
    state: dict = field(default_factory=dict)
    losses: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)


@pytest.fixture(scope="module")
def walked(optimizer_for):
    """Return a function that walks anew, saved and loaded into a fresh optimizer after so many steps."""

    def walk(option: str, load_after: int | None = None) -> Walk:
        net, found = Net(), Walk()
        optimizer = optimizer_for(option, net)
        for count in range(6):
            if count == load_after:
                state, weights = reloaded(optimizer.state_dict()), net.state_dict()
                net = Net()
                net.load_state_dict(weights)
                optimizer = optimizer_for(option, net)
                optimizer.load_state_dict(state)
            found.losses.append(stepping(optimizer, net.loss)())
        found.weights = [weight.detach() for weight in net.parameters()]
        found.state = optimizer.state_dict()
        return found

    return walk


@pytest.fixture(scope="module")
def reference(walked):
    """Return a function that gives the six steps of an option, walked once for several tests."""
    return cache(walked)


def same(one: object, other: object) -> bool:
    """Return whether two states are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("option", OPTIONS)
def test_two_runs_and_a_resumed_one_are_bit_for_bit_the_same(option, walked, reference):
    once, again, resumed = reference(option), walked(option), walked(option, load_after=3)
    assert same(once.weights, again.weights) and same(once.state, again.state), "two runs differ"
    assert same(once.weights, resumed.weights) and same(once.state, resumed.state), "a resumed run differs"


@pytest.mark.parametrize("option", OPTIONS)
def test_weights_move_if_they_have_a_gradient(option, reference):
    for (name, before), after in zip(Net().named_parameters(), reference(option).weights):
        assert torch.equal(before, after) == name.startswith("idle"), name


@pytest.mark.parametrize("option", OPTIONS)
def test_a_step_returns_the_loss_of_the_closures_first_evaluation(option, reference):
    for returned, first in reference(option).losses:
        assert_close(returned, first, rtol=0, atol=0)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_rate_in_the_groups_is_the_rate_of_the_step(option, optimizer_for):
    """The loop writes it there: a first step at a rate of 0 moves no weight."""
    net = Net()
    optimizer = optimizer_for(option, net)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    stepping(optimizer, net.loss)()
    for weight, before in zip(net.parameters(), Net().parameters()):
        assert_close(weight, before, rtol=0, atol=1e-6)  # SAM moves the weights away and back in float32


class Skip(Exception):
    """Raised by a closure to skip the step."""


def skip(optimizer, net) -> None:
    """Take a step that its closure skips, on images that are not finite, as the loop's closure does (on_nan=skip)."""

    def closure():
        optimizer.zero_grad()
        net.loss(net.images * torch.nan).backward(create_graph=needs_graph(optimizer))
        raise Skip

    with pytest.raises(Skip):
        optimizer.step(closure)
    optimizer.zero_grad()  # the graph of a gradient to differentiate must not live on


CHANGED = [  # settings with a state of their own, and wrappers around bases that watch the model or evaluate elsewhere
    ("momentum", {"anneal": 2}),
    ("kfac", {"update_every": 2, "invert_every": 3}),
    ("lookahead", {"base": settings("kfac")}),
    ("lookahead", {"base": settings("schedule_free")}),
    ("sam", {"base": settings("kfac")}),
    ("cautious", {"base": settings("kfac")}),
    ("cautious", {"base": settings("sam")}),
    ("grokfast", {"base": settings("sam")}),
    ("pytorch_optimizer", {"name": "Muon"}),
    ("pytorch_optimizer", {"name": "ScheduleFreeAdamW"}),
]


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")  # torch warns once a process, in the first such test
@pytest.mark.parametrize(
    ("option", "changes"),
    [*((option, {}) for option in OPTIONS), *CHANGED],
    ids=[
        *OPTIONS,
        *(f"{option}-{'-'.join(map(str, changes))}-{index}" for index, (option, changes) in enumerate(CHANGED)),
    ],
)
def test_a_step_that_its_closure_skips_leaves_weights_and_state_as_they_were(option, changes, optimizer_for):
    (net, plain), (optimizer, without) = (Net(), Net()), (None, None)
    optimizer, without = optimizer_for(option, net, **changes), optimizer_for(option, plain, **changes)
    step, other_step = stepping(optimizer, net.loss), stepping(without, plain.loss)
    for count in range(6):
        if count in (0, 3, 4):
            before = copy.deepcopy([*net.parameters()]), copy.deepcopy(optimizer.state_dict())
            skip(optimizer, net)
            assert same([*net.parameters()], before[0]), f"weights moved in the step skipped before step {count}"
            assert same(optimizer.state_dict(), before[1]), f"state changed in the step skipped before step {count}"
        step()
        other_step()
        assert same([*net.parameters()], [*plain.parameters()]), f"step {count} is another one"
    assert same(optimizer.state_dict(), without.state_dict())


class Poison:
    """An augmentation that makes the images of some steps NaN."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def begin(self, now) -> None:
        self.poisoned = now.step in self.steps

    def __call__(self, images, targets, rng):
        return (images * torch.nan if self.poisoned else images), targets


@pytest.fixture(scope="module")
def small_run(composed, optimizer_for):
    """Return a function that makes a run of full batches, in one order, of a small net with a batch norm."""
    words = ("data=gaussians", "data.samples=100", "model=mlp", "model.hidden=[4]", "norm=batch", "batch_size=full")
    run = build.build_run(
        composed(*words, "sampler=sequential", "sched=constant", "on_nan=skip", "epochs=8", "threads=1", "device=cpu")
    )

    def made(option: str, **changes: object) -> Run:
        model = copy.deepcopy(run.model)
        progress = Progress(losses=torch.zeros(len(run.train)))
        optimizer = optimizer_for(option, model)
        return replace(run, model=model, forward=model, optimizer=optimizer, progress=progress, **changes)

    return made


@pytest.mark.parametrize("option", OPTIONS)
def test_a_run_that_skips_a_batch_is_the_run_in_which_it_never_came(option, small_run, tmp_path):
    skipping, plain = small_run(option, aug=[Poison(0, 4)]), small_run(option, skips_nonfinite=False)
    for run, steps, skipped in ((skipping, 8, 2), (plain, 6, 0)):
        with closing(Recorder(tmp_path / str(steps), run.data.task)) as recorder:
            assert fit(run, recorder, Console(), until=steps).skipped == skipped
    assert same(skipping.model.state_dict(), plain.model.state_dict())
    assert same(skipping.optimizer.state_dict(), plain.optimizer.state_dict())


def half_squared_distance(weights, targets):
    return sum((weight - target).square().sum() for weight, target in zip(weights, targets)) / 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("option", ["muon", "shampoo", "soap", "kfac", "schedule_free", "ranger", "lbfgs", "bfgs"])
def test_a_gpu_steps_as_the_processor_does(option):
    shapes, found = [(6, 4), (4,), (3, 6)], []
    for device in ("cpu", "cuda"):
        starts, targets = (
            [torch.tensor(array, dtype=torch.float32, device=device) for array in draws(*shapes, seed=seed)]
            for seed in (0, 1)
        )
        weights = [start.requires_grad_() for start in starts]
        step = stepping(make(option, weights), partial(half_squared_distance, weights, targets))
        for _ in range(3):
            step()
        found.append([weight.detach().cpu() for weight in weights])
    for start, one, other in zip(draws(*shapes), *found):
        moved = (one - torch.from_numpy(start).float()).norm().item()
        bound = 0.05 if option == "muon" else 1e-3  # bfloat16 in Muon's iteration on CUDA, else float32
        assert moved > 0 and (one - other).norm().item() <= bound * moved
