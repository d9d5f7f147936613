"""Figures of compile=model and compile=step: the part of a step that is compiled, its cost and its saving."""

from dataclasses import dataclass, field

from trainer.base.text import counted


@dataclass(kw_only=True)
class Compilation:
    """Compilation of a run's steps, with its cost and its saving.

    Args:
        part: model or step.
        mode: of torch.compile.
        compiled: what is compiled, in words.
        left_out: why the rest is not, in words.
        seconds: of the first step, in which it was compiled.
        eager_step, compiled_step: seconds of a step without and with it; None where they were not measured.
    """

    part: str
    mode: str
    compiled: str = ""
    left_out: list[str] = field(default_factory=list)
    seconds: float | None = None
    eager_step: float | None = None
    compiled_step: float | None = None

    def leave_out(self, why: str) -> None:
        """Note why a part is not compiled, once."""
        if why not in self.left_out:
            self.left_out.append(why)

    @property
    def break_even(self) -> int | None:
        """Steps after which compiling has paid; None for never, and where the steps were not measured."""
        if not self.eager_step or not self.compiled_step or self.compiled_step >= self.eager_step:
            return None
        return -int(-self.seconds // (self.eager_step - self.compiled_step))

    def figures(self) -> dict:
        """Return the figures for summary.json; seconds."""
        names = ("part", "mode", "compiled", "left_out", "seconds", "eager_step", "compiled_step", "break_even")
        return {name: getattr(self, name) for name in names}

    def describe(self, steps: int) -> str:
        """Return the line on what it costs and saves a run of so many steps."""
        if not self.compiled:
            return f"compile={self.part}: nothing of a step can be compiled; try compile=off"
        if self.seconds is None:
            return f"compile={self.part}: nothing was compiled, as no batch was full"
        cost = f"compile={self.part}: {self.compiled} compiled in {self.seconds:.1f} s"
        if self.compiled_step is None:
            return f"{cost}, in a run of {counted('step', steps)}; try compile=off"
        if self.eager_step is None:
            return f"{cost}; a step takes {milliseconds(self.compiled_step)}"
        gain = f"a step takes {milliseconds(self.compiled_step)}, {milliseconds(self.eager_step)} without"
        if self.break_even is None:
            return f"{cost}; {gain}: it never pays; try compile=off"
        if self.break_even > steps:
            return f"{cost}; {gain}: it pays after {self.break_even:,} steps, more than the {steps:,} of this run"
        return f"{cost}; {gain}: it pays after {self.break_even:,} of {steps:,} steps"


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds with three digits."""
    return f"{seconds * 1e3:.3g} ms"
