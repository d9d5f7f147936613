"""Story of a recipe as Markdown: its steps with their numbers, its result, and the commands to go on with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainer.base.text import as_typed, counted, escaped, markdown_table
from trainer.recipe.first_steps import Step
from trainer.recipe.search import Stage
from trainer.recipe.trials import Trial, best_first, mean_and_deviation
from trainer.recipe.window import Point


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of a recipe.

    Args:
        point: the setting that was chosen.
        whole: its whole runs.
        noise: by which scores vary with the seed.
        good: ends of the plateau of learning rates that do as well.
        rate: key of the learning rate.
        command: trains with the setting.
    """

    point: Point
    whole: Sequence[Trial]
    noise: float
    good: tuple[float, float]
    rate: str
    command: str

    def lines(self) -> Iterator[str]:
        """Yield what was found, in sentences."""
        yield f"chosen: {typed(self.point)}"
        metric = self.whole[0].metric.name
        for when, name in (("best", f"validation {metric}"), ("test", f"test {metric}")):
            if found := mean_and_deviation(self.whole, when):
                yield f"{name} {shown(found)} ({counted('whole run', len(self.whole))})"
        (low, high), noise = self.good, f"twice the noise of {self.noise:.2g}"
        if low < high:
            yield f"plateau: all of {self.rate} from {as_typed(low)} to {as_typed(high)} do as well, within {noise}"
        else:
            yield f"plateau: none; no other rate beside it is within {noise}"

    def as_dict(self) -> dict:
        """Return the result as recipe.json holds it."""
        test = mean_and_deviation(self.whole, "test")
        return {
            "point": dict(self.point),
            "metric": self.whole[0].metric.name,
            "scores": [trial.score for trial in self.whole],
            "test": test and test[0],
            "noise": self.noise,
            "plateau": list(self.good),
            "command": self.command,
        }


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
            str(trial.record.status),
            ", ".join(trial.record.problems),
        ]
        for trial in ranked
    ]
    yield f"{counted('run', len(rows))} of {words}, in `{stage.folder}/`:\n"
    yield from markdown_table([*keys, f"best val {metric}", "status", "verdict"], rows)


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
    lines = ["# Recipe", "", "```", command, "```", ""]
    for step, stage, words in steps:
        failed = "" if step.passed else " **The recipe ends here.**"
        lines += [f"**{step.number} {step.title}**: {escaped(step.text)}{failed}", ""]
        if step.advice:
            lines += [escaped(step.advice), ""]
        if step.number == 3 and step.passed:
            lines += ["![The range test](lr_find.png)", ""]
        if stage:
            lines += [*table_of(stage, words), ""]
    if result:
        lines += ["", "## Result", "", *(f"- {escaped(line)}" for line in result.lines())]
        lines += [
            "",
            "![Scores of all settings](search.png)",
            "",
            "![Curves of the whole runs](whole-runs/ranking.png)",
        ]
    lines += ["", *(f"    {line}" for line in go_on), ""]
    return "\n".join(lines)
