"""Time from `import torch` to the first prediction of a run, in fresh processes.

    python scripts/bench/load.py RUN INPUT [--rounds 5]

The first number is `import torch` alone, the others come behind it: `from trainer import load`, `load(RUN)`, and the
prediction of the first input. The table has medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[2]
PROGRAM = """
import json, sys, time
times = [time.perf_counter()]
import torch
times.append(time.perf_counter())
from trainer import load
times.append(time.perf_counter())
model = load(sys.argv[1], device="cpu")
times.append(time.perf_counter())
assert model.predict(sys.argv[2])
times.append(time.perf_counter())
print(json.dumps([end - start for start, end in zip(times, times[1:])]))
"""
PARTS = ("import torch", "from trainer import load", "load(RUN)", "model.predict(INPUT)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("input")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    command = [sys.executable, "-c", PROGRAM, arguments.run, arguments.input]
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    rounds = [
        json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
        for _ in range(arguments.rounds)
    ]
    for name, seconds in zip(PARTS, zip(*rounds)):
        print(f"{name:25s}{statistics.median(seconds):6.2f} s")
    print(f"beyond import torch {statistics.median(sum(each[1:]) for each in rounds):.2f} s")


if __name__ == "__main__":
    main()
