"""Verdict on the speed of a run: samples per second that have dropped and stayed low."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from trainer.diagnosis.evidence import Evidence, is_positive
from trainer.diagnosis.verdict import Verdict

DROPPED = 0.5  # throughput at the end over that at the start
STEADY = 0.8  # fraction of the points at the end that are so low, and their median with them
LOST = 10.0  # seconds that it has cost at the end: what is over sooner may be another program's moment
PARTS = 5  # of the steps: the first is the warm-up, the second the start, the last the end
FEW = 5  # points of a part
PAUSE = 1.0  # seconds between a run's own clock and the calendar's, from one point to the next, that only a pause makes
DRIFT = 0.001  # the same, of the seconds between the points: two clocks differ by less


@dataclass(frozen=True)
class Speed:
    """Throughput of a run.

    Args:
        early, late: samples per second, medians of the second and of the last fifth of the steps.
        slow: fraction of the points of the last fifth that are below half of `early`.
        lost: seconds that the last fifth would have been shorter at the speed of `early`.
    """

    early: float
    late: float
    slow: float
    lost: float


def speed_of(evidence: Evidence) -> Speed | None:
    """Return the speed of a run since it was last resumed; None where there are too few points to say.

    Another machine may have done what came before. Evaluations are not in the throughput of a point. None where the
    steps of an optimizer evaluate the loss as often as a line search needs.
    """
    rows = since_resumed([row for row in evidence.training if is_positive(row.get("throughput"))])
    if len(rows) < PARTS * FEW or any(key.endswith(".max_eval") for key in evidence.values):
        return None
    begin, end = rows[0]["step"], rows[-1]["step"]
    parts: list[list[tuple[int, float]]] = [[] for _ in range(PARTS)]
    for before, row in pairwise(rows):
        place = (row["step"] - begin) * PARTS // (end - begin + 1)
        parts[place].append(((row["step"] - before["step"]) * evidence.batch, row["throughput"]))
    if min(len(parts[1]), len(parts[-1])) < FEW:
        return None
    early, late = (median(throughput for _, throughput in part) for part in (parts[1], parts[-1]))
    slow = sum(throughput < DROPPED * early for _, throughput in parts[-1]) / len(parts[-1])
    lost = sum(samples / throughput - samples / early for samples, throughput in parts[-1])
    return Speed(early, late, slow, lost)


def since_resumed(rows: Sequence[Mapping]) -> Sequence[Mapping]:
    """Return the rows since the run was last resumed: there the calendar's time jumps and the run's own does not."""
    known = [row for row in rows if row.get("time") is not None and row.get("seconds") is not None]
    begin = 0
    for place, (before, row) in enumerate(pairwise(known), 1):
        own, calendar = row["seconds"] - before["seconds"], row["time"] - before["time"]
        if abs(calendar - own) > PAUSE + DRIFT * abs(own):
            begin = place
    return known[begin:]


def throughput_dropped(evidence: Evidence) -> Iterator[Verdict]:
    """A run whose steps have become slow and have stayed so."""
    speed = speed_of(evidence)
    if speed is None or speed.slow < STEADY or speed.lost < LOST:
        return
    streamed = evidence.values.get("residency") == "stream"
    disk = "; the disk too, from which samples are streamed (residency=host keeps them in memory)" if streamed else ""
    yield Verdict(
        code="throughput_dropped",
        level="hint",
        what=f"training slowed down from {speed.early:,.0f} to {speed.late:,.0f} samples per second, "
        f"which cost {speed.lost:,.0f} s in the last fifth of the steps",
        meaning="The work of a step is the same: something else takes the time, or code of your own does more from "
        "step to step.",
        other=f"look at the machine's other programs, its memory and its temperature (top, nvidia-smi){disk}",
        numbers={
            "throughput": (speed.late / speed.early, DROPPED),
            "slow": (speed.slow, STEADY),
            "lost": (speed.lost, LOST),
        },
    )
