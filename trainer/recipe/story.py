"""Story of a recipe as Markdown: its steps with their numbers, its result, and the commands to go on with."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainer.base.text import COMMAND, as_typed, counted, escaped, markdown_table
from trainer.recipe.first_steps import Step
from trainer.recipe.search import Stage
from trainer.recipe.trials import Trial, best_first, mean_and_deviation
from trainer.recipe.window import Point

WHY = {  # what each step is for
    1: "A fresh network knows nothing: its loss is that of a guess. Another one tells of a wrong loss or start.",
    2: "A network that cannot learn a few samples by heart will not learn all of them.",
    3: "Of all settings the learning rate matters most. It rises from step to step until the loss diverges.",
    4: "Many settings, each for a short time: the bad ones show at once. The best third goes on three times as long.",
    5: "Longer runs of the best settings, and of others close to the best: where does the best one lie?",
    6: "What the curves of the best run say.",
    7: "Around a new best setting the same again, as long as that brings more than chance.",
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of a recipe.

    Args:
        point: the setting that was chosen.
        whole: its whole runs.
        others: whole runs of other settings, with which it was compared.
        own: it is the setting that the run had.
        noise: by which scores vary with the seed.
        good: ends of the plateau of learning rates that do as well.
        rate: key of the learning rate.
        command: trains with the setting.
    """

    point: Point
    whole: Sequence[Trial]
    others: Sequence[Trial]
    own: bool
    noise: float
    good: tuple[float, float]
    rate: str
    command: str

    def lines(self) -> Iterator[str]:
        """Yield what was found, in sentences."""
        yield f"chosen: {typed(self.point)}{', as it was' if self.own else ''}"
        metric = self.whole[0].metric.name
        for when, name in (("best", f"validation {metric}"), ("test", f"test {metric}")):
            if found := mean_and_deviation(self.whole, when):
                yield f"{name} {shown(found)} ({counted('whole run', len(self.whole))})"
        for trial in (trial for trial in self.others if trial.score is not None):
            name = "the best of the search" if self.own else "the setting as it was"
            yield f"{name}, {typed(trial.point)}: validation {metric} {trial.score:.4f}"
        (low, high), noise = self.good, f"twice the noise of {self.noise:.2g} ({self.source})"
        if low < high:
            yield f"plateau: all of {self.rate} from {as_typed(low)} to {as_typed(high)} do as well, within {noise}"
        else:
            yield f"plateau: none; no other rate beside it is within {noise}"

    @property
    def source(self) -> str:
        """Source of the noise: the deviation over the seeds, or the standard error."""
        found = mean_and_deviation(self.whole)
        if found and found[1] == self.noise:
            return f"the deviation over {counted('seed', len(self.whole))}"
        return f"the standard error of {counted('validation sample', self.whole[0].record.samples('val') or 0)}"

    def as_dict(self) -> dict:
        """Return the result as recipe.json holds it."""
        test = mean_and_deviation(self.whole, "test")
        return {
            "point": dict(self.point),
            "metric": self.whole[0].metric.name,
            "scores": [trial.score for trial in self.whole],
            "test": test and {"mean": test[0], "deviation": test[1]},
            "noise": self.noise,
            "plateau": list(self.good),
            "command": self.command,
        }


def with_code(text: str) -> str:
    """Return text for Markdown, with its commands as code, so that they can be copied."""
    parts, last = [], 0
    for found in re.finditer(COMMAND, text):
        parts += [escaped(text[last : found.start()]), f"`{found[0]}`"]
        last = found.end()
    return "".join([*parts, escaped(text[last:])])


def typed(point: Point) -> str:
    """Return a setting as it is typed."""
    return " ".join(f"{key}={as_typed(value)}" for key, value in point.items())


def shown(found: tuple[float, float]) -> str:
    """Return a mean with its standard deviation."""
    mean, deviation = found
    return f"{mean:.4f} +/- {deviation:.4f}" if deviation else f"{mean:.4f}"


def table_of(stage: Stage, words: str) -> Iterator[str]:
    """Yield the lines of a stage's table, the best setting first, with what its runs say of themselves.

    Args:
        words: the length of each run.
    """
    ranked = [*best_first(stage.trials), *(trial for trial in stage.trials if trial.score is None)]
    keys = [*ranked[0].point]
    metric = ranked[0].metric.name
    rows = [
        [
            *(as_typed(trial.point[key]) for key in keys),
            "" if trial.score is None else f"{trial.score:.4f}",
            "" if trial.score is None else f"{trial.loss:.4f}",
            str(trial.record.status),
            ", ".join(trial.record.problems),
        ]
        for trial in ranked
    ]
    yield f"{counted('run', len(rows))} of {words}, in `{stage.folder}/`:\n"
    yield from markdown_table([*keys, f"best val {metric}", "its loss", "status", "verdict"], rows)


def markdown(
    command: str, steps: Sequence[tuple[Step, Stage | None, str]], result: Result | None, go_on: Sequence[str]
) -> str:
    """Return recipe.md.

    Args:
        command: as typed.
        steps: each with the stage that it has trained, and the length of that's runs in words.
        result: None where the recipe ended before.
        go_on: commands to go on with.
    """
    lines, before = ["# Recipe", "", "```", command, "```", ""], 0
    for step, stage, words in steps:
        if step.number != before:
            lines += [f"## {step.number} {step.title}", "", WHY[step.number], ""]
        before = step.number
        lines += [f"{with_code(step.text)}{'' if step.passed else ' **The recipe ends here.**'}", ""]
        if step.advice:
            lines += [with_code(step.advice), ""]
        if step.number == 3 and step.passed:
            lines += ["![The range test](lr_find.png)", ""]
        if stage:
            lines += [*table_of(stage, words), ""]
    if result:
        lines += ["", "## Result", "", *(f"- {with_code(line)}" for line in result.lines())]
        lines += [
            "",
            "![Scores of all settings](search.png)",
            "",
            "![Curves of the whole runs](whole-runs/ranking.png)",
        ]
    lines += ["", *(f"    {line}" for line in go_on), ""]
    return "\n".join(lines)
