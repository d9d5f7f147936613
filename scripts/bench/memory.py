"""Time training whose freed memory stays in the process, in turn with one that gives it back to the system.

    python scripts/bench/memory.py [--rounds 5] [OVERRIDE ...]

Whole processes of `train` with one thread, by default ResNet-20 on random images of 3 x 32 x 32, 40 batches of 128.
Printed are medians of the processor time, of the page faults and of the largest memory, and the ratio of the times.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from turns import random_images

SAMPLES = 1280
WORDS = ["model=resnet20", "norm=batch", "batch_size=128", "epochs=40st"]
AS_THE_SYSTEM = {"GLIBC_TUNABLES": "glibc.malloc.check=0"}  # its default: `train` leaves glibc as it is
WAYS = {"freed memory kept": {}, "given back": AS_THE_SYSTEM}


def measure(words: list[str], environment: dict[str, str], folder: Path) -> tuple[float, int, float]:
    """Return the processor seconds of a run, its page faults, and its largest memory in MiB."""
    command = [sys.executable, "-m", "trainer", *words, f"output={folder / 'outputs'}", "device=cpu", "threads=1"]
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: exit code {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, used.ru_minflt, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, int, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        words = [*random_images(Path(name), SAMPLES), *WORDS, *arguments.overrides]
        for number in range(arguments.rounds):
            for way in [*WAYS] if number % 2 else reversed(WAYS):
                found[way].append(measure(words, WAYS[way], Path(name)))
    for way, rounds in found.items():
        seconds, faults, memory = map(statistics.median, zip(*rounds))
        print(f"{way:18} {seconds:6.1f} s of processor time  {faults:12,.0f} page faults  {memory:,.0f} MiB")
    ratios = [kept[0] / back[0] for kept, back in zip(*found.values())]
    print(f"ratio of the times: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
