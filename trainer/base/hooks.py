"""Answers of techniques to the hooks that protocols.py lists, with those of techniques that do not have them."""

from collections.abc import Sequence

from trainer.base.module_protocols import HasPieces
from trainer.base.protocols import DifferentiatesGradient, ForTasks, Stateful, TakesLabels, UsesLosses


def pieces_of(act: object) -> int:
    """Return how many values an activation makes one of."""
    return act.pieces if isinstance(act, HasPieces) else 1


def needs_graph(optimizer: object) -> bool:
    """Return whether the optimizer differentiates the gradient."""
    return isinstance(optimizer, DifferentiatesGradient) and optimizer.create_graph


def uses_losses(sampler: object) -> bool:
    """Return whether the sampler asks for the samples' losses."""
    return isinstance(sampler, UsesLosses) and sampler.uses_losses


def tasks_of(technique: object) -> Sequence[str] | None:
    """Return the kinds of data that a technique, or its class, is for; None for all."""
    return technique.tasks if isinstance(technique, ForTasks) else None


def takes_labels(criterion: object) -> bool:
    """Return whether a loss has a form for labels; one that a class inherits, and whose call it replaces, is none."""
    if not isinstance(criterion, TakesLabels):
        return False
    kinds = type(criterion).__mro__
    places = [
        next((place for place, kind in enumerate(kinds) if name in vars(kind)), len(kinds))
        for name in ("of_labels", "__call__", "forward")
    ]
    return places[0] <= min(places[1:])


def state_of(part: object) -> dict:
    """Return the state of a part that has any, else an empty dict."""
    return part.state_dict() if isinstance(part, Stateful) else {}
