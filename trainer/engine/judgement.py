"""Judgement on a run that has ended: its verdicts as lines for the terminal, as Markdown and as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainer.base.text import escaped, printable
from trainer.diagnosis.decide import judge
from trainer.diagnosis.verdict import Verdict
from trainer.engine.diagnose import gather
from trainer.engine.run import Outcome
from trainer.engine.setup import Setup
from trainer.rundir.status import Status


@dataclass(frozen=True)
class Judgement:
    """Verdicts on a run, the likeliest cause first.

    Args:
        words: the overrides of the run, for the commands that the verdicts give.
        failure: why there are none, where something was wrong with the judgement itself.
    """

    verdicts: Sequence[Verdict] = ()
    words: Sequence[str] = ()
    failure: str = ""

    @property
    def cause(self) -> str:
        """The likeliest cause of a bad run in words, as `rate too high`; empty where there is none."""
        return next((verdict.code.replace("_", " ") for verdict in self.verdicts if verdict.level == "problem"), "")

    def as_lines(self) -> list[str]:
        """Return the lines to print: for each verdict what, its meaning, and what to try."""
        lines = [f"note: the run could not be judged ({self.failure})"] if self.failure else []
        for verdict in self.verdicts:
            what, *more = verdict.lines(self.words)
            lines += ["", what, *(f"  {line}" for line in more)]
        return lines

    def as_markdown(self) -> str:
        """Return the verdicts for TensorBoard; empty where there are none."""
        texts = []
        for verdict in self.verdicts:
            command = verdict.command(self.words)
            tries = f"\n\n    {command}" if command else f"\n\n{escaped(verdict.other)}" if verdict.other else ""
            texts.append(f"**{verdict.level}: {escaped(verdict.what)}**\n\n{escaped(verdict.meaning)}{tries}")
        return "\n\n".join(texts)

    def as_dicts(self) -> list[dict]:
        """Return the verdicts as summary.json holds them."""
        return [verdict.as_dict(self.words) for verdict in self.verdicts]


def judge_run(
    setup: Setup | None, rows: Sequence[Mapping], outcome: Outcome, summary: Mapping, layer: str
) -> Judgement:
    """Judge a run; it is kept whatever happens here.

    Args:
        setup: of the run; None gives no verdict.
        rows: of its curves.
        summary: its figures.
        layer: where its loss became non-finite, in words.
    """
    if setup is None or outcome.status is Status.INTERRUPTED:
        return Judgement()
    words = setup.invocation.overrides
    try:
        return Judgement(judge(gather(setup, rows, outcome, summary, layer)), words)
    except Exception as error:  # of a technique of the user's own, evaluated once more
        reason = printable(str(error).partition("\n")[0]) or type(error).__name__
        return Judgement(words=words, failure=reason)
