"""The recipe of the lectures, step by step. BEGIN HERE: `Procedure.execute` is the whole of it.

Source: Stanford CS231n, lecture on training neural networks, the seven steps of choosing hyperparameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from omegaconf import DictConfig

from trainer.base.errors import CheckFailed
from trainer.base.text import as_command, counted, from_here, wrap
from trainer.config import auto_rate, catalog
from trainer.config.hydra_context import Invocation
from trainer.config.rule import is_number
from trainer.engine.run import Run
from trainer.inspection.check import Subject
from trainer.recipe.decay import Decay
from trainer.recipe.files import Files
from trainer.recipe.first_steps import TITLES, Step, initial_loss_step, rate_step, small_sample_step
from trainer.recipe.outcome import noise_of, plateau
from trainer.recipe.plan import Plan
from trainer.recipe.search import Search, Stage, at_border, next_window
from trainer.recipe.story import Result, typed
from trainer.recipe.trials import Train, Trial, best_first, mean_and_deviation, verdicts_of
from trainer.recipe.window import Axis, Point
from trainer.rundir.console import Console

RATES = 10.0  # factor below and above the rate of the range test
DECAYS = 100.0  # the same of the weight decay
CHECK = "train task=check"
STEPS = 200  # of the longest of the short trainings of step 2


@dataclass(frozen=True, kw_only=True)
class Procedure:
    """The seven steps for a run that is built.

    Args:
        run, cfg, invocation: the run, and what it was built from.
        key: of the learning rate.
        decay: the weight decay that is searched.
        plan: how many runs, and how long.
        sched: overrides of the schedule that the search trains with.
        train: trains settings.
        files: the recipe's own.
        done: the steps that have been done, each with the stage that it trained.
    """

    run: Run
    cfg: DictConfig
    invocation: Invocation
    key: str
    decay: Decay
    plan: Plan
    sched: Sequence[str]
    train: Train
    files: Files
    console: Console = field(default_factory=Console)
    done: list[tuple[Step, Stage | None]] = field(default_factory=list)

    def execute(self) -> None:
        """Do all steps, train the best setting in full, and write the story.

        Errors: CheckFailed where a step fails; UserError.
        """
        rate, limit = self.first_steps()
        search = self.search(rate, limit)
        coarse = self.coarse(search)
        best = self.refine(search, coarse)
        self.conclude(search, best)

    def first_steps(self) -> tuple[float, float]:
        """Do steps 1 to 3, or take them from the files; return the rate, and one from which the loss diverges."""
        if known := self.files.read_first_steps():
            for step in known.steps:
                self.add(step)
            return known.rate, known.limit
        subject = Subject(self.run, self.cfg, self.invocation, STEPS)
        for doing, function in (("checking the initial loss", initial_loss_step), ("overfitting", small_sample_step)):
            with self.console.status(doing):
                step = function(subject)
            self.add(step)
        with self.console.status("training at rising learning rates"):
            step, finding = rate_step(subject, self.key)
        self.files.draw_range_test(finding, self.key)
        self.add(step)
        rate = finding.rate or self.own_rate
        limit = finding.test.rates[-1] if finding.test.diverged else RATES**2 * rate
        self.files.write_first_steps([step for step, _ in self.done], rate, limit)
        return rate, limit

    def search(self, rate: float, limit: float) -> Search:
        """Return the search around a rate, up to a limit; the run's own rate is tried as well."""
        own = self.own_rate
        low, high = min(rate / RATES, own), min(max(rate * RATES, own), limit)
        axes = [Axis(key=self.key, low=low, high=high, limit=limit)]
        if self.decay.key:
            middle = self.decay.middle
            axes.append(Axis(key=self.decay.key, low=middle / DECAYS, high=middle * DECAYS))
        first = [self.point(each) for each in dict.fromkeys([own, rate])]
        return Search(plan=self.plan, axes=axes, first=first, seed=self.cfg.seed)

    @property
    def own_rate(self) -> float:
        """The learning rate that the run has, the usual one where it is measured."""
        now = dict(auto_rate.rates_in(self.cfg.optimizer))[self.key]
        return now if is_number(now) else auto_rate.default_rate(self.cfg, self.key, self.invocation.choices)

    def point(self, rate: float) -> Point:
        """Return the run's own setting with a learning rate."""
        return {self.key: rate, **({self.decay.key: self.decay.value} if self.decay.key else {})}

    def coarse(self, search: Search) -> Stage:
        """Do step 4, and return its second stage."""
        return self.train_stage(4, search.longer(self.train_stage(4, search.coarse())))

    def refine(self, search: Search, coarse: Stage) -> Trial:
        """Do steps 5 to 7, round after round: search around the best setting, until more brings nothing."""
        best, window, trained = coarse.best, search.axes, []
        for number in range(1, self.plan.rounds + 1):
            borders = at_border(window, best)
            window = next_window(window, best)
            stage = search.refine(number, window, [] if trained else coarse.trials)
            trained += self.train_stage(5, stage, moved(borders)).trials
            before, best = best if number > 1 else None, best_first(trained)[0]
            self.add(Step(number=6, passed=True, text=look(best)))
            why = self.why_enough(number, window, best, before)
            self.add(Step(number=7, passed=True, text=why or "yes, step 5 around the best setting"))
            if why:
                break
        return best

    def why_enough(self, number: int, window: Sequence[Axis], best: Trial, before: Trial | None) -> str:
        """Return why no further round is needed; empty where one is.

        Args:
            before: the best trial of the rounds before; None in the first one.
        """
        borders = at_border(window, best)
        if number == self.plan.rounds:
            beyond = f"; {borders[0][0].key} is best at the border of its window" if borders else ""
            return f"no, the budget is used{beyond}"
        gain, noise = 0.0 if before is None else abs(best.score - before.score), best.error
        if borders or before is None or gain > noise:
            return ""
        return f"no, this round has brought {gain:.2g}, within the standard error of a validation score, {noise:.2g}"

    def conclude(self, search: Search, best: Trial) -> None:
        """Train whole runs of the best setting with the run's own schedule, and write the result.

        Where the run's own setting turns out better in a whole run, it is the result.
        Errors: CheckFailed where none has learnt anything.
        """
        finals = self.train_whole(search.finals(best))
        winner = {key: value for key, value in finals.best.point.items() if key != "seed"}
        whole = self.train_whole(search.whole(winner))
        if not any(trial.has_learnt for trial in whole.trials):
            (score, _), metric = mean_and_deviation(whole.trials), whole.trials[0].metric
            what = f"its whole runs have validation {metric.name} {score:.4f}, no better than {metric.constant}"
            raise self.failed(f"{typed(winner)}: {what}; type a larger epochs=N, or see {CHECK}")
        noise, words = noise_of(whole.trials), self.train.overrides(winner)
        stages = [stage for _, stage in self.done if stage]
        result = Result(
            point=winner,
            whole=whole.trials,
            others=[trial for trial in finals.trials if trial.point != finals.best.point],
            own=winner == search.typed,
            noise=noise,
            good=plateau(stages, self.key, noise, winner[self.key]),
            rate=self.key,
            command=as_command("train", *words, *catalog.config_dirs()),
        )
        self.files.write_result(self.done, whole, result, words, [axis.key for axis in search.axes])
        self.console.print()
        for line in (*result.lines(), *verdicts_of(whole.trials)):
            self.console.print(line)
        self.console.print(f"\nThe story is in {from_here(self.files.directory)}: recipe.md, search.png")
        for what, command in self.files.commands.items():
            self.console.print(f"{what}: {command}")

    def train_whole(self, stage: Stage) -> Stage:
        """Train whole runs, and return them with their trials. Errors: CheckFailed where none has a score."""
        self.console.print(f"whole runs: {stage.describe(self.plan.words(stage.length))}")
        trained = replace(stage, trials=self.train(stage.folder, stage.points))
        if trained.best is None:
            folder = from_here(self.files.directory / stage.folder)
            raise self.failed(f"none of the whole runs has a score; see the run.log of each in {folder}")
        return trained

    def train_stage(self, number: int, stage: Stage, remark: str = "") -> Stage:
        """Train a stage as part of a step, and return it with its trials.

        Errors: CheckFailed where none has a score.
        """
        what = f"{stage.describe(self.plan.words(stage.length))}{remark}"
        self.print_step(number, what)
        trained = replace(
            stage, trials=self.train(stage.folder, stage.points, *self.sched, self.plan.epochs(stage.length))
        )
        if best := trained.best:
            found = f"best {typed(best.point)}: validation {best.metric.name} {best.score:.4f}"
            self.done.append((Step(number=number, passed=True, text=f"{what}; {found}"), trained))
            self.console.print(f"  {found}")
            return trained
        advice = f"see the run.log of each in {from_here(self.files.directory / stage.folder)}"
        self.done.append((Step(number=number, passed=False, text=f"{what}; none has a score", advice=advice), trained))
        raise self.failed(f"step {number}: none of {counted('run', len(stage.points))} has a score; {advice}")

    def add(self, step: Step) -> None:
        """Add a step that is done, and print it. Errors: CheckFailed where it has failed."""
        self.done.append((step, None))
        self.print_step(step.number, step.text)
        if not step.passed:
            raise self.failed(f"step {step.number}, {step.title}, has failed; {step.advice or step.text}")

    def print_step(self, number: int, text: str) -> None:
        """Print a step in lines, the further ones indented."""
        self.console.print(wrap(f"{number} {TITLES[number]}: {text}", self.console.terminal.width, 2))

    def failed(self, why: str) -> CheckFailed:
        """Return the error of a recipe that ends before its result, and write its story so far."""
        self.files.write_story(self.done, None, None)
        return CheckFailed(f"{why}; the story is in {from_here(self.files.directory / 'recipe.md')}")


def moved(borders: Sequence[tuple[Axis, str]]) -> str:
    """Return that the window has moved, because the best setting lay at its border; nothing where it has not."""
    return "".join(f"; moved, as {axis.key} was best at its {border} border" for axis, border in borders)


def look(best: Trial) -> str:
    """Return what the verdicts say of a run."""
    return "; ".join(verdicts_of([best])) or f"no verdict on the best run; its curves are {from_here(best.curves)}"
