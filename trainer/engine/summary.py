"""Texts and figures of a run: settings table, facts, HParams row, closing summary."""

import hashlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from trainer.base.device import describe
from trainer.base.layers import decay_parameters
from trainer.base.metrics import score_of
from trainer.base.protocols import HasBestConstant, HasVerdict
from trainer.base.text import as_command, as_typed, counted, epochs, figures, from_here
from trainer.config import catalog, keys, schema
from trainer.config.hydra_context import Invocation
from trainer.config.rule import is_number
from trainer.data.image_files import read
from trainer.data.splits import Split
from trainer.engine.cadence import FIRST_STEPS
from trainer.engine.run import Outcome, Run
from trainer.engine.validation import best_constant
from trainer.report.report import Report
from trainer.rundir import gap, reader, resume
from trainer.rundir.checkpoint import weights_digest
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder
from trainer.rundir.report_folder import REPORT
from trainer.rundir.saved_options import flat

ALWAYS_SHOWN = ("data", "preprocess", "model", "act", "init", "loss", "optimizer", "sched")  # others when they differ
SETTINGS_SHOWN = ("epochs", "batch_size", "seed")
HIDDEN_KEYS = (".fused",)  # an implementation detail
DIGEST_SAMPLES = 64
FEW = 10  # evaluations
OTHER_THREADS = "another number of threads gives other last bits"


def resumed(run: Run, changed: Mapping[str, tuple[object, object]]) -> str:
    """Return the line of a resumed run, with the keys that have changed."""
    parts = [f"resumed after step {run.progress.step:,} of {run.clock.total_steps:,}"]
    for path, (before, now) in changed.items():
        parts.append(f"{path} was {as_typed(before)}, is {as_typed(now)}")
    if "threads" in changed:
        parts.append(OTHER_THREADS)
    if "epochs" in changed and not is_constant(run):
        parts.append("the schedule now spans the new length: its learning rates differ from those of the first part")
    return "; ".join(parts)


def is_constant(run: Run) -> bool:
    """Return whether the schedule gives one learning rate over the whole run, looking at ten steps."""
    return len({float(run.sched(run.clock.at(run.clock.total_steps * tenth // 10))) for tenth in range(10)}) == 1


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def decay_lists(model: torch.nn.Module) -> str:
    """Return the names of the parameters that weight decay and penalties act on, and of those that they leave alone."""
    decay = {id(weight) for weight in decay_parameters(model)}
    names = [(name, id(weight) in decay) for name, weight in model.named_parameters() if weight.requires_grad]
    lists = (", ".join(name for name, decays in names if decays is wanted) or "none" for wanted in (True, False))
    return "parameters that weight decay and penalties act on: {}\nand the others: {}".format(*lists)


def settings_table(cfg: DictConfig, invocation: Invocation) -> Iterator[tuple[str, str, str, bool]]:
    """Yield group, option, its keys, and whether any of it differs from the defaults; empty groups are left out."""
    choices = {**invocation.choices, **{group: ", ".join(names) for group, names in catalog.selected(cfg).items()}}
    usual = catalog.defaults() | {"reg": "", "aug": ""}
    known, common = schema.rules(cfg, invocation.choices), schema.keys(catalog.folder() / "config.yaml")
    values = {path: plain(OmegaConf.select(cfg, path)) for path in known}
    differing = {path for path, value in values.items() if value != known[path].default}
    for group in sorted(choices, key=place):
        own = [
            path
            for path in known
            if keys.owner_of(path, choices) == group and (path not in common or path in differing)
        ]
        differs = choices[group] != usual.get(group) or any(path in differing for path in own)
        if choices[group] and (group in ALWAYS_SHOWN or differs):
            yield group, choices[group], shown({path: values[path] for path in own}, group), differs
    changed = [path for path in known if "." not in path and path in differing]
    brief = {path: values[path] for path in dict.fromkeys((*SETTINGS_SHOWN, *changed))}
    yield "run", "", shown(brief, ""), bool(changed)


def place(group: str) -> tuple[int, str]:
    """Return a key that sorts rows: groups that are always shown first, nested options behind their group."""
    first = group.partition(".")[0]
    return ALWAYS_SHOWN.index(first) if first in ALWAYS_SHOWN else len(ALWAYS_SHOWN), group


def shown(values: Mapping[str, object], group: str) -> str:
    """Return keys and values in a line, as they are typed without their group."""
    visible = {
        path.removeprefix(f"{group}."): value for path, value in values.items() if not path.endswith(HIDDEN_KEYS)
    }
    return "  ".join(f"{key}={as_typed(value)}" for key, value in visible.items())


def facts(run: Run) -> Iterator[tuple[str, str]]:
    """Yield names and values of facts about a run: samples, model, steps, device."""
    available = run.data.train_available
    train = f"{len(run.train):,} of {available:,} train" if available else f"{len(run.train):,} train"
    sizes = f"{train}, {len(run.val):,} val, {len(run.test):,} test"
    kind = f"{run.data.outputs} classes" if run.data.task == "classification" else run.data.task
    if run.data.task == "regression" and run.data.outputs > 1:
        kind = f"{kind} of {run.data.outputs} outputs"
    shape = "x".join(map(str, run.data.input_shape))
    yield "samples", f"{sizes}; {shape}{' inputs' * (len(run.data.input_shape) == 1)}, {kind}"
    yield "model", f"{count_parameters(run.model):,} parameters"
    if run.progress.start:
        yield "weights", f"{run.progress.start['path']}  (sha256 {run.progress.start['sha256'][:12]})"
    if run.frozen:
        trained = sum(weight.numel() for weight in run.model.parameters() if weight.requires_grad)
        yield "trained", f"{trained:,} of the parameters, the others are frozen"
    if run.lr_factors:
        low, high = min(run.lr_factors.values()), max(run.lr_factors.values())
        yield "rates", f"by layer, {low:.3g} to {high:.3g} times that of the optimizer"
    yield "steps", f"{run.clock.total_steps:,} ({run.clock.steps_per_epoch:,} per epoch)"
    yield "device", describe(run.device)
    on_cpu = run.device.type == "cpu"  # elsewhere the threads say little
    yield from ((key, str(decision)) for key, decision in run.decisions.items() if on_cpu or key != "threads")


def hparams(cfg: DictConfig, run: Run, invocation: Invocation) -> dict[str, str | float]:
    """Return the HParams row: the option of every group and every setting of the run, never None, one type a key."""
    row: dict[str, str | float] = {group: "none" for group in catalog.groups()}
    row |= {group: option for group, option in invocation.choices.items() if option}
    row |= {group: "+".join(names) or "none" for group, names in catalog.selected(cfg).items()}
    for path, _ in flat(OmegaConf.to_container(cfg)):
        if keys.belongs_to_run(path) and not path.endswith("_target_"):
            value = OmegaConf.select(cfg, path, default=None)
            row[path] = value if is_number(value) else as_typed(plain(value))
    # As numbers also where they are words, `full` and `100st`.
    return {**row, "batch_size": run.batch_size, "epochs": run.clock.total_epochs}


def plain(value: object) -> object:
    """Return a value of a configuration without OmegaConf's own types."""
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def hparams_columns(directory: Path, overrides: Sequence[str]) -> set[str]:
    """Return the keys that the user chose for a run: what its sweep varies and what else it was resumed with.

    Of a run without a sweep, all that were typed and shape it.
    """
    swept, before = reader.read_swept(directory)
    chosen = [*swept, *(keys.key_of(text) for text in overrides if text not in before)]
    return {resume.plain_key(key).rpartition("@")[2] for key in chosen if keys.is_named(key)}


def hparams_metrics(summary: Mapping) -> dict[str, Mapping[str, float]]:
    """Return the scores of the HParams tab with their steps; it has those of the last validation from the curves."""
    test = summary["test"] and {**summary["test"], "step": summary["steps"]}
    return {when: scores for when, scores in (("best", summary["best"]), ("test", test)) if scores}


def why_stopped(run: Run) -> list[str]:
    """Return what the rules say that have ended a run."""
    return [stop.verdict for stop in run.slots.stop if isinstance(stop, HasVerdict) and stop.verdict]


def describe_data(run: Run) -> dict:
    """Return what a comparison of runs needs to know of their data: sizes, digests, and the scores of a constant."""
    splits = {"train": run.train, "val": run.val, "test": run.test}
    held_out = {name: split for name, split in splits.items() if name != "train" and len(split)}
    raw, criterion = {"val": run.data.val, "test": run.data.test}, run.criterion
    return {
        "samples": {name: len(split) for name, split in splits.items()},
        "samples_sha256": {name: digest(raw[name]) for name in held_out},
        "constant": {name: best_constant(run, split) for name, split in held_out.items()},
        "constant_loss": criterion.constant_loss if isinstance(criterion, HasBestConstant) else None,
    }


def digest(split: Split) -> str:
    """Return a digest of a split's targets and of some of its samples, before any preprocessing."""
    some = torch.linspace(0, len(split) - 1, min(DIGEST_SAMPLES, len(split))).long()
    tensors = (split.targets, read(split.images, some))
    return hashlib.sha256(b"".join(tensor.cpu().contiguous().numpy().tobytes() for tensor in tensors)).hexdigest()


def figures_of(
    run: Run,
    recorder: Recorder,
    outcome: Outcome,
    test: Mapping | None,
    kept: torch.nn.Module | None,
) -> dict:
    """Return the figures of summary.json.

    Args:
        kept: the model with the weights that were kept, if there are any.
    """
    throughputs = [row["throughput"] for row in recorder.rows if "throughput" in row and row["step"] > FIRST_STEPS]
    throughputs = throughputs or [row["throughput"] for row in recorder.rows if "throughput" in row]
    fresh = next((row for row in recorder.rows if row["split"] == "val" and not row["step"]), None)
    return {
        "status": outcome.status,
        **describe_data(run),
        "fresh": fresh,
        "best": run.progress.best,
        "final": {split: recorder.last(split) for split in ("train", "val")},
        "test": test,
        "gap": {name: value - train for name, (train, value) in gap.gaps(recorder.rows, run.progress.best).items()},
        "steps": outcome.now.step,
        **({"diverged_in": outcome.nonfinite_step} if outcome.nonfinite_step else {}),
        "epochs": outcome.now.epochs,
        "seconds": round(recorder.seconds, 3),
        "images_per_second": round(statistics.median(throughputs), 1) if throughputs else None,
        "parameters": count_parameters(run.model),
        "zeros": sum(int((weight == 0).sum()) for weight in decay_parameters(kept or run.model)),
        "weights_sha256": weights_digest(run.model),
        **({"start": run.progress.start} if run.progress.start else {}),
        **({"compile": run.compiling.figures()} if run.compiling else {}),
        "decided": {key: asdict(decision) for key, decision in run.decisions.items()},
    }


def print_summary(
    console: Console, summary: Mapping, run: Run, directory: Path, verdicts: Sequence[str], report: Report | None
) -> None:
    """Print the last lines of a run: figures, what it gets wrong, its verdicts, its directory, and how to look at it.

    Args:
        verdicts: their lines.
        report: on its errors, where it has one.
    """
    score = score_of(run.data.task).name
    rate = f", training at {summary['images_per_second']:,.0f} samples/s" if summary["images_per_second"] else ""
    console.print()
    when = f"at step {summary['diverged_in']:,}, noticed after" if "diverged_in" in summary else "after"
    console.print(f"{summary['status']} {when} {counted('step', summary['steps'])} in {summary['seconds']:.1f} s{rate}")
    final = {key: value for key, value in (summary["final"]["val"] or {}).items() if key in ("loss", score)}
    if final:
        console.print(f"  final  val   {figures(final)}")
    if best := summary["best"]:
        scores = {key: best[key] for key in ("loss", score)}
        when = epochs(run.clock.at(best["step"]).epochs)
        console.print(f"  best   val   {figures(scores)}  (epoch {when})")
        if summary["gap"]:
            console.print(f"  gap    val minus train  {figures(summary['gap'])}  (at the best)")
    if summary["test"]:
        console.print(f"  {'best' if best else 'last'}   test  {figures(summary['test'])}")
    for line in report.text if report else ():
        console.print(f"  {line}")
    if summary["zeros"] > 0.001 * summary["parameters"]:
        console.print(f"  {summary['zeros']:,} of {summary['parameters']:,} parameters are exactly 0")
    if summary["incomplete"]:
        console.print(f"  incomplete on the disk: {', '.join(summary['incomplete'])}")
    for line in verdicts:
        console.print(line)
    path = from_here(directory)
    console.print(f"\nRun directory: {path}")
    console.print(f"Curves:        {path / 'curves.png'}")
    if (directory / "fit.png").is_file():
        console.print(f"Fit:           {path / 'fit.png'}")
    if report and report.files:
        console.print(f"Errors:        {path / REPORT}")
    console.print(f"Compare runs:  {as_command('tensorboard', '--logdir', logdir(path))}")
    console.flush()


def logdir(directory: Path) -> Path:
    """Return the folder above all runs: outputs/DATE/RUN and outputs/sweeps/DATE/TIME/RUN both lie in outputs."""
    return next((parent for parent in directory.parents if parent.name == "outputs"), directory.parent)
