"""Evaluation of a split with a report on what the model gets wrong there."""

from collections.abc import Iterator, Sequence

from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor, nn
from torch.utils.tensorboard.summary import text

from trainer.base.text import printable
from trainer.data.loader import Loader
from trainer.data.splits import Split
from trainer.engine.run import Run
from trainer.report.collector import Collector
from trainer.report.report import Report, Subject, make_report
from trainer.report.samples import Samples
from trainer.rundir.event_file import picture, scalars


def evaluate_with_report(
    run: Run, model: nn.Module, name: str, title: str, whole: bool = True
) -> tuple[dict[str, float], Report | None, str]:
    """Return the scores of a model on a split, its report, and why there is none: the scores are kept in any case.

    Args:
        name: of the split: train, val or test.
        title: of the pictures.
        whole: with files; else the figures and the lines alone.
    Errors: MachineError.
    """
    loader, split = splits_of(run)[name]
    collector = Collector(run.data.task, run.criterion)
    failures: list[Exception] = []

    def observe(losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        try:
            collector.add(losses, outputs, targets)
        except Exception as error:  # of a loss of the user's own
            failures.append(error)

    scores = run.evaluate(model, loader, run.tta, observe)
    try:
        for error in failures:
            raise error
        subject = Subject(
            classes=class_names(run),
            target=run.data.predicted,
            samples=Samples(split, run.data.inputs),
            title=title,
            split=name,
        )
        return scores, make_report(collector.predictions(run.data.predicted), subject, whole), ""
    except Exception as error:  # what is drawn is of the user's: files that changed, names without measure
        return scores, None, f"{type(error).__name__}: {printable(str(error).partition(chr(10))[0])}"


def events_of(report: Report) -> Iterator[Summary]:
    """Yield the figures, the pictures and the text of a report for TensorBoard."""
    split = report.figures["split"]
    yield scalars(f"{split}/", report.points)
    for name, png in report.pictures.items():
        yield picture(f"{split}/{name}", png)
    yield text(f"report on {split}", report.markdown)


def splits_of(run: Run) -> dict[str, tuple[Loader, Split]]:
    """Return the splits by name: as they are evaluated, and as they were before the preprocessing."""
    return {name: (getattr(run, name), getattr(run.data, name)) for name in ("train", "val", "test")}


def held_out_split(run: Run) -> str | None:
    """Return the split that a run is reported on: the test, without one the validation split; None without both."""
    return next((name for name in ("test", "val") if len(splits_of(run)[name][0])), None)


def class_names(run: Run) -> Sequence[str]:
    """Return the names of all classes, numbers where the data set has no names; none for a regression."""
    count = {"classification": run.data.outputs, "binary": 2, "regression": 0}[run.data.task]
    known = run.data.classes
    return known if len(known) == count else [str(place) for place in range(count)]


def output_names(run: Run) -> tuple[str, ...]:
    """Return the names of all classes, or of the outputs of a regression."""
    return tuple(map(str, class_names(run) or run.data.predicted.output_names(run.data.outputs)))
