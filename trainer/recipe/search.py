"""Search of a recipe: coarse by successive halving, then rounds of refinement, then whole runs with several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.base.text import counted
from trainer.recipe.plan import Plan
from trainer.recipe.trials import Trial, best_first
from trainer.recipe.window import Axis, Point, draw

COARSE, LONGER, REFINE, WHOLE = "4-coarse", "4-coarse-longer", "5-refine", "whole-runs"  # folders
NARROW = 10**0.5, 10.0  # factors from the best rate, and from the best decay, to the ends of the next window
CARRIED = 2  # settings of the coarse search in the first round of refinement


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Settings that are trained for one length.

    Args:
        folder: of their runs, in that of the recipe.
        length: of each run, in what `epochs` counts.
        points: the settings.
        axes: the window that new ones were drawn from; empty where there are none.
        known: settings among them that were trained before, for a shorter time.
        trials: of the points, once they are trained.
    """

    folder: str
    length: int
    points: Sequence[Point]
    axes: Sequence[Axis] = ()
    known: int = 0
    trials: Sequence[Trial] = ()

    @property
    def best(self) -> Trial | None:
        """The best trial; None where none has a score."""
        return next(iter(best_first(self.trials)), None)

    def describe(self, words: str) -> str:
        """Return `4 settings for 10 epochs, 3 of those before and 1 with optimizer.lr from 0.005 to 0.5`.

        Args:
            words: the length of each run.
        """
        new, window = len(self.points) - self.known, " and ".join(map(str, self.axes))
        parts = [f"{self.known} of those before"] if self.known else []
        parts += [f"{new} with {window}"] if new and window else []
        what = f": {' and '.join(parts)}" if parts else ""
        return f"{counted('setting', len({*map(str, self.points)}))} for {words}{what}"


@dataclass(frozen=True, kw_only=True)
class Search:
    """Settings to train next, from those that have been trained.

    Args:
        plan: how many, and for how long.
        axes: the first window.
        first: settings to begin with: as typed, and with the rate of the range test.
        seed: of the settings that are drawn.
    """

    plan: Plan
    axes: Sequence[Axis]
    first: Sequence[Point]
    seed: int

    def coarse(self) -> Stage:
        """Return many settings, to be trained shortly."""
        points = [*self.first, *draw(self.axes, self.plan.coarse - len(self.first), self.seed)]
        return Stage(folder=COARSE, length=self.plan.short, points=points, axes=self.axes)

    @property
    def typed(self) -> Point:
        """The run's own setting."""
        return self.first[0]

    def longer(self, coarse: Stage) -> Stage:
        """Return the best third of the coarse search, to be trained three times as long, from its start.

        The run's own setting is always among them.

        Source: successive halving, Jamieson & Talwalkar, 2016, arXiv:1502.07943, algorithm 1, where runs are continued.
        """
        kept = with_typed([trial.point for trial in best_first(coarse.trials)[: self.plan.kept]], self.typed)
        return Stage(folder=LONGER, length=self.plan.longer, points=kept, known=len(kept))

    def refine(self, number: int, window: Sequence[Axis], known: Sequence[Trial] = ()) -> Stage:
        """Return a round of refinement: settings from a window; in the first round also the best two and the run's own.

        Args:
            number: of the round, from 1.
            known: trials of the coarse search, which were shorter; none in later rounds.
        """
        carried = [trial.point for trial in best_first(known)[:CARRIED]]
        carried += [self.typed] if known and self.typed not in carried else []
        points = [*carried, *draw(window, self.plan.drawn - len(carried), self.seed + number)]
        folder, length = f"{REFINE}-{number}", self.plan.refined
        return Stage(folder=folder, length=length, points=points, axes=window, known=len(carried))

    def finals(self, best: Trial) -> Stage:
        """Return a whole run of the best setting, and one of the run's own to compare with, where the plan has that."""
        others = [self.typed] if self.plan.compares and self.typed != best.point else []
        points = [{**point, "seed": self.seed} for point in (best.point, *others)]
        return Stage(folder=WHOLE, length=self.plan.total, points=points)

    def whole(self, point: Point) -> Stage:
        """Return whole runs of a setting with all seeds."""
        points = [{**point, "seed": self.seed + extra} for extra in range(self.plan.seeds)]
        return Stage(folder=WHOLE, length=self.plan.total, points=points)


def with_typed(points: Sequence[Point], typed: Point) -> list[Point]:
    """Return settings with the run's own one among them, in place of the last one where it is not."""
    return [*points] if typed in points else [*points[:-1], typed]


def next_window(axes: Sequence[Axis], best: Trial) -> list[Axis]:
    """Return a narrower window around the best setting; a weight decay of 0 has no place in one, and keeps it."""
    return [
        axis.around(best.point[axis.key], factor) if best.point[axis.key] > 0 else axis
        for axis, factor in zip(axes, NARROW)
    ]


def at_border(axes: Sequence[Axis], best: Trial) -> list[tuple[Axis, str]]:
    """Return the intervals at whose border the best setting lies, with the border: `lower` or `upper`."""
    return [(axis, border) for axis in axes if (border := axis.border(best.point[axis.key]))]
