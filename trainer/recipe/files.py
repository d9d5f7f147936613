"""Files of a recipe: what is done, its story, its pictures, and the experiment that runs its result."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainer.base.atomic import atomic_write
from trainer.base.errors import ConfigError, DataError
from trainer.base.text import as_command, from_here, printable
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.config.rule import is_number
from trainer.inspection import lr_picture
from trainer.inspection.lr_finder import Finding
from trainer.recipe import experiment, figure, story
from trainer.recipe.first_steps import Step, step_from
from trainer.recipe.plan import Pace, Plan
from trainer.recipe.search import Stage
from trainer.recipe.story import Result, shown, typed
from trainer.recipe.trials import mean_and_deviation
from trainer.rundir import directory as rundir
from trainer.rundir import resume
from trainer.rundir.reader import read_mapping
from trainer.rundir.title import WITH_OPTIMIZER, title_of

NAME = "recipe"  # of the experiment
OPTIONS = "options"  # folder that --config-dir takes
BEGINNING, PACE, DATA = "first_steps.json", "pace.json", "data.json"


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Steps 1 to 3, the learning rate that they have found, and one from which the loss diverges."""

    steps: Sequence[Step]
    rate: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files in a recipe's directory. Errors of all that writes: MachineError.

    Args:
        plan: of the recipe.
        invocation: its command.
    """

    directory: Path
    plan: Plan
    invocation: Invocation

    def read_first_steps(self) -> Beginning | None:
        """Return what `write_first_steps` has written; None where there is nothing, or anything else."""
        known = read_mapping(self.directory / BEGINNING)
        saved = known.get("steps")
        steps = [step for each in saved if (step := step_from(each))] if isinstance(saved, list) else []
        whole = [step.number for step in steps] == [1, 2, 3]
        if not (whole and is_number(known.get("rate")) and is_number(known.get("limit"))):
            return None
        return Beginning(steps=steps, rate=known["rate"], limit=known["limit"])

    def write_first_steps(self, steps: Sequence[Step], rate: float, limit: float) -> None:
        """Write steps 1 to 3, so that a resumed recipe goes on from there."""
        self.write_json(BEGINNING, {"steps": [step.as_dict() for step in steps], "rate": rate, "limit": limit})

    def write_pace(self, pace: Pace) -> None:
        """Write the pace that the plan was made by, so that a resumed recipe has the same plan."""
        self.write_json(PACE, pace._asdict())

    def write_data(self, fingerprints: Sequence[str]) -> None:
        """Write the fingerprint of each split, so that a resumed recipe compares no runs on other data."""
        self.write_json(DATA, {"fingerprints": [*fingerprints]})

    def draw_range_test(self, finding: Finding, key: str) -> None:
        """Draw lr_find.png."""
        title = f"range test of {key}: {title_of(self.invocation, WITH_OPTIMIZER)}"
        self.write("lr_find.png", lambda path: lr_picture.draw(finding, path, title))

    @property
    def commands(self) -> dict[str, str]:
        """Commands to go on with, by what they do."""
        place = from_here(self.directory)
        words = f"experiment={NAME}", "--config-dir", str(place / OPTIONS), *self.invocation.allow_overrides
        return {
            "Train it": as_command("train", *words),
            "See the curves": as_command("tensorboard", "--logdir", str(place)),
        }

    def write_result(
        self,
        done: Sequence[tuple[Step, Stage | None]],
        whole: Stage,
        result: Result,
        words: Sequence[str],
        keys: Sequence[str],
    ) -> None:
        """Write the picture of the search, the experiment, and the story.

        Args:
            words: the overrides of the result.
            keys: of the learning rate and the weight decay.
        """
        stages = [stage for _, stage in done if stage]
        title = title_of(self.invocation, WITH_OPTIMIZER)
        labels = [f"{stage.folder}, {self.plan.words(stage.length)}" for stage in stages]
        self.write("search.png", lambda path: figure.draw(stages, labels, keys, result, title, path))
        metric, found = whole.trials[0].metric.name, mean_and_deviation(whole.trials)
        comment = f"{typed(result.point)}: validation {metric} {shown(found)} (train task=recipe)."
        self.write_text(f"{OPTIONS}/experiment/{NAME}.yaml", experiment.as_yaml(words, comment))
        self.write_story(done, replace(whole, trials=[*whole.trials, *result.others]), result)

    def write_story(
        self, done: Sequence[tuple[Step, Stage | None]], whole: Stage | None, result: Result | None
    ) -> None:
        """Write recipe.md and recipe.json, of a recipe that ended before without a result."""
        command = as_command("train", *rundir.saved_overrides(self.invocation.overrides), *catalog.config_dirs())
        steps = [(step, stage, self.plan.words(stage.length) if stage else "") for step, stage in done]
        commands = [*self.commands.values()] if result else []
        self.write_text("recipe.md", story.markdown(command, steps, result, commands))
        trained = [stage for _, stage in done if stage] + ([whole] if whole else [])
        cost = sum(stage.length * len(stage.trials) for stage in trained)
        content = {
            "command": command,
            "steps": [step.as_dict() for step, _ in done],
            "cost": {
                "jobs": sum(len(stage.trials) for stage in trained),
                "epochs": cost / self.plan.epoch,
                "whole_run": self.plan.total / self.plan.epoch,
            },
            "result": result and result.as_dict(),
        }
        self.write_json("recipe.json", content)

    def write_json(self, name: str, content: Mapping) -> None:
        """Write a JSON file."""
        self.write_text(name, json.dumps(content, indent=1))

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        self.write(name, lambda path: atomic_write(path, text.encode()))

    def write(self, name: str, make: Callable[[Path], None]) -> None:
        """Make a file, with its folder."""
        path = self.directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
        except OSError as error:
            raise rundir.cannot_be_written(self.directory, error, "the recipe") from None


def require_same_data(directory: Path, fingerprints: Sequence[str]) -> None:
    """Check that a recipe that is resumed has the data that it began with, as far as is known. Errors: DataError."""
    if read_mapping(directory / DATA).get("fingerprints") not in (None, [*fingerprints]):
        what = "the data has changed since the recipe began: other samples or labels"
        raise DataError(f"resume={printable(directory)}: {what}; repeat its command without resume= for a new recipe")


def require_same_settings(
    directory: Path, changed: Mapping[str, tuple[object, object]], allowed: Sequence[str]
) -> None:
    """Check that a recipe that is resumed has its own settings: the runs that it has done have them, too.

    Args:
        changed: keys with their value before and now.
        allowed: keys and groups that may differ.
    Errors: ConfigError.
    """
    if blocked := resume.not_allowed(changed, allowed):
        typed = dict.fromkeys(replaced_group(path, changed) for path in blocked)
        left_out = f"leave {' '.join(f'{key}=' for key in typed)} out"
        raise ConfigError(
            f"resume={printable(directory)}: a recipe keeps its settings: "
            f"{resume.listed({path: changed[path] for path in blocked})}\n"
            f"{left_out}, or repeat the recipe's command with it and without resume= for a new recipe"
        )


def replaced_group(path: str, changed: Collection[str]) -> str:
    """Return the group of which a key is part where another option of it was chosen, else the key."""
    groups = (path[:place] for place, letter in enumerate(path) if letter == ".")
    return next((group for group in groups if f"{group}._target_" in changed), path)


def read_pace(directory: Path) -> Pace | None:
    """Return the pace that `Files.write_pace` has written; None where there is nothing, or anything else."""
    saved = read_mapping(directory / PACE)
    return Pace(**saved) if {*saved} == {*Pace._fields} and all(map(is_number, saved.values())) else None
