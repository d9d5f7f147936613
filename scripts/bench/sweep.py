"""Cost of a sweep: jobs in one process against as many processes, joblib's processes against one after the other.

    python scripts/bench/sweep.py [--jobs 20] [--long 8] [--seconds 10] [--pairs 3]

First: short jobs on digits in one sweep, and the same as commands of their own. A further job of the sweep costs its
training, Hydra's time to compose it, and overhead. Then: `--long` jobs of about `--seconds` each, in turn and by joblib
with as many processes as there are cores, one thread a job.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHORT = ("model=mlp", "epochs=8", "threads=1", "device=cpu")


def timed(arguments: list[str], folder: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "trainer", *arguments],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return time.perf_counter() - start


def seconds(folder: str, name: str) -> float:
    """Return the seconds of all jobs of a sweep, from the first step to the last evaluation."""
    return sum(json.loads(path.read_text())["seconds"] for path in Path(folder, name).glob("*/summary.json"))


def composing(count: int) -> float:
    """Return the seconds that Hydra takes to compose a job."""
    from hydra import compose, initialize_config_dir

    from trainer.config import catalog

    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        compose("config", [*SHORT], return_hydra_config=True)
        start = time.perf_counter()
        for seed in range(count):
            compose("config", [*SHORT, f"seed={seed}"], return_hydra_config=True)
        return (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--long", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        count = arguments.jobs
        one = timed(["-m", *SHORT, f"seed=range({count})", "hydra.sweep.dir=one"], folder)
        single = timed(["-m", *SHORT, "seed=0", "hydra.sweep.dir=single"], folder)
        apart = sum(timed([*SHORT, f"seed={seed}"], folder) for seed in range(count))
        working = (seconds(folder, "one") - seconds(folder, "single")) / (count - 1)
        each, compose = (one - single) / (count - 1), composing(count)
        print(
            f"{count} jobs of {working:.2f} s: one process {one:.1f} s, "
            f"{count} processes {apart:.1f} s: {apart / one:.1f} times"
        )
        print(
            f"a further job takes {each * 1e3:.0f} ms: {working * 1e3:.0f} of training, "
            f"{compose * 1e3:.0f} for Hydra to compose it, {(each - working - compose) * 1e3:.0f} of overhead"
        )
        epochs = max(1, round(8 * arguments.seconds / working))
        overrides = ["-m", *SHORT, f"epochs={epochs}", f"seed=range({arguments.long})"]
        ratios = []
        for pair in range(arguments.pairs):
            turn = timed([*overrides, f"hydra.sweep.dir=turn{pair}"], folder)
            beside = timed([*overrides, f"hydra.sweep.dir=beside{pair}", "hydra/launcher=joblib"], folder)
            ratios.append(turn / beside)
            each = [seconds(folder, f"{name}{pair}") / arguments.long for name in ("turn", "beside")]
            print(
                f"{arguments.long} jobs: in turn {turn:.0f} s, {each[0]:.1f} s each; "
                f"joblib {beside:.0f} s, {each[1]:.1f} s each, on {os.cpu_count()} cores: {ratios[-1]:.2f} times",
                flush=True,
            )
        print(f"median of {len(ratios)} pairs: {statistics.median(ratios):.2f} times")


if __name__ == "__main__":
    main()
