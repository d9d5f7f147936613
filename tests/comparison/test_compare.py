"""Rankings: the settings that vary, their scores over the seeds, and which is best; from runs of any age and state."""

import csv
import io
import json
import math
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rich.console
import yaml
from conftest import only_run
from filelock import FileLock
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from trainer.base.errors import DataError
from trainer.base.metrics import ACCURACY
from trainer.comparison import plot, table
from trainer.comparison.findings import incomparable
from trainer.comparison.ranking import differences, rank, varying
from trainer.comparison.record import find, read
from trainer.config import catalog
from trainer.config.untrusted import read_yaml
from trainer.rundir.console import Console
from trainer.rundir.saved_options import options_of

ADAM = {"optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001, "eps": 1e-8}}
SGD = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1}}


def row(split, epoch, loss, **scores):
    return {"step": 20 * epoch, "epoch": epoch, "split": split, "lr": 0.1, "seconds": 1.0, "loss": loss, **scores}


GROUPS = {group: {} for group in catalog.defaults()}


@pytest.fixture
def written(tmp_path):
    """Write a run's directory: val accuracies an epoch (losses 1 minus them), a test accuracy, a configuration."""

    def write(name, val=(0.5,), test=0.4, overrides=(), status="finished", rows=None, **config):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(
            yaml.safe_dump({**GROUPS, "seed": 0, "epochs": 30, "monitor": "auto", "output": name, **SGD, **config})
        )
        (folder / "overrides.txt").write_text("".join(f"{line}\n" for line in overrides))
        rows = rows or [
            row("val", epoch, 1 - accuracy, accuracy=accuracy) for epoch, accuracy in enumerate(val, start=1)
        ] + [row("test", len(val), 1 - test, accuracy=test)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
        (folder / "run.log").write_text(f"some lines\n\nwhy {name} ended\n\n")
        if status:
            (folder / "summary.json").write_text(json.dumps({"status": status, "seed": 0, "seconds": 2.0}))
        return folder

    return write


@pytest.fixture
def two(written):
    """Adam over three seeds, SGD over two."""
    adam = [
        written(
            f"adam-{seed}",
            val=(0.5, best, 0.6),
            test=best - 0.1,
            overrides=["optimizer=adam", f"seed={seed}"],
            seed=seed,
            **ADAM,
        )
        for seed, best in enumerate((0.90, 0.92, 0.97))
    ]
    sgd = [
        written(f"sgd-{seed}", val=(0.3, best), test=0.7, overrides=["optimizer=sgd", f"seed={seed}"], seed=seed)
        for seed, best in enumerate((0.95, 0.97))
    ]
    return [*adam, *sgd]


def records(folders):
    return [read(folder) for folder in folders]


def cells(text):
    """The rows of a printed table, split at spaces."""
    return [line.split() for line in text.splitlines() if line.strip()]


def test_seeds_are_grouped_to_mean_and_sample_deviation_best_first(two):
    ranking = rank(records(two))
    assert ranking.columns == ["optimizer"] and ranking.by == "best val accuracy"
    assert [setting.cells for setting in ranking.settings] == [{"optimizer": "sgd"}, {"optimizer": "adam"}]
    sgd, adam = ranking.settings
    assert sgd.mean("best", "accuracy") == pytest.approx(0.96) and adam.mean("best", "accuracy") == pytest.approx(0.93)
    # (0.03^2 + 0.01^2 + 0.04^2) / (3 - 1) and (0.01^2 + 0.01^2) / (2 - 1)
    assert adam.deviation("best", "accuracy") == pytest.approx(math.sqrt(0.0013)) and sgd.deviation(
        "best", "accuracy"
    ) == pytest.approx(math.sqrt(0.0002))
    assert adam.mean("final", "accuracy") == pytest.approx(0.6) and adam.mean("test", "accuracy") == pytest.approx(0.83)
    assert adam.mean("best", "loss") == pytest.approx(0.07)
    assert (adam.status, adam.seeds) == ("3 finished", ["0", "1", "2"])
    head, first, second = table.table_rows(ranking)
    scores = ["best val accuracy", "test accuracy", "final val accuracy"]
    assert head == ["", "optimizer", *scores, "steps", "seeds", "status"]  # 3 and 2 epochs of 20 steps
    scores = ["0.9300 +/- 0.0361", "0.8300 +/- 0.0361", "0.6000 +/- 0.0000"]
    assert second == ["2", "adam", *scores, "60", "0,1,2", "3 finished"]
    assert first[:3] == ["1", "sgd", "0.9600 +/- 0.0141"]


def test_one_seed_has_no_deviation(two):
    ranking = rank(records([two[0], two[4]]))
    assert [list(table.table_rows(ranking))[place][2] for place in (1, 2)] == ["0.9700", "0.9000"]
    assert ranking.settings[0].deviation("best", "accuracy") is None


def test_a_key_that_an_older_version_did_not_have_has_its_default(written):
    digits = {"_target_": "trainer.data.sklearn.Digits", "val_fraction": 0.1}
    older = written("older", data=digits, **SGD)
    newer = written("newer", data={**digits, "train_samples": "all"}, overrides=["optimizer=adam"], **ADAM)
    few = written("few", data={**digits, "train_samples": 100}, overrides=["data.train_samples=100"], **SGD)
    ranking = rank(records([older, newer]))
    assert [*incomparable(ranking)] == []
    assert [key for key, *_ in differences(*ranking.jobs) if key.startswith("data")] == []
    assert {job.cells["data.train_samples"] for job in rank(records([older, few])).jobs} == {"all", "100"}


def test_a_class_that_an_older_version_named_otherwise_is_the_same_option(written):
    older, newer = (
        written(name, init={"_target_": f"trainer.init.fixed_scale.{name}"}) for name in ("Default", "Torch")
    )
    assert {record.options["init"] for record in records([older, newer])} == {"torch"}


def test_many_seeds_are_counted_and_sorted(written):
    folders = [written(f"s{seed}", seed=seed) for seed in range(12)]
    (setting,) = rank(records(reversed(folders))).settings
    assert setting.seeds == [str(seed) for seed in range(12)] and table.list_seeds(setting) == "12 seeds"
    assert setting.label == "" and setting.status == "12 finished"


EVALUATIONS = [
    row("val", 1, 0.9, accuracy=0.6),
    row("val", 2, 0.3, accuracy=0.7),
    row("val", 3, 0.5, accuracy=0.8),
    row("val", 4, 0.4, accuracy=0.8),
    row("val", 5, 0.6, accuracy=0.5),
]


@pytest.mark.parametrize(("monitor", "epoch"), [("auto", 4), ("accuracy", 4), ("loss", 2)])
def test_the_best_evaluation_is_the_monitors_and_the_loss_decides_between_equals(monitor, epoch, written):
    record = read(written("a", rows=EVALUATIONS, monitor=monitor))
    assert record.evaluation("best")["epoch"] == epoch and record.evaluation("final")["epoch"] == 5
    assert record.evaluation("test") == {} and record.score("test", "accuracy") is None


def test_a_record_has_the_evaluations_of_the_runs_own_summary(run_in_process, tmp_path):
    assert run_in_process("model=mlp", "epochs=3", "threads=1", "optimizer.lr=0.3")[0] == 0
    directory = only_run(tmp_path)
    summary, record = json.loads((directory / "summary.json").read_text()), read(directory)
    for name in ("loss", "accuracy"):
        assert record.score("best", name) == summary["best"][name]
        assert (
            record.score("final", name) == summary["final"]["val"][name]
            and record.score("test", name) == summary["test"][name]
        )
    (directory / "metrics.jsonl").unlink()
    bare = read(directory)
    assert [bare.score(when, "accuracy") for when in ("best", "final", "test")] == [
        record.score(when, "accuracy") for when in ("best", "final", "test")
    ]
    assert bare.monitor is ACCURACY and bare.status == "finished"


def test_a_small_loss_and_a_large_r2_are_best(written):
    low = written("low", rows=[row("val", 1, 0.2, r2=0.5)], epochs=1)
    high = written("high", rows=[row("val", 1, 0.4, r2=0.9)], epochs=2)
    assert [setting.cells["epochs"] for setting in rank(records([low, high])).settings] == ["2", "1"]
    for folder in (low, high):
        content = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**content, "monitor": "loss"}))
    ranking = rank(records([high, low]))
    assert ranking.by == "best val loss" and [setting.cells["epochs"] for setting in ranking.settings] == ["1", "2"]


@pytest.mark.parametrize(
    ("monitors", "scores", "expected"),
    [
        (("auto", "auto"), ("accuracy", "accuracy"), "accuracy"),
        (("loss", "loss"), ("accuracy", "accuracy"), "loss"),
        (("loss", "auto"), ("accuracy", "accuracy"), "accuracy"),
        (("auto", "auto"), ("accuracy", "r2"), "loss"),
        (("auto", "auto"), ("r2", "r2"), "r2"),
    ],
)
def test_runs_are_ranked_by_what_all_of_them_have(monitors, scores, expected, written):
    folders = [
        written(f"{place}", rows=[row("val", 1, 0.5, **{name: 0.5})], monitor=monitor)
        for place, (monitor, name) in enumerate(zip(monitors, scores))
    ]
    assert rank(records(folders)).metric.name == expected


def test_without_a_validation_split_the_test_split_decides(written):
    folders = [
        written(f"{epochs}", rows=[row("test", 1, 1 - score, accuracy=score)], epochs=epochs)
        for epochs, score in ((1, 0.7), (2, 0.8))
    ]
    ranking = rank(records(folders))
    assert ranking.by == "test accuracy" and [setting.cells["epochs"] for setting in ranking.settings] == ["2", "1"]
    assert next(table.table_rows(ranking)) == ["", "epochs", "test accuracy", "seeds", "status"]


def test_the_loss_decides_between_equal_scores_and_complete_runs_come_first(written):
    worse = written("worse", rows=[row("val", 1, 0.5, accuracy=0.8)], epochs=1)
    better = written("better", rows=[row("val", 1, 0.4, accuracy=0.8)], epochs=2)
    diverged = written("diverged", rows=[row("val", 1, 0.1, accuracy=0.99)], epochs=3, status="diverged")
    nothing = written("nothing", rows=[row("train", 1, 0.1, accuracy=0.99)], epochs=4)
    assert [setting.cells["epochs"] for setting in rank(records([diverged, nothing, worse, better])).settings] == [
        "2",
        "1",
        "4",
        "3",
    ]


def test_only_complete_runs_count_and_the_status_names_the_others(written):
    folders = [
        written("a", val=(0.9,), seed=0),
        written("b", val=(0.1,), seed=1, status="diverged"),
        written("c", val=(0.8,), seed=2, status="stopped"),
    ]
    (setting,) = rank(records(folders)).settings
    assert setting.status == "1 finished, 1 stopped, 1 diverged"
    assert setting.mean("best", "accuracy") == pytest.approx(0.85)
    head, line = table.csv_rows(rank(records(folders)))
    assert dict(zip(head, line))["runs"] == 3 and dict(zip(head, line))["ended"] == 2
    (alone,) = rank(records(folders[1:2])).settings
    assert alone.mean("best", "accuracy") == pytest.approx(0.1) and alone.status == "diverged"


def test_of_two_runs_of_one_job_the_newest_complete_one_counts(written):
    for name, age, status, score in (
        ("old", 100, "finished", 0.5),
        ("new", 200, "finished", 0.6),
        ("broken", 300, "interrupted", 0.7),
    ):
        for file in (folder := written(name, val=(score,), status=status)).iterdir():
            os.utime(file, (age, age))
    ranking = rank(records(sorted(folder.parent.iterdir())))
    (setting,) = ranking.settings
    assert [job.path.name for job in setting.jobs] == ["new"] and setting.status == "finished"
    assert len(ranking.notes) == 2 and all("left out: " in note and note.endswith("runs/new") for note in ranking.notes)


L2 = {"_target_": "a.L2", "strength": 1.0}
STRONGER = {"_target_": "a.L2", "strength": 2.0}
FLIP = {"_target_": "a.F", "p": 0.5}
FASTER = {"optimizer": {**SGD["optimizer"], "lr": 0.2}}
NONE = [[], []]
DIFFERENCES = [
    ([SGD, ADAM], NONE, ["optimizer"]),  # that their keys differ is no difference of its own
    ([SGD, FASTER], NONE, ["optimizer.lr"]),
    (
        [SGD, ADAM],
        [["optimizer=sgd", "optimizer.lr=0.1"], ["optimizer=adam", "optimizer.lr=0.001"]],
        ["optimizer", "optimizer.lr"],
    ),
    (
        [SGD, ADAM],
        [["optimizer.lr=0.1", "optimizer=sgd"], ["optimizer.lr=0.001", "optimizer=adam"]],
        ["optimizer.lr", "optimizer"],
    ),
    (
        [{"seed": 1, "output": "a", "resume": {"run": "x"}}, {"seed": 2, "output": "b", "resume": {"run": "y"}}],
        NONE,
        [],
    ),
    ([{"reg": {"loss": {"l2": L2}}}, {}], NONE, ["reg"]),
    ([{"reg": {"loss": {"l2": L2}}}, {"reg": {"loss": {"l2": STRONGER}}}], NONE, ["reg.loss.l2.strength"]),
    (
        [{"reg": {"loss": {"l2": L2}}}, {"reg": {"loss": {"l2": STRONGER, "l1": {"_target_": "a.L1"}}}}],
        NONE,
        ["reg", "reg.loss.l2.strength"],
    ),
    ([{"aug": {"flip": FLIP}}, {"aug": {"flip": FLIP, "crop": {"_target_": "a.C"}}}], NONE, ["aug"]),
    ([{"epochs": 1}, {"epochs": 1}], [["epochs=1"], ["epochs=1"]], []),
    (
        [{"epochs": 1, "batch_size": 8}, {"epochs": 2, "batch_size": "full"}],
        [["batch_size=8"], ["batch_size=full"]],
        ["batch_size", "epochs"],
    ),
    (
        [{"optimizer": {"_target_": "trainer.X", "base": {**node["optimizer"]}}} for node in (SGD, ADAM)],
        NONE,
        ["optimizer.base"],
    ),
]


@pytest.mark.parametrize(("configs", "overrides", "expected"), DIFFERENCES)
def test_only_settings_that_differ_are_columns(configs, overrides, expected, written):
    found = records(
        [
            written(f"{place}", overrides=typed, **config)
            for place, (config, typed) in enumerate(zip(configs, overrides))
        ]
    )
    assert varying(found) == expected


def test_three_settings_have_the_keys_that_distinguish_them(written):
    nodes = [SGD, ADAM, {"optimizer": {**ADAM["optimizer"], "lr": 0.01}}]
    ranking = rank(records([written(f"{place}", val=(0.9 - place / 10,), **node) for place, node in enumerate(nodes)]))
    assert [list(setting.cells.values()) for setting in ranking.settings] == [
        ["sgd", "0.1"],
        ["adam", "0.001"],
        ["adam", "0.01"],
    ]
    assert ranking.settings[1].label == "optimizer=adam optimizer.lr=0.001"


@pytest.mark.parametrize(
    "overrides",
    [
        {"model": "resnet56", "act": "gelu", "norm": "group", "optimizer": "momentum"},
        {"model": "resnet20", "init": "he_normal", "averaging": "ema", "pool": "max"},
        {"model": "mlp", "init": "xavier_uniform", "sched": "one_cycle", "warmup": "linear", "tta": "flip"},
        {"data": "iris", "model": "mlp", "optimizer": "adamw", "loss": "cross_entropy", "preprocess": "standardize"},
    ],
)
def test_options_that_were_not_typed_are_found_by_the_configuration(overrides, composed):
    config = OmegaConf.to_container(composed(*(f"{group}={option}" for group, option in overrides.items())))
    found = dict(options_of(config, []))
    assert (
        {group: found[group] for group in overrides} == overrides
        and found["reg"] == found["aug"] == "none"
        and found["task"] == "train"
    )


def test_combined_and_wrapped_options_are_found(composed):
    config = OmegaConf.to_container(
        composed("reg=[l2,dropout]", "aug=[flip]", "optimizer=lookahead", "optimizer@optimizer.base=adam")
    )
    found = dict(options_of(config, []))
    assert set(found["reg"].split("+")) == {"l2", "dropout"} and found["aug"] == "flip"
    assert (found["optimizer"], found["optimizer.base"]) == ("lookahead", "adam")
    typed = dict(options_of(config, ["optimizer=mine", "optimizer@optimizer.base=his"]))  # from a folder of one's own
    assert (typed["optimizer"], typed["optimizer.base"]) == ("mine", "his")
    assert dict(options_of({"sched": {"_target_": "my_package.Fancy"}}, []))["sched"] == "Fancy"


def test_a_locked_run_is_running_and_a_killed_one_is_unfinished(written):
    folder = written("live", val=(0.5, 0.6), status=None)
    assert read(folder).status == "unfinished"
    with FileLock(folder / ".lock"):
        assert read(folder).status == "running"
    assert read(folder).status == "unfinished"
    (folder / "summary.json").write_text('{"status": "finished"}')
    with FileLock(folder / ".lock"):  # resumed: the summary is of the earlier part
        assert read(folder).status == "running" and read(folder).score("best", "accuracy") == 0.6
    assert read(folder).status == "finished"


GARBAGE = {
    "cut": lambda content: content[: len(content) // 2],
    "binary": lambda content: b"\x00\xff\x1b[2J\n\xfe{",
    "list": lambda content: b"[1, 2]\n",
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("harm", ["gone", *GARBAGE])
@pytest.mark.parametrize("name", ["config.yaml", "overrides.txt", "summary.json", "metrics.jsonl", "run.log"])
def test_a_damaged_run_is_read_as_far_as_possible(name, harm, two, tmp_path, capsys):
    path = two[0] / name
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(GARBAGE[harm](path.read_bytes()))
    directories, _ = find([str(two[0].parent)])
    ranking = rank(records(directories))
    assert "sgd" in {setting.cells["optimizer"] for setting in ranking.settings} and len(ranking.jobs) == 5
    table.print_ranking(ranking, Console())
    assert "5 runs" in (printed := capsys.readouterr().out) and "\x1b" not in printed
    assert len(list(table.csv_rows(ranking))) == len(list(table.table_rows(ranking))) == 1 + len(ranking.settings)
    if name == "metrics.jsonl":
        plot.draw(ranking, tmp_path / "a.png")


def test_values_that_are_not_finite_numbers_are_ignored(written):
    rows = [
        row("val", 1, 0.5, accuracy=0.5),
        row("val", 2, None, accuracy=0.9),
        row("val", 3, float("nan"), accuracy=0.9),
        row("val", 4, True, accuracy=0.9),
    ]
    rows += [
        row("val", 5, 10**400, accuracy=0.9),
        row("val", 6, 0.1, accuracy=float("inf")),
        row("val", 7, 0.4, accuracy="0.9"),
        {"split": "val", "loss": 0.1, "accuracy": 1.0},
    ]
    record = read(written("odd", rows=rows))
    assert record.evaluation("best")["epoch"] == 1 and record.evaluation("final")["epoch"] == 2
    assert record.score("final", "accuracy") == 0.9 and record.score("final", "loss") is None
    line = (record.path / "metrics.jsonl").read_text()
    (record.path / "metrics.jsonl").write_text('{"step": 9, "ep\n' + line + '{"step": 9, "epoch": 9, "split": "va')
    assert [row["epoch"] for row in read(record.path).rows] == [1, 2]  # a run writes no others


def test_names_with_control_characters_are_escaped(written, tmp_path, capsys):
    evil = "\x1b[31mred\x07\u202e\r\n|$x_{$`[bold]"
    folders = [
        written(
            f"{place}\x1b[2J\u202e$[bold]|",
            overrides=[f"epochs={place}", "\x1b]0;x"],
            epochs=f"{evil}{place}",
            status=f"st{evil}",
            seed=f"{evil}",
        )
        for place in range(2)
    ]
    for folder in folders:
        (folder / "run.log").write_text(evil)
    ranking = rank(records(folders))
    table.rank_sweep(folders[0].parent)
    printed = capsys.readouterr().out
    files = printed + "".join(
        (folders[0].parent / name).read_bytes().decode() for name in ("ranking.csv", "ranking.md")
    )
    assert all(letter.isprintable() or letter == "\n" for letter in files)
    assert "\\x1b[31mred\\x07" in printed and "[bold]" in printed
    lines = [line for line in (folders[0].parent / "ranking.md").read_text().splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1  # a bar in a name makes no column
    assert all(label.isprintable() for label in (plot.label(1, setting) for setting in ranking.settings))


def test_csv_has_every_number_in_full(two, tmp_path):
    table.write(rank(records(two)), tmp_path)
    rows = list(csv.DictReader((tmp_path / "ranking.csv").open(newline="")))
    adam = rows[1]
    assert (adam["rank"], adam["optimizer"], adam["runs"], adam["ended"], adam["seeds"], adam["status"]) == (
        "2",
        "adam",
        "3",
        "3",
        "0;1;2",
        "finished;finished;finished",
    )
    scores = np.array([0.90, 0.92, 0.97])
    for name, values in (
        ("val_best_accuracy", scores),
        ("test_accuracy", scores - 0.1),
        ("val_best_loss", 1 - scores),
        ("val_final_accuracy", np.full(3, 0.6)),
    ):
        assert float(adam[f"{name}_mean"]) == pytest.approx(values.mean()) and float(
            adam[f"{name}_std"]
        ) == pytest.approx(values.std(ddof=1), abs=1e-12)
    assert float(adam["seconds_mean"]) == 2 and adam["directories"].split(";") == [str(path) for path in two[:3]]


def test_markdown_has_the_same_table_and_the_figure(two, tmp_path):
    ranking = rank(records(two))
    table.write(ranking, tmp_path)
    lines = (tmp_path / "ranking.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert [rows[0], *rows[2:]] == list(table.table_rows(ranking)) and set(rows[1]) == {"---"}
    assert "](ranking.png)" in lines[-1] and "best val accuracy" in lines[0]


def test_the_curves_are_those_of_the_seeds_and_their_mean(two):
    ranking = rank(records(two))
    axes = Figure().subplots()
    plot.draw_curves(axes, ranking.settings, ["red", "blue"], "accuracy")
    lines = {(line.get_color(), tuple(np.round(line.get_ydata(), 6))) for line in axes.lines}
    expected = {("blue", (0.5, best, 0.6)) for best in (0.90, 0.92, 0.97)} | {
        ("red", (0.3, 0.95)),
        ("red", (0.3, 0.97)),
    }
    assert lines == expected | {
        ("blue", (0.5, 0.93, 0.6)),
        ("red", (0.3, 0.96)),
    }  # means: (0.90 + 0.92 + 0.97) / 3, (0.95 + 0.97) / 2
    assert axes.get_title() == "val accuracy" and axes.get_yscale() == "linear"
    plot.draw_curves(axes, [], [], "accuracy")


def test_the_dots_are_sorted_and_have_a_bar_of_one_deviation(two):
    ranking = rank(records(two))
    axes = Figure().subplots()
    plot.draw_scores(axes, ranking, ranking.settings, ["red", "blue"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["optimizer=sgd   1", "optimizer=adam   2"]
    low, high = axes.get_ylim()
    assert low > high  # the first row is the upper one
    seeds, bars, means = axes.collections
    segment = bars.get_segments()[1]
    assert segment[:, 0] == pytest.approx([0.93 - math.sqrt(0.0013), 0.93 + math.sqrt(0.0013)]) and list(
        segment[:, 1]
    ) == [1, 1]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "D"] == [pytest.approx([0.7, 0.83])]
    assert sorted(map(tuple, np.round(seeds.get_offsets(), 6))) == [
        (0.9, 1),
        (0.92, 1),
        (0.95, 0),
        (0.97, 0),
        (0.97, 1),
    ]
    assert means.get_offsets().data == pytest.approx(np.array([[0.96, 0], [0.93, 1]]))


@pytest.mark.parametrize("count", [1, 40])
def test_the_figure_of_one_and_of_many_settings(count, written, tmp_path):
    rows = [[row("val", 1, 1000.0, accuracy=0.1), row("val", 2, 1.0 + place, accuracy=0.5)] for place in range(count)]
    ranking = rank(records([written(f"{place}", rows=lines, epochs=place) for place, lines in enumerate(rows)]))
    plot.draw(ranking, tmp_path / "a.png")
    header = (tmp_path / "a.png").read_bytes()[:24]
    inches = 0.2 + 0.9 + 0.32 * min(count, 30) + 3.6  # title, axes, settings, curves
    inches += 3.2 if count > 2 else 0  # the score against the epochs
    assert header[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", header[16:]) == (1210, round(inches * 110))
    axes = Figure().subplots()
    plot.draw_curves(axes, ranking.settings, ["red"] * count, "loss")
    assert axes.get_yscale() == "log"


def test_a_curve_far_above_the_others_is_marked_at_the_edge_of_what_the_others_need(written):
    """The others need ten times 2.0; of the first curve an arrow is left, with its largest value."""
    rows = [[row("val", 0, 1.7e7, accuracy=0.1)], [row("val", 0, 2.0, accuracy=0.1), row("val", 2, 0.1, accuracy=0.9)]]
    ranking = rank(records([written(f"{place}", rows=lines, epochs=place) for place, lines in enumerate(rows)]))
    axes = Figure().subplots()
    plot.draw_curves(axes, ranking.settings, ["red", "blue"], "loss")
    assert axes.get_ylim() == (0.05, 20.0)
    (text,) = axes.texts
    assert text.get_text().strip() == "1.7e+07" and text.get_position()[0] == 0
    high = next(place for place, setting in enumerate(ranking.settings) if "epochs=0" in setting.label)
    assert text.get_color() == ["red", "blue"][high]


def test_the_seconds_of_a_curve_have_few_ticks(written):
    rows = [row("val", epoch, 1.0, accuracy=0.5, seconds=0.2 * epoch) for epoch in range(5)]
    axes = Figure().subplots()
    plot.draw_curves(axes, rank(records([written("a", rows=rows)])).settings, ["red"], "loss", "seconds")
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks == pytest.approx([0.0, 0.15, 0.3, 0.45, 0.6, 0.75]) and len(ticks) <= plot.MAX_TIMES


def test_the_training_loss_is_drawn_from_the_rows_of_training(written):
    rows = [row("train", 1, 4.0), row("train", 2, 2.0), row("val", 2, 3.0, accuracy=0.5)]
    axes = Figure().subplots()
    plot.draw_curves(axes, rank(records([written("a", rows=rows)])).settings, ["red"], "loss", split="train")
    assert [[*line.get_xydata().ravel()] for line in axes.lines if line.get_xydata().size] == [[1, 4, 2, 2]]
    assert axes.get_title() == "train loss"


def swept(written, cells: dict[str, float]):
    """Return the ranking of runs whose overrides and validation accuracies are these; a dash for one without."""
    runs = [
        written(
            f"run-{place}", val=() if value is None else (value,), **dict(word.split("=") for word in words.split())
        )
        for place, (words, value) in enumerate(cells.items())
    ]
    return rank(records(runs))


@pytest.mark.parametrize(
    "words, column",
    [
        (["batch_size=8", "batch_size=16"], None),
        (["batch_size=8", "batch_size=16", "batch_size=64"], "batch_size"),
        (["batch_size=8", "batch_size=16", "batch_size=full"], None),
        ([f"batch_size={size} epochs={size}" for size in range(1, 9)], "batch_size"),
        ([f"batch_size={size} epochs={size}" for size in range(1, 10)], None),  # nine lines of one dot each
        ([f"batch_size={size} epochs={epochs}" for size in (1, 2) for epochs in (3, 4, 5)], "epochs"),
    ],
)
def test_the_score_is_drawn_against_the_key_with_the_most_numbers(words, column, written):
    ranking = swept(written, {each: 0.5 for each in words})
    assert plot.swept_number(ranking.settings) == column


def test_a_line_for_each_combination_of_the_other_keys_in_the_order_of_the_numbers(written):
    cells = {"batch_size=64 epochs=1": 0.3, "batch_size=8 epochs=1": 0.1, "batch_size=8 epochs=2": 0.6}
    cells |= {"batch_size=64 epochs=2": 0.7, "batch_size=32 epochs=1": 0.2}
    ranking = swept(written, cells)
    axes = Figure().subplots()
    plot.draw_against(axes, ranking, ranking.settings, ["red"] * 5, "batch_size")
    lines = {bars.get_label(): [*map(tuple, np.round(bars.lines[0].get_xydata(), 6))] for bars in axes.containers}
    assert lines == {"epochs=1": [(8, 0.1), (32, 0.2), (64, 0.3)], "epochs=2": [(8, 0.6), (64, 0.7)]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batch_size", "best val accuracy")


@pytest.mark.parametrize(
    "values, scale",
    [
        ([1, 2, 3], "linear"),
        ([1, 3, 15], "log"),
        ([0, 1e-4, 1e-3], "symlog"),
        ([-1, 0, 1], "linear"),
        ([0, 5, 10], "linear"),
        ([5], "linear"),
    ],
)
def test_the_axis_of_the_numbers_is_the_one_on_which_they_are_more_evenly_spaced(values, scale):
    axes = Figure().subplots()
    plot.spread_evenly(axes, values)
    assert axes.get_xscale() == scale and [text.get_text() for text in axes.get_xticklabels()] == [
        f"{each:g}" for each in values
    ]


def test_a_sweep_ends_in_a_ranking(two, capsys):
    bad = two[0].parent / "bad"
    two[2].rename(bad)
    (bad / "summary.json").write_text('{"status": "diverged"}')
    for name, rate in (("lion-0", 0.01), ("lion-1", 0.02)):  # one could not be built, the other had not begun
        (bad.parent / name).mkdir()
        (bad.parent / name / "overrides.txt").write_text(f"optimizer=lion\noptimizer.lr={rate}\n")
        (bad.parent / name / "config.yaml").write_text(
            (bad / "config.yaml")
            .read_text()
            .replace("torch.optim.Adam", "trainer.optimizer.lion.Lion")
            .replace("lr: 0.001", f"lr: {rate}")
        )
    (bad.parent / "lion-0" / "summary.json").write_text(
        '{"status": "failed", "error": "optimizer=lion: out of memory", "code": 4}'
    )
    table.rank_sweep(bad.parent)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[1] == "4 settings, 7 runs, ranked by best val accuracy"
    assert re.fullmatch(r"1  sgd +0\.1 +0\.9600 \+/- 0\.0141 +\S.* +0,1  2 finished *", lines[3])
    assert [
        line.index(word) + len(word) for line, word in zip(lines[2:4], ("best val accuracy", "0.9600 +/- 0.0141"))
    ] == [lines[2].index("accuracy") + 8] * 2
    assert [row[1] for row in cells(printed)[2:6]] == ["sgd", "adam", "lion", "lion"]
    assert "2 finished, 1 diverged" in printed
    assert (
        "diverged: optimizer=adam optimizer.lr=0.001 seed=2: why adam-2 ended (" in printed
        and "runs/bad/run.log)" in printed
    )
    assert (
        "failed: optimizer=lion optimizer.lr=0.01 seed=2: optimizer=lion: out of memory (" in printed
        and "not begun: optimizer=lion optimizer.lr=0.02 seed=2: " in printed
    )
    assert {"ranking.csv", "ranking.md", "ranking.png"} <= {
        path.name for path in bad.parent.iterdir()
    } and "ranking.csv" in lines[-2]
    assert lines[-1] == f"See the curves: tensorboard --logdir {bad.parent}"
    assert "runs/bad/run.log" in (bad.parent / "ranking.md").read_text()


def test_a_sweep_without_a_score_prints_and_writes_nothing(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "overrides.txt").touch()
    table.rank_sweep(tmp_path)
    assert capsys.readouterr().out == "" and sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_ranking_of_a_real_sweep(run_in_process, tmp_path):
    assert run_in_process("-m", "model=mlp", "epochs=1", "threads=1", "optimizer.lr=0.02,0.05", "seed=0,1")[0] == 0
    (folder,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    scores = {}
    for file in folder.glob("*/metrics.jsonl"):
        rate, seed = re.search(r"lr-([\d.]+)\+seed-(\d)", str(file)).groups()
        scores.setdefault(rate, []).append(
            max(line["accuracy"] for line in map(json.loads, file.open()) if line["split"] == "val")
        )
    table.rank_sweep(folder)
    rows = list(csv.DictReader((folder / "ranking.csv").open(newline="")))
    assert [line["optimizer.lr"] for line in rows] == sorted(scores, key=lambda rate: -np.mean(scores[rate])) and len(
        rows
    ) == 2
    for line in rows:
        values = scores[line["optimizer.lr"]]
        assert float(line["val_best_accuracy_mean"]) == pytest.approx(np.mean(values)) and float(
            line["val_best_accuracy_std"]
        ) == pytest.approx(np.std(values, ddof=1))


def test_a_table_too_wide_for_the_terminal_leaves_out_the_final_scores(written, capsys):
    folders = [written(f"{place}", seed=place % 2, epochs=place // 2) for place in range(4)]
    table.print_ranking(rank(records(folders)), Console())
    assert "final val accuracy" in capsys.readouterr().out
    long = [f"optimizer.key_{letter}" for letter in "abcd"]
    folders = [
        written(f"w{place}", optimizer={**SGD["optimizer"], **{key.partition(".")[2]: place for key in long}})
        for place in range(4)
    ]
    table.print_ranking(rank(records(folders)), Console())
    printed = capsys.readouterr().out
    assert "final val accuracy" not in printed and "\nfinal val: see ranking.csv " in printed
    assert "test accuracy" in printed and all(key in printed for key in long)


def test_find_takes_runs_folders_of_runs_and_patterns(written, tmp_path):
    one, two = written("2026/a"), written("2026/b")
    deep = written("sweeps/2026/12/c")
    (tmp_path / "runs" / "2026" / "picture-only").mkdir()
    runs = tmp_path / "runs"
    assert (
        find([str(one)])[0] == [one]
        and find([f"{runs}/2026"])[0] == [one, two]
        and set(find([str(runs)])[0]) == {one, two, deep}
    )
    assert find([f"{runs}/*/a", f"{runs}/2026"]) == ([one, two], [])  # once each
    directories, notes = find([f"{runs}/2026/*", f"{runs}/2026/picture-only"])
    assert directories == [one, two] and notes == [
        f"left out: {runs}/2026/picture-only holds no run (metrics.jsonl or summary.json)"
    ]
    for pattern, printed in (
        (f"{runs}/2027", "did you mean "),
        (f"{runs}/x*", "matches nothing"),
        (f"{runs}/2026/picture-onlx", "picture-onlx]: no such directory"),
        (f"{runs}/2026/picture-only", "holds no run"),
    ):
        with pytest.raises(DataError, match=re.escape(printed)) as told:
            find([pattern])
        assert "did you mean" not in str(told.value) or "picture-only" not in str(told.value)


def test_differences_are_all_keys_that_differ(two):
    summary = {"status": "finished", "device": "cpu", "versions": {"torch": "2.10"}}
    (two[0] / "summary.json").write_text(json.dumps(summary))
    (two[4] / "summary.json").write_text(json.dumps({**summary, "versions": {"torch": "2.11"}}))
    found = list(differences(read(two[0]), read(two[4])))
    typed = [["optimizer", "adam", "sgd"], ["seed", "0", "1"]]
    assert found == [
        *typed,
        ["optimizer.amsgrad", "false", "-"],  # this and the next are not in the file: torch's defaults
        ["optimizer.betas", "[0.9,0.999]", "-"],
        ["optimizer.eps", "1e-08", "-"],
        ["optimizer.lr", "0.001", "0.1"],
        ["versions.torch", "2.10", "2.11"],
    ]
    assert list(differences(read(two[0]), read(two[0]))) == []


def test_the_task_prints_and_writes_the_comparison(two, run_in_process, tmp_path):
    code, printed, errors = run_in_process("task=compare", f"runs=[{two[0].parent}/sgd*,{two[0].parent}]", "output=out")
    assert (code, errors) == (0, "")
    (folder,) = (tmp_path / "out").glob("*/*")
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml",
        "overrides.txt",
        "ranking.csv",
        "ranking.md",
        "ranking.png",
        "settings.csv",
    }
    assert "2 settings, 5 runs, ranked by best val accuracy" in printed and f"out/{folder.parent.name}" in printed
    pair = printed[printed.index("Differences between rows 1 and 2 (* was typed):") :].splitlines()
    assert [line.split() for line in pair[1:5]] == [
        ["1", "2"],
        ["*", "optimizer", "sgd", "adam"],
        ["optimizer.amsgrad", "-", "false"],
        ["optimizer.betas", "-", "[0.9,0.999]"],
    ]
    rows = list(csv.reader((folder / "settings.csv").open(newline="")))
    assert rows[0] == ["key", *(str(path) for path in (two[3], two[4], *two[:3]))]
    assert rows[1:3] == [["optimizer", "sgd", "sgd", "adam", "adam", "adam"], ["seed", "0", "1", "0", "1", "2"]]
    assert rows[5] == ["optimizer.eps", "-", "-", *["1e-08"] * 3]
    assert rows[6:] == [["optimizer.lr", "0.1", "0.1", *["0.001"] * 3]]
    assert run_in_process("task=compare", "runs=[out]")[0] == 3  # a comparison is no run


def test_any_two_rows_can_be_compared_key_by_key(written, run_in_process):
    folder = [written(f"{epochs}", val=(epochs / 10,), epochs=epochs) for epochs in (1, 2, 3)][0].parent
    printed = run_in_process("task=compare", f"runs=[{folder}]", "task.between=[3,1]")[1]
    lines = printed[printed.index("Differences between rows 3 and 1 (") :].splitlines()
    assert lines[2].split() == ["epochs", "1", "3"]
    assert "Differences" not in run_in_process("task=compare", f"runs=[{folder}/2*]")[1]


@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        ([], 2, "runs=[]: task=compare needs run directories"),
        (["runs=[nowhere]"], 3, "runs=[nowhere]: no such directory"),
        (
            ["runs=[RUNS]", "optimizer=adam"],
            2,
            "optimizer: task=compare trains nothing; its settings are runs, task.between, output",
        ),
        (["runs=[RUNS]", "task.between=[1,7]"], 2, "task.between=[1,7]: the table has 2 rows"),
        (["runs=[RUNS]", "task.between=[1]"], 2, "between must be two row numbers"),
        (["runs=[RUNS]", "task.between=[1,0]"], 2, "task.between=[1,0]: must be a list of whole numbers >= 1"),
        (["runs=[RUNS]", "task.between=[a,b]"], 2, "must be a list of whole numbers"),
        (["runs=RUNS"], 2, "must be a list; write runs=[RUNS]"),
    ],
)
def test_a_mistake_is_explained_and_writes_nothing(overrides, code, message, two, run_in_process, tmp_path):
    place = str(two[0].parent)
    found, _, errors = run_in_process("task=compare", *(text.replace("RUNS", place) for text in overrides))
    assert found == code and message.replace("RUNS", place) in errors and "Traceback" not in errors
    assert not (tmp_path / "outputs").exists()


def test_reading_runs_imports_neither_torch_nor_matplotlib(two):
    program = (
        "import sys; from pathlib import Path; from trainer.comparison import table\n"
        f"table.read(Path({str(two[0])!r}))\nprint({{'torch', 'matplotlib'}} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert done.stdout == "set()\n", done.stderr


ODD = """
numbers: [1, -1, 012, 0x1f, 1_000, 1.5, 1.0e-3, 1e-3, 1.0e+3, .inf, -.inf, 1:30]
words: [yes, No, true, null, ~, on, '12', "1.5", 'null', ten, 2026-01-01, '2026-01-01', "a: b", '']
empty: {}
nothing:
text: |
  two
  lines
folded: >-
  one
  line
deep: [[1, [2, {a: {b: [c]}}]], {}]
same: 1
same: 2
3: three
"""


def test_a_configuration_is_read_as_pyyaml_reads_it(honest, tmp_path):
    (tmp_path / "odd.yaml").write_text(ODD)
    for path in (tmp_path / "odd.yaml", honest / "config.yaml"):
        expected, found = yaml.safe_load(path.read_text()), read_yaml(path)
        assert found == expected and repr(found) == repr(expected)  # 1 is not True


@pytest.mark.parametrize("harm", ["gone", "cut", "tagged"])
def test_a_run_named_exactly_may_have_a_broken_configuration(harm, two, run_in_process):
    path = two[0] / "config.yaml"
    path.write_text("epochs: [1\n") if harm == "cut" else path.write_text(
        "epochs: !mine 1\n"
    ) if harm == "tagged" else path.unlink()
    code, printed, errors = run_in_process("task=compare", f"runs=[{two[0]},{two[3]}]", "output=out")
    assert (code, errors) == (0, "") and "2 settings, 2 runs" in printed and "0.9000" in printed and "0.9500" in printed
    code, _, errors = run_in_process("task=evaluate", f"runs=[{two[0]}]")
    assert code == 3 and ("not a run with weights;" if harm == "gone" else "config.yaml: cannot be read") in errors


def test_of_two_options_that_say_the_same_the_one_that_was_chosen_is_named(composed, tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(
        "# @package _global_\n# Own.\ndefaults:\n  - override /data: digits\n  - override /preprocess: mean_image\n"
    )
    monkeypatch.setattr(catalog, "extra_folders", [tmp_path])
    config = OmegaConf.to_container(composed("preprocess=mean_image"))
    assert config == OmegaConf.to_container(composed("preprocess=center"))
    for overrides, option in (
        (["preprocess=mean_image"], "mean_image"),
        (["preprocess=center"], "center"),
        (["experiment=own"], "mean_image"),
        (["experiment=own", "preprocess=center"], "center"),
    ):
        assert dict(options_of(config, overrides))["preprocess"] == option
    config = OmegaConf.to_container(composed())  # the recipe's option is not in this configuration
    assert dict(options_of(config, ["experiment=own"]))["preprocess"] == "channel_standardize"


def test_an_option_that_sets_more_than_its_group_is_found_by_all_its_keys(composed):
    for option in ("sgd", "gd"):  # one class and the same keys; gd sets batch_size and epochs as well
        assert (
            dict(options_of(OmegaConf.to_container(composed(f"optimizer={option}", "optimizer.lr=0.3")), []))[
                "optimizer"
            ]
            == option
        )


def test_a_difference_behind_the_sixth_digit_counts(written):
    folders = [
        written(str(rate), optimizer={**SGD["optimizer"], "lr": rate}) for rate in (0.0012345678901, 0.0012345678902)
    ]
    ranking = rank(records(folders))
    assert len(ranking.settings) == 2 and ranking.notes == [] and ranking.settings[0].label == "optimizer.lr=0.00123457"
    assert list(differences(*ranking.jobs)) == [["optimizer.lr", "0.0012345678901", "0.0012345678902"]]


def test_the_newer_of_summary_and_metrics_is_read(written):
    folder = written("a", val=(0.5, 0.6), test=0.4)
    evaluations = {
        "best": {"loss": 0.1, "accuracy": 0.9},
        "final": {"val": {"loss": 0.2, "accuracy": 0.8}},
        "test": {"loss": 0.3, "accuracy": 0.7},
    }
    (folder / "summary.json").write_text(json.dumps({"status": "finished", **evaluations}))
    for metrics_age, expected in ((100, [0.9, 0.8, 0.7]), (300, [0.6, 0.6, 0.4])):
        os.utime(folder / "metrics.jsonl", (metrics_age, metrics_age))
        os.utime(folder / "summary.json", (200, 200))
        assert [read(folder).score(when, "accuracy") for when in ("best", "final", "test")] == expected
    (folder / "summary.json").write_text(json.dumps({"status": "diverged", **evaluations}))
    assert read(folder).score("best", "accuracy") == 0.6


def on_terminal(ranking, width):
    """The text of a ranking on a terminal of this width."""
    console = Console()
    console.terminal = rich.console.Console(width=width, file=io.StringIO(), highlight=False)
    table.print_ranking(ranking, console)
    return console.terminal.file.getvalue()


def test_a_long_table_is_cut_and_the_rest_counted(written, tmp_path):
    folders = [
        written(str(place), val=(place / 100,), epochs=place, status="finished" if place > 40 else "diverged")
        for place in range(1, 76)
    ]
    ranking = rank(records(folders))
    lines = on_terminal(ranking, 120).splitlines()
    assert lines[1] == "75 settings, 75 runs, ranked by best val accuracy"
    assert [line.split()[:3] for line in lines[3:33]] == [
        [str(place), str(76 - place), f"{(76 - place) / 100:.4f}"] for place in range(1, 31)
    ]
    assert lines[33] == "and 45 more settings: see ranking.csv"
    assert (
        len([line for line in lines if line.startswith("diverged: ")]) == 30
        and lines[-1] == "and 10 more remarks: see ranking.md"
    )
    table.write(ranking, tmp_path)
    assert len(list(csv.reader((tmp_path / "ranking.csv").open(newline="")))) == 76
    assert (tmp_path / "ranking.md").read_text().count("- diverged: ") == 40


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("keys", [1, 3, 12])
def test_no_entry_of_a_table_is_cut(keys, width, written):
    """Twelve keys of 21 letters are 250 places: more than any terminal has."""
    names = [f"some_quite_long_key_{letter}" for letter in "abcdefghijkl"[:keys]]
    folders = [
        written(
            f"{place}{seed}",
            val=(place / 10 + seed / 100,),
            seed=seed,
            optimizer={**SGD["optimizer"], **{name: place for name in names}},
        )
        for place in range(3)
        for seed in range(2)
    ]
    printed = on_terminal(rank(records(folders)), width)
    assert max(map(len, printed.splitlines())) <= width and "0.2050 +/- 0.0071" in printed and "2 finished" in printed
    entries = set(printed.split())
    for name in names:
        assert f"optimizer.{name}" in entries or {f"optimizer.{name}={place}" for place in range(3)} <= entries
    for heading in ("test accuracy", "final val accuracy"):  # what has no column is in the last line
        assert (heading in printed) != (heading.removesuffix(" accuracy") in left_out(printed))


def left_out(printed):
    """The line on the scores that the table leaves out; empty where it has all."""
    return next((line for line in printed.splitlines() if line.rstrip().endswith(": see ranking.csv")), "")


def test_of_very_many_seeds_only_the_means_are_drawn(written):
    folders = [
        written(f"{place}-{seed}", val=(0.5, 0.6), seed=seed, epochs=place) for place in range(2) for seed in range(19)
    ]
    ranking = rank(records(folders))
    counts = []
    for settings in (ranking.settings[:1], ranking.settings):
        axes = Figure().subplots()
        plot.draw_curves(axes, settings, ["red", "blue"], "accuracy")
        counts.append(len(axes.lines))
    assert counts == [19 + 1, 2]  # 19 and 38 runs


def test_labels_of_many_keys_leave_out_what_most_runs_have(written):
    usual = dict.fromkeys("abcdef", 1)
    runs = [written(key, val=(0.5,), **{**usual, key: 7}) for key in usual]
    runs.append(written("none", val=(0.9,), **usual))
    ranking = rank([read(run) for run in runs])
    assert ranking.usual == {} and ranking.settings[0].label == "a=1 b=1 c=1 d=1 e=1 f=1"  # six keys fit into a label
    runs += [written(f"g-{g}", val=(0.4 - g / 100,), **usual, g=g) for g in (8, 9)]
    ranking = rank([read(run) for run in runs])  # most runs have no g at all
    assert ranking.columns == [*"abcdefg"] and ranking.usual == {key: "1" for key in "abcdef"}
    labels = [setting.label for setting in ranking.settings]
    assert labels == ["as usual", *(f"{key}=7" for key in "abcdef"), "g=8", "g=9"]
    text = "\n".join(table.markdown(ranking))
    assert "Usual, and left out below: a=1 b=1 c=1 d=1 e=1 f=1\n" in text
    assert "| 1 | as usual |" in text and "| 8 | g=8 |" in text
