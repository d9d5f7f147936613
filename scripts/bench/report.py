"""Time what the report at the end of a run takes, as a fraction of the whole run.

    python scripts/bench/report.py [OVERRIDE ...]

Without overrides: digits, long enough for 30 s on a laptop. The run is a process of its own, from the first line of its
program to its last. Counted as the report: reducing the predictions, figures, files and pictures, and writing all of
it, as far as the run waits for the process beside it, which imports scikit-learn and matplotlib meanwhile. The
evaluation of the split is not: a run without a report evaluates it as well. Beside wall time stands the processor's,
that of the run's own process.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).parents[2]
USUAL = ("epochs=300", "model=cnn")
PROGRAM = """
import json, sys, time
begin = time.perf_counter(), time.process_time()
spent = {}

def timed(name, call):
    def timed_call(*arguments, **settings):
        start = time.perf_counter(), time.process_time()
        try:
            return call(*arguments, **settings)
        finally:
            wall, cpu = spent.get(name, (0.0, 0.0))
            spent[name] = wall + time.perf_counter() - start[0], cpu + time.process_time() - start[1]
    return timed_call

from trainer.cli.program import program
from trainer.engine import last_files, split_report
from trainer.report.collector import Collector

Collector.add = timed("reduce", Collector.add)
Collector.predictions = timed("reduce", Collector.predictions)
split_report.make_report = timed("report", split_report.make_report)
last_files.write_report = timed("write", last_files.write_report)
sys.argv = ["train", *sys.argv[2:]]
try:
    program()
finally:
    whole = time.perf_counter() - begin[0], time.process_time() - begin[1]
    open(RESULT, "w").write(json.dumps({"whole": whole, **spent}))
"""


def main() -> None:
    overrides = sys.argv[1:] or [*USUAL]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        program = PROGRAM.replace("RESULT", repr(str(result)))
        command = [sys.executable, "-c", program, "-", f"output={folder}/outputs", *overrides]
        environment = {**os.environ, "PYTHONPATH": str(HOME)}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        times = json.loads(result.read_text())
    whole = times.pop("whole")
    wall, cpu = (sum(parts) for parts in zip(*times.values()))
    print(f"train {' '.join(overrides)}")
    for name, (seconds, own) in times.items():
        print(f"  {name:7s} {seconds:7.2f} s   processor {own:7.2f} s")
    print(f"report {wall:.2f} of {whole[0]:.1f} s: {wall / whole[0]:.2%}", end="; ")
    print(f"processor {cpu:.2f} of {whole[1]:.1f} s: {cpu / whole[1]:.2%}")


if __name__ == "__main__":
    main()
