"""Claims on regularisation: dropout on average, L2 penalty and weight decay, early stopping."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor, nn

from trainer.base.clock import Clock
from trainer.claims.claim import Finding, Option, largest
from trainer.config.hydra_context import Invocation, initialized, invocation_of, search_path, without_hydra_node
from trainer.engine.build import build_run
from trainer.engine.session import Session
from trainer.rundir.weights_file import read_weights

DRAWS = 4096
STEPS, LR, STRENGTH = 5, 0.1, 0.2
SHORT_RUN = (  # overfits from about the tenth epoch on
    *("data=digits", "data.train_samples=100", "model=mlp", "model.hidden=[64]", "optimizer=sgd", "optimizer.lr=1.0"),
    *("sched=constant", "epochs=40", "monitor=loss", "reg=early_stopping", "reg.stop.early_stopping.patience=3"),
    *("threads=1", "device=cpu"),
)

State = dict[str, Tensor]  # weights and buffers by name


def dropout_on_average(
    vanilla: Callable = Option("reg", "dropout_scaled"), inverted: Callable = Option("reg", "dropout")
) -> Finding:
    """Check that the mean of dropout over all masks, those of two inputs, is its output in evaluation.

    A mask has the probability (1 - p)^kept p^dropped. Vanilla dropout gives E[a] = (1 - p) (w1 x + w2 y) in training,
    half of it at p = 1/2, and multiplies by 1 - p, the probability of keeping, in evaluation; inverted dropout divides
    by 1 - p in training, so that both are w1 x + w2 y. p is the probability of dropping; at 1/2 the two would be one.
    """
    x = torch.tensor([1.5, -4.0], dtype=torch.float64)
    weights = torch.tensor([2.0, 1.0], dtype=torch.float64)
    whole, off, halves = float(weights @ x), 0.0, []
    for make, keeps in ((vanilla, True), (inverted, False)):
        for p in (0.5, 0.2):
            layer = make(p=p)
            masked = torch.unique(layer.train()(x.expand(DRAWS, 2)), dim=0)
            kept = (masked != 0).sum(1).double()
            mean = float(((1 - p) ** kept * p ** (2 - kept)) @ (masked @ weights))
            evaluated, expected = float(layer.eval()(x) @ weights), whole * (1 - p if keeps else 1)
            off = max(off, abs(mean - expected), abs(evaluated - expected), abs(len(masked) - 4))
            halves += [mean / whole] if p == 0.5 else []
    return Finding(
        predicted="mean of the four masks at p = 1/2: 0.5 (vanilla), 1 (inverted), as in evaluation",
        measured=f"{halves[0]:.3f}, {halves[1]:.3f}; {off:.1e} from evaluation, at p = 0.2 too",
        holds=off < 1e-12,
    )


def l2_penalty_and_weight_decay(
    penalty: Callable = Option("reg", "l2"), decay: Callable = Option("reg", "weight_decay")
) -> Finding:
    """Check that an L2 penalty is weight decay for plain SGD, and not for momentum or Adam.

    The penalty adds lambda w to the gradient: w - lr (g + lambda w) = (1 - lr lambda) w - lr g, which is decay. With
    momentum the second step carries m lambda w_0 of the first one's along, lr m lambda w_0 further. Adam divides by the
    root of the mean square: its first step is lr, whatever the penalty adds, and decay comes on top.
    """
    names = ("sgd", "momentum", "adam")
    apart = {}
    for name in names:
        optimizer = partial(Option("optimizer", name), lr=LR)
        apart[name] = penalised(optimizer, penalty) - decayed(optimizer, decay)
    start = starting_model().weight.detach()
    second = largest(apart["momentum"][1] + LR * 0.9 * STRENGTH * start)
    first = largest(apart["adam"][0] - LR * STRENGTH * start)
    shrinks = LR * STRENGTH * largest(start)
    return Finding(
        predicted=f"0 apart for SGD; momentum {0.9 * shrinks:.3f} in step 2, Adam {shrinks:.3f} in step 1",
        measured=f"{largest(apart['sgd']):.1e}; {largest(apart['momentum'][1]):.3f}, {largest(apart['adam'][0]):.3f}",
        holds=largest(apart["sgd"]) < 1e-12 and second < 1e-12 and first < 1e-6,
    )


def starting_model() -> nn.Linear:
    """Return a linear model with the weights 1, -2 and 0.5."""
    model = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
    return model


def gradients() -> Tensor:
    """Return a gradient for each step; all positive and above what the penalty takes off."""
    return 1 + torch.rand(STEPS, 1, 3, generator=torch.Generator().manual_seed(15), dtype=torch.float64)


def penalised(optimizer: Callable, penalty: Callable) -> Tensor:
    """Return the weights after each step with the penalty in the loss."""
    model, path = starting_model(), []
    made, term = optimizer([*model.parameters()]), penalty(strength=STRENGTH)
    empty = torch.zeros(0)
    for gradient in gradients():

        def closure(gradient: Tensor = gradient) -> Tensor:
            model.weight.grad = None
            loss = (gradient * model.weight).sum() + term(model, empty, empty, empty)
            loss.backward()
            return loss.detach()

        made.step(closure)
        path.append(model.weight.detach().clone())
    return torch.stack(path)


def decayed(optimizer: Callable, decay: Callable) -> Tensor:
    """Return the weights after each step with the decay around the step."""
    model, path, now = starting_model(), [], Clock(STEPS, STEPS, lr=LR)
    made, edit = optimizer([*model.parameters()]), decay(strength=STRENGTH)
    for gradient in gradients():
        model.weight.grad = gradient.clone()
        edit.before(model, made, now)
        made.step(partial(torch.zeros, ()))
        edit(model, made, now)
        path.append(model.weight.detach().clone())
    return torch.stack(path)


def train_in_a_directory(watch: Callable) -> State:
    """Train the short run and return what its weights file holds.

    Args:
        watch: called with the run and its evaluations so far, behind each.
    """
    with nullcontext() if GlobalHydra.instance().is_initialized() else initialized():
        cfg = compose("config", [*SHORT_RUN, *search_path()], return_hydra_config=True)
    invocation, cfg = invocation_of(cfg.hydra), without_hydra_node(cfg)
    run = build_run(cfg, invocation)
    run.slots.stop.insert(0, partial(watch, run))
    with TemporaryDirectory() as folder:
        silent = Invocation(overrides=SHORT_RUN, choices=invocation.choices, sweep=Path(folder))
        Session(cfg, lambda cfg: build_run(cfg, invocation), run, Path(folder), silent, {}).execute()
        return dict(read_weights(folder).parts[0][1])


def early_stopping_returns_the_best(train: Callable[[Callable], State] = train_in_a_directory) -> Finding:
    """Check that a run that is stopped early leaves the weights of its best epoch, not those of its last.

    A short run on 100 digits, in a temporary directory: its validation loss rises after some epochs, and reg=
    early_stopping ends it three evaluations after the best one. The weights file has the weights of that epoch.
    """
    seen: list[State] = []
    losses: list[float] = []

    def watch(run: object, history: list[dict[str, float]]) -> bool:
        seen.append({name: value.clone() for name, value in run.model.state_dict().items()})
        losses.append(history[-1]["loss"])
        return False

    kept = train(watch)
    best = losses.index(min(losses))
    same = [all(torch.equal(kept[name], value) for name, value in state.items()) for state in seen]
    return Finding(
        predicted=f"stopped 3 epochs after the best, weights of epoch {best + 1}",
        measured=f"stopped after epoch {len(losses)}, weights of epoch {same.index(True) + 1 if any(same) else 'none'}",
        holds=len(losses) == best + 4 and same.count(True) == 1 and same[best],
    )
