"""Result of an ensemble: scores of its members, of their average, and of a selection of them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from trainer.base.metrics import METRICS
from trainer.base.text import counted, figure
from trainer.ensemble.members import Member, short_names, stacked
from trainer.ensemble.scores import Difference, Scorer, difference
from trainer.ensemble.selection import Selection, select

SUBSETS = 50  # of the members of one size, at most, for the mean score of smaller ensembles
LARGEST = 1e8  # numbers to average for one size, about a second
Curve = tuple[np.ndarray, np.ndarray]  # mean and standard deviation, by number of members


@dataclass(frozen=True, kw_only=True)
class Result:
    """An ensemble on one split.

    Args:
        members: all of them.
        split: the split that is reported.
        chosen: how often each member counts in the ensemble.
        selection: the picks; None where all members count once.
        by: `loss` or `score`, by which members were selected.
    """

    members: Sequence[Member]
    split: str
    chosen: Mapping[int, int]
    selection: Selection | None
    by: str

    @cached_property
    def answers(self) -> np.ndarray:
        """The members' answers (M, N, K)."""
        return stacked(self.members, self.split)

    @cached_property
    def scorer(self) -> Scorer:
        """The measure of answers on the split."""
        return scorer_of(self.members, self.split)

    @cached_property
    def ensemble(self) -> np.ndarray:
        """The mean answers (N, K) of the members that count."""
        return averaged(self.answers, self.chosen)

    @cached_property
    def losses(self) -> np.ndarray:
        """The members' losses (M, N)."""
        return self.scorer.losses(self.answers)

    @cached_property
    def scores(self) -> np.ndarray:
        """The members' scores by sample (M, N), whose means over the samples are the scores."""
        return self.scorer.scores(self.answers)

    @property
    def best(self) -> int:
        """The member that is the best on the validation split; without one, on the split itself."""
        split = "val" if "val" in self.members[0].answers else self.split
        scorer = scorer_of(self.members, split)
        answers = stacked(self.members, split)
        scores, losses = scorer.scores(answers).mean(1), scorer.losses(answers).mean(1)
        return min(range(len(self.members)), key=lambda place: (-scores[place], losses[place]))

    @cached_property
    def gains(self) -> dict[str, dict[str, Difference]]:
        """Gain of the ensemble over the members' mean and over the best one, by figure."""
        loss, score = self.scorer.losses(self.ensemble), self.scorer.scores(self.ensemble)
        others = {"mean of the members": (self.losses.mean(0), self.scores.mean(0))}
        others["best member on val"] = self.losses[self.best], self.scores[self.best]
        return {
            name: {"loss": difference(other_loss, loss), self.scorer.name: difference(score, other_score)}
            for name, (other_loss, other_score) in others.items()
        }

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Loss and score of the average of 1 to M members, over all choices of so many of them, or random ones."""
        most = int(min(SUBSETS, max(1, LARGEST // self.answers.size)))
        rows = []
        for size in range(1, len(self.members) + 1):
            means = (self.answers[places].mean(0) for places in subsets(len(self.members), size, most))
            found = np.array([self.mean_scores(answers) for answers in means])
            rows.append((found.mean(0), found.std(0)))
        means, deviations = (np.array(part) for part in zip(*rows))  # (M, 2)
        return {name: (means[:, place], deviations[:, place]) for place, name in enumerate(("loss", self.scorer.name))}

    @cached_property
    def path(self) -> dict[str, list[float]]:
        """Loss and score after each pick of the selection; empty where all members count."""
        picks = self.selection.picks if self.selection else []
        rows = [self.mean_scores(averaged(self.answers, Counter(picks[:count]))) for count in range(1, len(picks) + 1)]
        return {name: [row[place] for row in rows] for place, name in enumerate(("loss", self.scorer.name))}

    def mean_scores(self, answers: np.ndarray) -> tuple[float, float]:
        """Return loss and score of answers (N, K)."""
        return float(self.scorer.losses(answers).mean()), float(self.scorer.scores(answers).mean())

    @property
    def title(self) -> str:
        """Description of the ensemble in words."""
        count = counted("member", len(self.members))
        if self.selection is None:
            return f"average of {count}"
        return f"{counted('pick', len(self.selection.picks))} of {len(self.chosen)} of {count}, selected on val"

    def rows(self) -> list[list[str]]:
        """Return the table: headings, each member, mean, deviation, ensemble, gains."""
        loss, score = self.scorer.has_loss, self.scorer.name
        head = ["", *(["loss"] if loss else []), score, *(["picked"] if self.selection else []), ""]

        def row(name: str, cells: Sequence[str], picked: str = "", remark: str = "") -> list[str]:
            shown = cells if loss else cells[1:]
            return [name, *shown, *([picked] if self.selection else []), remark]

        table, means = [head], np.stack([self.losses.mean(1), self.scores.mean(1)])
        for place, name in enumerate(short_names(self.members)):
            picked = str(self.chosen.get(place, 0))
            table.append(row(str(place + 1), [*map(figure, means[:, place])], picked, name))
        table.append(row("mean", [*map(figure, means.mean(1))], "", "of the members"))
        if len(self.members) > 1:
            table.append(row("std", [*map(figure, means.std(1, ddof=1))], "", "of the members"))
        if self.selection:
            everyone = self.mean_scores(self.answers.mean(0))
            table.append(row("all", [*map(figure, everyone)], "", f"average of {counted('member', len(self.members))}"))
        table.append(row("ensemble", [*map(figure, self.mean_scores(self.ensemble))], "", self.title))
        for name, gain in self.gains.items():
            cells = [f"{gain[key].mean:+.4f}" for key in ("loss", score)]
            errors = ", ".join(f"{key} {gain[key].error:.4f}" for key in ("loss", score) if loss or key != "loss")
            table.append(row("gain", cells, "", f"over the {name}; standard errors: {errors}"))
        return table

    def diversity(self) -> tuple[float, str]:
        """Return how much the members differ, with what it is in words."""
        value = self.scorer.diversity(self.answers)
        if self.scorer.task == "regression":
            return value, f"ambiguity {figure(value)}: the mean squared distance of the members from their average"
        return value, f"two members disagree on {value:.1%} of the samples, the mean over all pairs"


def ensemble_of(members: Sequence[Member], split: str, select_members: bool, by: str, most: int) -> Result:
    """Return the ensemble of members on a split.

    Args:
        select_members: whether some are selected on the validation split, else all count.
        by: `loss` or `score`, by which they are selected.
        most: picks.
    """
    if not select_members:
        chosen = dict.fromkeys(range(len(members)), 1)
        return Result(members=members, split=split, chosen=chosen, selection=None, by=by)
    scorer = scorer_of(members, "val")
    by = by if scorer.has_loss else "score"

    def cost(answers: np.ndarray) -> float:
        return (
            scorer.losses(answers).mean() if by == "loss" else METRICS[scorer.name].cost(scorer.scores(answers).mean())
        )

    selection = select(stacked(members, "val"), cost, most)
    return Result(members=members, split=split, chosen=Counter(selection.picks), selection=selection, by=by)


def scorer_of(members: Sequence[Member], split: str) -> Scorer:
    """Return what scores answers on a split."""
    first = members[0]
    return Scorer(task=first.task, true=first.answers[split].true, has_probabilities=first.has_probabilities)


def subsets(count: int, size: int, most: int) -> list[list[int]]:
    """Return all subsets of so many members, where these are at most `most`; else as many that are drawn."""
    if math.comb(count, size) <= most:
        return [*map(list, combinations(range(count), size))]
    rng = np.random.default_rng(size)
    return [sorted(rng.choice(count, size, replace=False).tolist()) for _ in range(most)]


def averaged(answers: np.ndarray, chosen: Mapping[int, int]) -> np.ndarray:
    """Return the mean (N, K) of members' answers (M, N, K), each as often as it counts."""
    places = sorted(chosen)
    weights = np.array([chosen[place] for place in places], dtype=np.float64)
    return np.tensordot(weights / weights.sum(), answers[places], 1)
