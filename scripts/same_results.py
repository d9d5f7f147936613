"""Compare two revisions run by run: final weights bit for bit, every row of metrics.jsonl, each task's figures.

    python scripts/same_results.py OLD [NEW] [--only TEXT] [--rename NEW_KEY=OLD_KEY ...]

OLD and NEW are git revisions; NEW defaults to the working tree. Each revision runs all command lines below in one
process, each command line in a folder of its own. `--rename` translates a key that OLD spells differently. One line is
printed for each command line; the exit code is 1 if any differs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMON = "epochs=2 batch_size=64 threads=1 device=cpu log_every=3"
BASE = f"model=mlp model.hidden=[16] {COMMON}"
OPTIMIZERS = (
    "adadelta adagrad adam adam_uncorrected adamax adamw ftrl kfac lamb lars lion lookahead momentum momentum_velocity "
    "muon nadam nesterov radam ranger rmsprop sam schedule_free sgd shampoo soap"
).split()
COMMANDS = [
    *(f"{BASE} optimizer={name}" for name in OPTIMIZERS),
    *(f"{BASE} optimizer={name} batch_size=full" for name in ("gd", "bfgs", "lbfgs", "newton")),
    *(f"{BASE} sampler={name}" for name in ("balanced", "hard_examples", "replacement", "sequential")),
    f"{BASE} averaging=ema norm=batch",
    f"{BASE} averaging=swa averaging.start=50% norm=batch epochs=4",
    f"{BASE} reg=[dropout,l2,label_smoothing,grad_clip,max_norm,early_stopping] epochs=3",
    f"{BASE} reg=[dropconnect,l1,grad_noise,weight_decay]",
    f"{BASE} reg=[elastic_net,l1_proximal] act=gelu init=he_normal",
    f"{COMMON} model=resnet20 reg=[stochastic_depth,spatial_dropout] epochs=1",
    f"{COMMON} model=cnn norm=group act=maxout aug=[crop,flip,mixup] epochs=1",
    f"{COMMON} model=cnn norm=batch tta=multi_scale epochs=1 "
    "aug=[affine,color_jitter,cutmix,random_erasing,randaugment]",
    f"{BASE} accumulate=4 drop_last=true batch_size=50 sched=cosine warmup=linear",
    f"{BASE} residency=stream workers=2 sched=step",
    f"{BASE} precision=bf16 epochs=1",
    f"{BASE} on_nan=skip optimizer=adam",
    f"{BASE} on_nan=rollback on_oom=halve",
    f"{BASE} data=iris loss=hinge preprocess=standardize",
    f"{COMMON} data=diabetes model=linear loss=mse",
    f"{BASE} data=breast_cancer loss=bce preprocess=standardize bias=marginal",
    f"{BASE} data=spirals init=orthogonal sched=plateau sched.patience=0 epochs=5",
    f"{COMMON} data=photos model=cnn tta=ten_crop epochs=1 data.size=16",
    f"{BASE} eval_every=5st save_every=7st norm=layer sched=one_cycle",
    f"{BASE} reg=dropout && resume=RUN epochs=+1",
    f"{BASE} norm=batch && task=evaluate runs=[RUN]",
    f"{BASE} seed=1 && {BASE} seed=2 && task=compare runs=[outputs]",
    "task=preview sched=cosine warmup=linear epochs=3",
    f"-m {BASE} optimizer=sgd,adam seed=0,1 epochs=1",
]
RUNNER = """
import contextlib, io, json, os, sys
from pathlib import Path
try:
    from trainer.cli.main import main
except ModuleNotFoundError:
    from trainer.cli import main

def runs():
    found = [path.parent for path in Path("outputs").rglob("summary.json")]
    return sorted(found, key=lambda path: (path / "overrides.txt").stat().st_mtime_ns)

def call(arguments):
    arguments = [argument.replace("RUN", str(runs()[-1])) if "RUN" in argument else argument for argument in arguments]
    sys.argv = ["train", *arguments]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException as error:
            code = repr(error)
    return code, output.getvalue()

results, home = [], Path.cwd()
for number, command in enumerate(json.load(open(sys.argv[1]))):
    folder = home / str(number)
    folder.mkdir()
    os.chdir(folder)
    result = {"codes": [], "runs": []}
    for arguments in command.split(" && "):
        if "RUN" in arguments and not runs():
            break  # the previous run has failed
        code, result["output"] = call(arguments.split())
        result["codes"].append(code)
    for run in runs():
        summary = json.loads((run / "summary.json").read_text())
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for row in rows:
            row.pop("seconds", None), row.pop("throughput", None), row.pop("time", None), row.pop("crc32", None)
        names = sorted(path.name for path in (run / "checkpoints").glob("*.pt"))
        kept = {key: summary.get(key) for key in ("status", "best", "test", "steps", "zeros")}
        for scores in (kept["best"], kept["test"]):
            if scores:
                scores.pop("seconds", None)
        weights = summary.get("weights_sha256")
        result["runs"].append({"weights": weights, "rows": rows, "summary": kept, "checkpoints": names})
    results.append(result)
os.chdir(home)
json.dump(results, open("results.json", "w"))
"""


def start_runner(checkout: Path, folder: Path, commands: list[str]) -> subprocess.Popen:
    """Start the process that runs the command lines in the folder and writes results.json."""
    folder.mkdir()
    (folder / "commands.json").write_text(json.dumps(commands))
    settings = {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-c", RUNNER, "commands.json"]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **settings})


def check_out(revision: str | None, folder: Path) -> Path:
    """Write the files of a revision to a folder, and return it; return the working tree for None."""
    if revision is None:
        return ROOT
    folder.mkdir()
    archive = subprocess.run(["git", "-C", ROOT, "archive", revision], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    return folder


def figures(output: str) -> list[str]:
    """Return the decimal numbers of a task's output, without times of day and durations."""
    return re.findall(r"(?<![\d-])\d+\.\d{3,}", output)


def differences(old: dict, new: dict, trains: bool) -> list[str]:
    """Name the parts that differ between the two results of a command."""
    found = [] if old["codes"] == new["codes"] else [f"exit codes {old['codes']} now {new['codes']}"[:200]]
    if len(old["runs"]) != len(new["runs"]):
        return [*found, f"{len(old['runs'])} runs, now {len(new['runs'])}"]
    for part in ("weights", "rows", "summary", "checkpoints"):
        if [run[part] for run in old["runs"]] != [run[part] for run in new["runs"]]:
            found.append(part)
    if not trains and figures(old["output"]) != figures(new["output"]):
        found.append("printed figures")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", metavar="OLD")
    parser.add_argument("new", metavar="NEW", nargs="?")
    parser.add_argument("--only", metavar="TEXT", default="", help="run the command lines that contain this text")
    parser.add_argument("--rename", metavar="NEW_KEY=OLD_KEY", nargs="*", default=[])
    arguments = parser.parse_args()
    commands = [command for command in COMMANDS if arguments.only in command]
    translated = commands
    for pair in arguments.rename:
        new, _, old = pair.partition("=")
        translated = [re.sub(rf"(?<![\w.]){re.escape(new)}(?==)", old, command) for command in translated]
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        processes = [
            start_runner(check_out(arguments.old, home / "old-code"), home / "old", translated),
            start_runner(check_out(arguments.new, home / "new-code"), home / "new", commands),
        ]
        if any(process.wait() for process in processes):
            sys.exit("a revision could not run the command lines")
        old, new = (json.loads((home / side / "results.json").read_text()) for side in ("old", "new"))
    different = 0
    for command, before, after in zip(commands, old, new, strict=True):
        found = differences(before, after, "task=" not in command)
        different += bool(found)
        shown = command.replace(BASE, "MLP").replace(COMMON, "COMMON")
        digest = after["runs"][-1]["weights"][:12] if after["runs"] and after["runs"][-1]["weights"] else ""
        print(
            f"{'equal' if not found else 'DIFFERS'}  {digest:12s}  exit {str(after['codes'])[:60]}  "
            f"train {shown}  {', '.join(found)}"
        )
    print(f"{len(commands) - different} of {len(commands)} command lines equal")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
