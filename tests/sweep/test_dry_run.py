"""Dry run of a large grid: which settings are tried, and what is said of those that are not."""

from trainer.base.errors import ConfigError
from trainer.sweep import dry_run
from trainer.sweep.dry_run import Trial, ends, required, settings_of, total


def test_settings_are_the_values_that_vary_but_for_the_seed():
    grid = [["model=mlp", f"optimizer.lr={rate}", f"seed={seed}"] for rate in (1, 2) for seed in (0, 1, 2)]
    found = settings_of(grid, {"optimizer.lr", "seed"})
    assert {setting: len(jobs) for setting, jobs in found.items()} == {("optimizer.lr=1",): 3, ("optimizer.lr=2",): 3}
    assert len(settings_of([["seed=0"], ["seed=1"]], {"seed"})[()]) == 2


def test_every_option_and_the_ends_of_every_number_are_tried():
    assert ends(["lr=0.1", "lr=1e-3", "lr=5", "lr=1"]) == ["lr=0.1", "lr=1e-3", "lr=5"]
    assert ends(["batch_size=8", "batch_size=full", "batch_size=16"]) == [
        "batch_size=8",
        "batch_size=full",
        "batch_size=16",
    ]
    options = [f"act={name}" for name in "abcdefg"]
    jobs = {(act, f"lr={rate}", f"epochs={length}"): 1 for act in options for rate in range(50) for length in (1, 2)}
    tried = [*required(jobs)]
    assert len(tried) == 7 and {act for act, _, _ in tried} == {*options}
    assert {rate for _, rate, _ in tried} == {"lr=0", "lr=49"} and {each for _, _, each in tried} == {
        "epochs=1",
        "epochs=2",
    }
    assert {*tried} <= {*jobs} and [*required({(): 1})] == [()]


def test_a_setting_that_was_not_tried_takes_as_long_as_the_closest_one():
    jobs = {(f"act={act}", f"epochs={length}"): [0, 1] for act in "ab" for length in (1, 9)}
    short, long = (Trial(1, 1, seconds, True) for seconds in (1.0, 5.0))
    trials = {("act=a", "epochs=1"): short, ("act=a", "epochs=9"): long}
    assert total(jobs, trials) == 2 * (1 + 5 + 1 + 5)
    assert total(jobs, {("act=a", "epochs=1"): ConfigError("x")}) == 0 == total(jobs, {})


GREEDY = """
from trainer.loss import CrossEntropy

class Greedy(CrossEntropy):
    def __call__(self, outputs, targets):
        if len(outputs) == 48:
            raise MemoryError
        return super().__call__(outputs, targets)
"""


def test_jobs_that_do_not_fit_into_memory_are_lines_among_the_others(package, run_in_process):
    mine = package(GREEDY)
    small = ("data=iris", "model=linear", "epochs=2", "threads=1", f"allow=[{mine}]", f"loss._target_={mine}.Greedy")
    code, printed, errors = run_in_process("-m", *small, "batch_size=48,40", "sweep.dry_run=true")
    first, second = printed.splitlines()[1:3]
    assert first.startswith("[1/2] batch_size=48: batch_size=48: does not fit into the memory of cpu"), errors
    assert second.startswith("[2/2] batch_size=40: 15 parameters, ")
    assert code == 4 and "1 of 2 jobs cannot be built" in errors
    wide = ("data=iris", "model=mlp", "threads=1", "epochs=1", "model.hidden=[8],[300000000000]")
    code, printed, errors = run_in_process("-m", *wide, "sweep.dry_run=true")
    assert code == 4 and "\n[2/2] model.hidden=[300000000000]: model=mlp: the run does not fit into" in printed, errors


def test_large_grids_are_tried_in_part(run_in_process, monkeypatch):
    monkeypatch.setattr(dry_run, "SECONDS", 0.0)
    monkeypatch.setattr(dry_run, "SHARE", float("inf"))
    rates, small = (
        ",".join(str(place) for place in range(1, 40)),
        ("data=iris", "model=linear", "epochs=5", "threads=1"),
    )
    words = (f"optimizer.lr={rates}", "batch_size=8,500,16", "seed=range(9)", "sweep.dry_run=true")
    code, printed, errors = run_in_process("-m", *small, *words)
    lines = printed.splitlines()
    assert lines[:1] == ["1,053 jobs in 117 settings; dry run"], errors
    assert lines[1:], errors
    assert [line.partition(" (9 jobs): ")[0] for line in lines[1:3]] == [
        "[1/117] optimizer.lr=1 batch_size=8",
        "[2/117] optimizer.lr=39 batch_size=500",
    ]
    assert (
        "2 of 117 settings were tried: every option, the ends of each list of numbers, and others at random"
        in lines[-2]
    )
    assert code == 2 and "train: at least 9 of 1,053 jobs cannot be built, the first with: batch_size=500: " in errors
