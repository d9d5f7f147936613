"""The lottery ticket experiment. BEGIN HERE: `Lottery.execute` is the whole of it.

Source: Frankle & Carbin, 2019, arXiv:1803.03635; rewinding to an early step: Frankle et al., 2020, arXiv:1912.05671.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.types import TaskFunction
from omegaconf import DictConfig

from trainer.base.errors import CheckFailed
from trainer.base.rng import derive
from trainer.base.text import counted, from_here
from trainer.comparison import record
from trainer.config.hydra_context import Invocation
from trainer.config.quoting import quote
from trainer.diagnosis.verdict import merged
from trainer.engine.run import Run
from trainer.lottery import starts
from trainer.lottery.masks import fraction_left, masked, prunable, pruned, whole
from trainer.lottery.result import DENSE, RANDOM, TICKET, Result, Row
from trainer.rundir.console import Console
from trainer.rundir.saved_options import selected_options
from trainer.sweep.grid import run_sweep

MASK = "pruning_mask"  # the regulariser that holds pruned weights at 0
MASK_KEY = f"reg.weights.{MASK}.file"
START = "model.weights"


@dataclass(frozen=True, kw_only=True)
class Lottery:
    """Rounds of training, pruning and rewinding, for each seed.

    Args:
        run, cfg, invocation: the dense run, and what it was built from.
        directory: of the experiment.
        rounds: of pruning.
        fraction: of the weights left, that a round prunes.
        head: factor on it for the output layer.
        scope: layer or global.
        rewind: step whose weights the tickets begin with.
        seeds: those of the runs.
        job: executes one run, in whatever process a launcher gives it.
        result: what is known so far.
    """

    run: Run
    cfg: DictConfig
    invocation: Invocation
    directory: Path
    rounds: int
    fraction: float
    head: float
    scope: str
    rewind: int
    seeds: Sequence[int]
    job: TaskFunction
    result: Result
    console: Console = field(default_factory=Console)

    def execute(self) -> None:
        """Train the dense network, then in each round a ticket and a random ticket of every seed.

        Errors: CheckFailed where a run does not finish; UserError.
        """
        images, _ = self.run.train.batch(self.run.random_samples("lottery", 2))
        heads = prunable(self.run.model, images)
        rates = {name: self.fraction * (self.head if head else 1.0) for name, head in heads.items()}
        trained = self.train(0, {DENSE: 1.0}, {seed: {DENSE: []} for seed in self.seeds})
        masks = {seed: whole(self.run.model.state_dict(), rates) for seed in self.seeds}
        for number in range(1, self.rounds + 1):
            words = {}
            for seed in self.seeds:
                weights = starts.trained_weights(trained[seed])
                masks[seed] = pruned(weights, masks[seed], rates, self.scope)
                words[seed] = self.begin(number, seed, masks[seed])
            left = sum(map(fraction_left, masks.values())) / len(masks)
            trained = self.train(number, dict.fromkeys((TICKET, RANDOM), left), words)

    def begin(self, number: int, seed: int, masks: Mapping) -> dict[str, list[str]]:
        """Write the mask and the initial weights of a round; return the overrides of its ticket and random ticket."""
        folder = self.directory / "weights"
        early, place = folder / f"seed-{seed}-rewound.safetensors", folder / f"round-{number}-seed-{seed}"
        with self.console.status("preparing the tickets"):
            if not early.exists():
                run = starts.seeded_run(self.cfg, seed, self.invocation, self.run.data)
                starts.write(early, starts.early_weights(run, self.rewind))
            starts.write(place / "mask.safetensors", masks)
            starts.write(place / f"{TICKET}.safetensors", masked(starts.read(early), masks))
            fresh = starts.seeded_run(self.cfg, derive(seed, f"{RANDOM} {number}"), self.invocation, self.run.data)
            starts.write(place / f"{RANDOM}.safetensors", masked(starts.on_host(fresh.model.state_dict()), masks))
        mask = f"{MASK_KEY}={quote((place / 'mask.safetensors').resolve())}"
        return {
            kind: [mask, f"{START}={quote((place / f'{kind}.safetensors').resolve())}"] for kind in (TICKET, RANDOM)
        }

    def train(
        self, number: int, left: Mapping[str, float], words: Mapping[int, Mapping[str, Sequence[str]]]
    ) -> dict[int, Path]:
        """Train the networks of a round, and return the runs that the next round prunes, by seed.

        Args:
            left: fraction of the weights that are left, by the kind of the network.
            words: overrides of each, by seed and kind.
        Errors: CheckFailed where one does not finish.
        """
        title = f"round {number} of {self.rounds}" if number else "dense network"
        what = f"{next(iter(left.values())):.1%} of the weights left"
        self.console.print(f"{title}: {what}, {counted('run', len(self.seeds) * len(left))}")
        jobs = [(seed, kind, self.overrides(seed, words[seed][kind])) for kind in left for seed in self.seeds]
        folder = self.directory / (f"round-{number}" if number else DENSE)
        grid = [overrides for *_, overrides in jobs]
        found = run_sweep(folder, grid, {START, "seed"}, self.invocation, self.job)
        records = {(seed, kind): record.read(job.directory) for (seed, kind, _), job in zip(jobs, found)}
        for known in records.values():
            if not known.complete:
                place = from_here(known.path)
                raise CheckFailed(f"{title}: a run has not finished ({known.status}); see {place}/run.log")
        for kind, fraction in left.items():
            scores = [self.result.score_of(records[seed, kind]) for seed in self.seeds]
            self.result.rows.append(Row(round=number, kind=kind, left=fraction, scores=scores))
            self.console.print(f"  {kind}: {self.result.metric.name} {self.result.rows[-1].shown}")
        first = next(iter(left))
        return {seed: records[seed, first].path for seed in self.seeds}

    def overrides(self, seed: int, words: Sequence[str]) -> list[str]:
        """Return the overrides of a run: those of the command, its seed, and what a ticket has besides."""
        more = [f"seed={seed}", *words]
        if words:
            own = [name for name in selected_options("reg", self.cfg.reg, "").split("+") if name != "none"]
            more.append(f"reg=[{','.join([*own, MASK])}]")
        return merged(self.invocation.run_overrides, more)
