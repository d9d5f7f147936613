"""Runs side by side: what varies, what the seeds came to, which is best; from directories of every age and state."""

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
from trainer.compare import plot, table
from trainer.compare.options import options_of
from trainer.compare.ranking import differences, ranked, varying
from trainer.compare.record import find, read
from trainer.config import catalog
from trainer.config.untrusted import read_yaml

ADAM = {"optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001, "eps": 1e-8}}
SGD = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1}}


def row(split, epoch, loss, **scores):
    return {"step": 20 * epoch, "epoch": epoch, "split": split, "lr": 0.1, "seconds": 1.0, "loss": loss, **scores}


@pytest.fixture
def written(tmp_path):
    """Write a run's directory by hand: val accuracies an epoch (losses 1 minus them), a test accuracy, and what it was."""

    def write(name, val=(0.5,), test=0.4, words=(), status="finished", rows=None, **config):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(
            yaml.safe_dump(
                {"seed": 0, "epochs": 30, "monitor": "auto", "output": name, "reg": {}, "aug": {}, **SGD, **config}
            )
        )
        (folder / "overrides.txt").write_text("".join(f"{word}\n" for word in words))
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
            words=["optimizer=adam", f"seed={seed}"],
            seed=seed,
            **ADAM,
        )
        for seed, best in enumerate((0.90, 0.92, 0.97))
    ]
    sgd = [
        written(f"sgd-{seed}", val=(0.3, best), test=0.7, words=["optimizer=sgd", f"seed={seed}"], seed=seed)
        for seed, best in enumerate((0.95, 0.97))
    ]
    return [*adam, *sgd]


def records(folders):
    return [read(folder) for folder in folders]


def cells(text):
    """The rows of a printed table, in words."""
    return [line.split() for line in text.splitlines() if line.strip()]


def test_seeds_are_grouped_to_mean_and_sample_deviation_best_first(two):
    ranking = ranked(records(two))
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
    head, first, second = table.table(ranking)
    assert head == ["", "optimizer", "best val accuracy", "test accuracy", "final val accuracy", "seeds", "status"]
    assert second == ["2", "adam", "0.9300 +/- 0.0361", "0.8300 +/- 0.0361", "0.6000 +/- 0.0000", "0,1,2", "3 finished"]
    assert first[:3] == ["1", "sgd", "0.9600 +/- 0.0141"]


def test_one_seed_has_no_deviation(two):
    ranking = ranked(records([two[0], two[4]]))
    assert [list(table.table(ranking))[place][2] for place in (1, 2)] == ["0.9700", "0.9000"]
    assert ranking.settings[0].deviation("best", "accuracy") is None


def test_many_seeds_are_counted_and_stand_in_their_order(written):
    folders = [written(f"s{seed}", seed=seed) for seed in range(12)]
    (setting,) = ranked(records(reversed(folders))).settings
    assert setting.seeds == [str(seed) for seed in range(12)] and table.seeds(setting) == "12 of them"
    assert setting.label == "" and setting.status == "12 finished"


SCORINGS = [
    row("val", 1, 0.9, accuracy=0.6),
    row("val", 2, 0.3, accuracy=0.7),
    row("val", 3, 0.5, accuracy=0.8),
    row("val", 4, 0.4, accuracy=0.8),
    row("val", 5, 0.6, accuracy=0.5),
]


@pytest.mark.parametrize(("monitor", "epoch"), [("auto", 4), ("accuracy", 4), ("loss", 2)])
def test_the_best_scoring_is_the_monitors_and_the_loss_decides_between_equals(monitor, epoch, written):
    record = read(written("a", rows=SCORINGS, monitor=monitor))
    assert record.scoring("best")["epoch"] == epoch and record.scoring("final")["epoch"] == 5
    assert record.scoring("test") == {} and record.score("test", "accuracy") is None


def test_it_is_what_the_run_itself_called_best(run_in_process, tmp_path):
    assert run_in_process("model=mlp", "epochs=3", "threads=1", "optimizer.lr=0.3")[0] == 0
    directory = only_run(tmp_path)
    told, record = json.loads((directory / "summary.json").read_text()), read(directory)
    for name in ("loss", "accuracy"):
        assert record.score("best", name) == told["best"][name]
        assert (
            record.score("final", name) == told["final"]["val"][name]
            and record.score("test", name) == told["test"][name]
        )
    (directory / "metrics.jsonl").unlink()
    bare = read(directory)
    assert [bare.score(when, "accuracy") for when in ("best", "final", "test")] == [
        record.score(when, "accuracy") for when in ("best", "final", "test")
    ]
    assert bare.monitor == "accuracy" and bare.status == "finished"


def test_a_small_loss_and_a_large_r2_are_best(written):
    low = written("low", rows=[row("val", 1, 0.2, r2=0.5)], epochs=1)
    high = written("high", rows=[row("val", 1, 0.4, r2=0.9)], epochs=2)
    assert [setting.cells["epochs"] for setting in ranked(records([low, high])).settings] == ["2", "1"]
    for folder in (low, high):
        content = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**content, "monitor": "loss"}))
    ranking = ranked(records([high, low]))
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
    assert ranked(records(folders)).metric == expected


def test_without_a_validation_split_the_test_split_decides(written):
    folders = [
        written(f"{epochs}", rows=[row("test", 1, 1 - score, accuracy=score)], epochs=epochs)
        for epochs, score in ((1, 0.7), (2, 0.8))
    ]
    ranking = ranked(records(folders))
    assert ranking.by == "test accuracy" and [setting.cells["epochs"] for setting in ranking.settings] == ["2", "1"]
    assert next(table.table(ranking)) == ["", "epochs", "test accuracy", "seeds", "status"]


def test_equal_scores_are_decided_by_the_loss_and_a_run_that_ended_comes_before_one_that_did_not(written):
    worse = written("worse", rows=[row("val", 1, 0.5, accuracy=0.8)], epochs=1)
    better = written("better", rows=[row("val", 1, 0.4, accuracy=0.8)], epochs=2)
    diverged = written("diverged", rows=[row("val", 1, 0.1, accuracy=0.99)], epochs=3, status="diverged")
    nothing = written("nothing", rows=[row("train", 1, 0.1, accuracy=0.99)], epochs=4)
    assert [setting.cells["epochs"] for setting in ranked(records([diverged, nothing, worse, better])).settings] == [
        "2",
        "1",
        "4",
        "3",
    ]


def test_only_runs_that_ended_count_and_the_status_tells_of_the_others(written):
    folders = [
        written("a", val=(0.9,), seed=0),
        written("b", val=(0.1,), seed=1, status="diverged"),
        written("c", val=(0.8,), seed=2, status="stopped"),
    ]
    (setting,) = ranked(records(folders)).settings
    assert setting.status == "1 finished, 1 stopped, 1 diverged"
    assert setting.mean("best", "accuracy") == pytest.approx(0.85)
    head, line = table.figures(ranked(records(folders)))
    assert dict(zip(head, line))["runs"] == 3 and dict(zip(head, line))["ended"] == 2
    (alone,) = ranked(records(folders[1:2])).settings
    assert alone.mean("best", "accuracy") == pytest.approx(0.1) and alone.status == "diverged"


def test_of_two_runs_of_one_job_the_newest_that_ended_counts(written):
    for name, age, status, score in (
        ("old", 100, "finished", 0.5),
        ("new", 200, "finished", 0.6),
        ("broken", 300, "interrupted", 0.7),
    ):
        for file in (folder := written(name, val=(score,), status=status)).iterdir():
            os.utime(file, (age, age))
    ranking = ranked(records(sorted(folder.parent.iterdir())))
    (setting,) = ranking.settings
    assert [job.path.name for job in setting.jobs] == ["new"] and setting.status == "finished"
    assert len(ranking.notes) == 2 and all("left out: " in note and note.endswith("runs/new") for note in ranking.notes)


@pytest.mark.parametrize(
    ("configs", "words", "expected"),
    [
        ([SGD, ADAM], [[], []], ["optimizer"]),  # that their keys differ goes without saying
        ([SGD, {"optimizer": {**SGD["optimizer"], "lr": 0.2}}], [[], []], ["optimizer.lr"]),
        ([SGD, ADAM], [["optimizer=sgd", "optimizer.lr=0.1"], ["optimizer=adam", "optimizer.lr=0.001"]], ["optimizer", "optimizer.lr"]),
        ([SGD, ADAM], [["optimizer.lr=0.1", "optimizer=sgd"], ["optimizer.lr=0.001", "optimizer=adam"]], ["optimizer.lr", "optimizer"]),
        ([{"seed": 1, "output": "a", "resume": {"run": "x"}}, {"seed": 2, "output": "b", "resume": {"run": "y"}}], [[], []], []),
        ([{"reg": {"loss": {"l2": {"_target_": "a.L2", "strength": 1.0}}}}, {}], [[], []], ["reg"]),
        ([{"reg": {"loss": {"l2": {"_target_": "a.L2", "strength": strength}}}} for strength in (1.0, 2.0)], [[], []], ["reg.loss.l2.strength"]),
        ([{"reg": {"loss": {"l2": {"_target_": "a.L2", "strength": 1.0}}}}, {"reg": {"loss": {"l2": {"_target_": "a.L2", "strength": 2.0}, "l1": {"_target_": "a.L1"}}}}], [[], []],
         ["reg", "reg.loss.l2.strength"]),
        ([{"aug": {"flip": {"_target_": "a.F", "p": 0.5}}}, {"aug": {"flip": {"_target_": "a.F", "p": 0.5}, "crop": {"_target_": "a.C"}}}], [[], []], ["aug"]),
        ([{"epochs": 1}, {"epochs": 1}], [["epochs=1"], ["epochs=1"]], []),
        ([{"epochs": 1, "batch_size": 8}, {"epochs": 2, "batch_size": "full"}], [["batch_size=8"], ["batch_size=full"]], ["batch_size", "epochs"]),
        ([{"optimizer": {"_target_": "trainer.X", "base": {**node["optimizer"]}}} for node in (SGD, ADAM)], [[], []], ["optimizer.base"]),
    ],
)  # fmt: skip
def test_only_the_settings_that_differ(configs, words, expected, written):
    found = records(
        [written(f"{place}", words=said, **config) for place, (config, said) in enumerate(zip(configs, words))]
    )
    assert varying(found) == expected


def test_runs_of_three_settings_are_told_apart_by_what_makes_each_different(written):
    nodes = [SGD, ADAM, {"optimizer": {**ADAM["optimizer"], "lr": 0.01}}]
    ranking = ranked(
        records([written(f"{place}", val=(0.9 - place / 10,), **node) for place, node in enumerate(nodes)])
    )
    assert [list(setting.cells.values()) for setting in ranking.settings] == [
        ["sgd", "0.1"],
        ["adam", "0.001"],
        ["adam", "0.01"],
    ]
    assert ranking.settings[1].label == "optimizer=adam optimizer.lr=0.001"


@pytest.mark.parametrize(
    "words",
    [
        {"model": "resnet56", "act": "gelu", "norm": "group", "optimizer": "momentum"},
        {"model": "resnet20", "init": "he_normal", "averaging": "ema", "pool": "max"},
        {"model": "mlp", "init": "xavier_uniform", "sched": "one_cycle", "warmup": "linear", "tta": "flip"},
        {"data": "iris", "model": "mlp", "optimizer": "adamw", "loss": "cross_entropy", "preprocess": "standardize"},
    ],
)
def test_options_are_told_by_the_configuration_where_they_were_not_typed(words, composed):
    config = OmegaConf.to_container(composed(*(f"{group}={option}" for group, option in words.items())))
    found = dict(options_of(config, []))
    assert (
        {group: found[group] for group in words} == words
        and found["reg"] == found["aug"] == "none"
        and found["task"] == "train"
    )


def test_several_options_and_held_ones_have_a_name_too(composed):
    config = OmegaConf.to_container(
        composed("reg=[l2,dropout]", "aug=[flip]", "optimizer=lookahead", "optimizer@optimizer.base=adam")
    )
    found = dict(options_of(config, []))
    assert set(found["reg"].split("+")) == {"l2", "dropout"} and found["aug"] == "flip"
    assert (found["optimizer"], found["optimizer.base"]) == ("lookahead", "adam")
    typed = dict(options_of(config, ["optimizer=mine", "optimizer@optimizer.base=his"]))  # from a folder of one's own
    assert (typed["optimizer"], typed["optimizer.base"]) == ("mine", "his")
    assert dict(options_of({"sched": {"_target_": "my_package.Fancy"}}, []))["sched"] == "Fancy"


def test_a_run_that_goes_on_is_running_and_one_that_was_killed_is_unfinished(written):
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
def test_a_half_deleted_run_is_read_as_far_as_it_goes(name, harm, two, tmp_path, capsys):
    path = two[0] / name
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(GARBAGE[harm](path.read_bytes()))
    directories, _ = find([str(two[0].parent)])
    ranking = ranked(records(directories))
    assert "sgd" in {setting.cells["optimizer"] for setting in ranking.settings} and len(ranking.jobs) == 5
    table.say(ranking, table.Console())
    assert "5 runs" in (said := capsys.readouterr().out) and "\x1b" not in said
    assert len(list(table.figures(ranking))) == len(list(table.table(ranking))) == 1 + len(ranking.settings)
    if name == "metrics.jsonl":
        plot.draw(ranking, tmp_path / "a.png")


def test_numbers_that_are_none_are_passed_over(written):
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
    assert record.scoring("best")["epoch"] == 1 and record.score("final", "accuracy") is None
    line = (record.path / "metrics.jsonl").read_text()
    (record.path / "metrics.jsonl").write_text('{"step": 9, "ep\n' + line + '{"step": 9, "epoch": 9, "split": "va')
    assert len(read(record.path).rows) == 7  # the one without an epoch is none either


def test_names_with_control_characters_are_harmless(written, tmp_path, capsys):
    evil = "\x1b[31mred\x07\u202e\r\n|$x_{$`[bold]"
    folders = [
        written(
            f"{place}\x1b[2J\u202e$[bold]|",
            words=[f"epochs={place}", "\x1b]0;x"],
            epochs=f"{evil}{place}",
            status=f"st{evil}",
            seed=f"{evil}",
        )
        for place in range(2)
    ]
    for folder in folders:
        (folder / "run.log").write_text(evil)
    ranking = ranked(records(folders))
    table.rank(folders[0].parent)
    said = capsys.readouterr().out
    files = said + "".join((folders[0].parent / name).read_bytes().decode() for name in ("ranking.csv", "ranking.md"))
    assert all(letter.isprintable() or letter == "\n" for letter in files)
    assert "\\x1b[31mred\\x07" in said and "[bold]" in said
    lines = [line for line in (folders[0].parent / "ranking.md").read_text().splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1  # a bar in a name makes no column
    assert all(label.isprintable() for label in (plot.label(1, setting) for setting in ranking.settings))


def test_csv_holds_every_figure_in_full(two, tmp_path):
    table.write(ranked(records(two)), tmp_path)
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


def test_markdown_holds_the_same_table_and_the_picture(two, tmp_path):
    ranking = ranked(records(two))
    table.write(ranking, tmp_path)
    lines = (tmp_path / "ranking.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert [rows[0], *rows[2:]] == list(table.table(ranking)) and set(rows[1]) == {"---"}
    assert "](ranking.png)" in lines[-1] and "best val accuracy" in lines[0]


def test_the_curves_are_those_of_the_seeds_and_their_mean(two):
    ranking = ranked(records(two))
    axes = Figure().subplots()
    plot.curves(axes, ranking.settings, ["red", "blue"], "accuracy")
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
    plot.curves(axes, [], [], "accuracy")


def test_the_dots_stand_best_on_top_with_the_deviation(two):
    ranking = ranked(records(two))
    axes = Figure().subplots()
    plot.dots(axes, ranking, ranking.settings, ["red", "blue"])
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
def test_the_picture_of_few_and_many_settings(count, written, tmp_path):
    rows = [[row("val", 1, 1000.0, accuracy=0.1), row("val", 2, 1.0 + place, accuracy=0.5)] for place in range(count)]
    ranking = ranked(records([written(f"{place}", rows=lines, epochs=place) for place, lines in enumerate(rows)]))
    plot.draw(ranking, tmp_path / "a.png")
    header = (tmp_path / "a.png").read_bytes()[:24]
    inches = 0.9 + 0.32 * min(count, 30) + 4.2
    assert header[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", header[16:]) == (1210, int(inches * 110))
    axes = Figure().subplots()
    plot.curves(axes, ranking.settings, ["red"] * count, "loss")
    assert axes.get_yscale() == "log"


def test_a_sweep_ends_in_an_answer(two, capsys):
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
    table.rank(bad.parent)
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[1] == "4 settings, 7 runs, ranked by best val accuracy"
    assert re.fullmatch(r"1  sgd +0\.1 +0\.9600 \+/- 0\.0141 +\S.* +0,1  2 finished *", lines[3])
    assert [
        line.index(word) + len(word) for line, word in zip(lines[2:4], ("best val accuracy", "0.9600 +/- 0.0141"))
    ] == [lines[2].index("accuracy") + 8] * 2
    assert [words[:2] for words in cells(said)[2:6]] == [["1", "sgd"], ["2", "adam"], ["3", "lion"], ["4", "lion"]]
    assert "2 finished, 1 diverged" in said
    assert (
        "diverged: optimizer=adam optimizer.lr=0.001 seed=2: why adam-2 ended (" in said and "runs/bad/run.log)" in said
    )
    assert (
        "failed: optimizer=lion optimizer.lr=0.01 seed=2: optimizer=lion: out of memory (" in said
        and "not begun: optimizer=lion optimizer.lr=0.02 seed=2: " in said
    )
    assert {"ranking.csv", "ranking.md", "ranking.png"} <= {
        path.name for path in bad.parent.iterdir()
    } and "ranking.csv" in lines[-2]
    assert lines[-1] == f"Look at it:   tensorboard --logdir {bad.parent}"
    assert "runs/bad/run.log" in (bad.parent / "ranking.md").read_text()


def test_a_sweep_without_a_figure_says_and_leaves_nothing(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "overrides.txt").touch()
    table.rank(tmp_path)
    assert capsys.readouterr().out == "" and sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_real_sweep(run_in_process, tmp_path):
    assert run_in_process("-m", "model=mlp", "epochs=1", "threads=1", "optimizer.lr=0.02,0.05", "seed=0,1")[0] == 0
    (folder,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    scores = {}
    for file in folder.glob("*/metrics.jsonl"):
        rate, seed = re.search(r"lr-([\d.]+)\+seed-(\d)", str(file)).groups()
        scores.setdefault(rate, []).append(
            max(line["accuracy"] for line in map(json.loads, file.open()) if line["split"] == "val")
        )
    table.rank(folder)
    rows = list(csv.DictReader((folder / "ranking.csv").open(newline="")))
    assert [line["optimizer.lr"] for line in rows] == sorted(scores, key=lambda rate: -np.mean(scores[rate])) and len(
        rows
    ) == 2
    for line in rows:
        values = scores[line["optimizer.lr"]]
        assert float(line["val_best_accuracy_mean"]) == pytest.approx(np.mean(values)) and float(
            line["val_best_accuracy_std"]
        ) == pytest.approx(np.std(values, ddof=1))


def test_a_table_too_wide_for_the_terminal_goes_without_the_final_scores(written, capsys):
    folders = [written(f"{place}", seed=place % 2, epochs=place // 2) for place in range(4)]
    table.say(ranked(records(folders)), table.Console())
    assert "final val accuracy" in capsys.readouterr().out
    long = [f"optimizer.key_{letter}" for letter in "abcd"]
    folders = [
        written(f"w{place}", optimizer={**SGD["optimizer"], **{key.partition(".")[2]: place for key in long}})
        for place in range(4)
    ]
    table.say(ranked(records(folders)), table.Console())
    said = capsys.readouterr().out
    assert "final" not in said and "test accuracy" in said and all(key in said for key in long)


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
    for pattern, said in (
        (f"{runs}/2027", "did you mean "),
        (f"{runs}/x*", "nothing is there"),
        (f"{runs}/2026/picture-only", "no run there"),
    ):
        with pytest.raises(DataError, match=re.escape(said)):
            find([pattern])


def test_differences_are_all_keys_that_differ(two):
    summary = {"status": "finished", "device": "cpu", "versions": {"torch": "2.10"}}
    (two[0] / "summary.json").write_text(json.dumps(summary))
    (two[4] / "summary.json").write_text(json.dumps({**summary, "versions": {"torch": "2.11"}}))
    found = list(differences(read(two[0]), read(two[4])))
    typed = [["optimizer", "adam", "sgd"], ["seed", "0", "1"]]
    assert found == [
        *typed,
        ["optimizer.eps", "1e-08", "-"],
        ["optimizer.lr", "0.001", "0.1"],
        ["versions.torch", "2.10", "2.11"],
    ]
    assert list(differences(read(two[0]), read(two[0]))) == []


def test_the_task_prints_and_writes_the_comparison(two, run_in_process, tmp_path):
    code, said, errors = run_in_process("task=compare", f"runs=[{two[0].parent}/sgd*,{two[0].parent}]", "output=out")
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
    assert "2 settings, 5 runs, ranked by best val accuracy" in said and f"out/{folder.parent.name}" in said
    pair = said[said.index("What 1 and 2 differ in (* was typed):") :].splitlines()
    assert [line.split() for line in pair[1:5]] == [
        ["1", "2"],
        ["*", "optimizer", "sgd", "adam"],
        ["optimizer.eps", "-", "1e-08"],
        ["optimizer.lr", "0.1", "0.001"],
    ]
    rows = list(csv.reader((folder / "settings.csv").open(newline="")))
    assert rows[0] == ["key", *(str(path) for path in (two[3], two[4], *two[:3]))]
    assert rows[1:] == [["optimizer", "sgd", "sgd", "adam", "adam", "adam"], ["seed", "0", "1", "0", "1", "2"],
                        ["optimizer.eps", "-", "-", "1e-08", "1e-08", "1e-08"], ["optimizer.lr", "0.1", "0.1", "0.001", "0.001", "0.001"]]  # fmt: skip
    assert run_in_process("task=compare", "runs=[out]")[0] == 3  # a comparison is no run


def test_any_two_rows_can_be_held_side_by_side(written, run_in_process):
    folder = [written(f"{epochs}", val=(epochs / 10,), epochs=epochs) for epochs in (1, 2, 3)][0].parent
    said = run_in_process("task=compare", f"runs=[{folder}]", "task.between=[3,1]")[1]
    lines = said[said.index("What 3 and 1 differ in (") :].splitlines()
    assert lines[2].split() == ["epochs", "1", "3"]
    assert "differ in" not in run_in_process("task=compare", f"runs=[{folder}/2*]")[1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "runs=[]: task=compare needs run directories"),
        (["runs=[nowhere]"], 3, "runs=[nowhere]: nothing is there"),
        (
            ["runs=[RUNS]", "optimizer=adam"],
            2,
            "optimizer: task=compare trains nothing; what can be said here: runs, task.between, output",
        ),
        (["runs=[RUNS]", "task.between=[1,7]"], 2, "task.between=[1,7]: the table has 2 rows"),
        (["runs=[RUNS]", "task.between=[1]"], 2, "between must be two row numbers"),
        (["runs=[RUNS]", "task.between=[1,0]"], 2, "task.between=[1,0]: must be >= 1"),
        (["runs=[RUNS]", "task.between=[a,b]"], 2, "must be a whole number"),
        (["runs=RUNS"], 2, "must be a list; write runs=[RUNS]"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_leaves_nothing(words, code, said, two, run_in_process, tmp_path):
    place = str(two[0].parent)
    found, _, errors = run_in_process("task=compare", *(word.replace("RUNS", place) for word in words))
    assert (
        found == code
        and said.replace("RUNS", place) in errors
        and "Traceback" not in errors
        and not (tmp_path / "outputs").exists()
    )


def test_an_answer_needs_neither_torch_nor_before_it_is_drawn_matplotlib(two):
    program = f"import sys; from pathlib import Path; from trainer.compare import table; table.read(Path({str(two[0])!r})); print({{'torch', 'matplotlib'}} & set(sys.modules))"
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
    code, said, errors = run_in_process("task=compare", f"runs=[{two[0]},{two[3]}]", "output=out")
    assert (code, errors) == (0, "") and "2 settings, 2 runs" in said and "0.9000" in said and "0.9500" in said
    code, _, errors = run_in_process("task=evaluate", f"runs=[{two[0]}]")
    assert code == 3 and ("not a run with weights in it" if harm == "gone" else "config.yaml: cannot be read") in errors


def test_options_that_say_the_same_are_told_by_what_brought_them(composed, tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(
        "# @package _global_\n# Own.\ndefaults:\n  - override /data: digits\n  - override /preprocess: mean_image\n"
    )
    monkeypatch.setattr(catalog, "more", [tmp_path])
    config = OmegaConf.to_container(composed("preprocess=mean_image"))
    assert config == OmegaConf.to_container(composed("preprocess=center"))
    for words, option in (
        (["preprocess=mean_image"], "mean_image"),
        (["preprocess=center"], "center"),
        (["experiment=own"], "mean_image"),
        (["experiment=own", "preprocess=center"], "center"),
    ):
        assert dict(options_of(config, words))["preprocess"] == option
    config = OmegaConf.to_container(composed())  # what a recipe would bring does not stand there
    assert dict(options_of(config, ["experiment=own"]))["preprocess"] == "channel_standardize"


def test_an_option_that_decides_more_than_its_group_is_known_by_the_rest(composed):
    for option in ("sgd", "gd"):  # one class and the same keys; gd sets batch_size and epochs as well
        assert (
            dict(options_of(OmegaConf.to_container(composed(f"optimizer={option}", "optimizer.lr=0.3")), []))[
                "optimizer"
            ]
            == option
        )


def test_a_difference_behind_the_sixth_digit_is_one(written):
    folders = [
        written(str(rate), optimizer={**SGD["optimizer"], "lr": rate}) for rate in (0.0012345678901, 0.0012345678902)
    ]
    ranking = ranked(records(folders))
    assert len(ranking.settings) == 2 and ranking.notes == [] and ranking.settings[0].label == "optimizer.lr=0.00123457"
    assert list(differences(*ranking.jobs)) == [["optimizer.lr", "0.0012345678901", "0.0012345678902"]]


def test_the_summary_tells_of_a_run_that_ended_with_it_and_the_rows_of_one_that_went_on(written):
    folder = written("a", val=(0.5, 0.6), test=0.4)
    scorings = {
        "best": {"loss": 0.1, "accuracy": 0.9},
        "final": {"val": {"loss": 0.2, "accuracy": 0.8}},
        "test": {"loss": 0.3, "accuracy": 0.7},
    }
    (folder / "summary.json").write_text(json.dumps({"status": "finished", **scorings}))
    for metrics_age, expected in ((100, [0.9, 0.8, 0.7]), (300, [0.6, 0.6, 0.4])):
        os.utime(folder / "metrics.jsonl", (metrics_age, metrics_age))
        os.utime(folder / "summary.json", (200, 200))
        assert [read(folder).score(when, "accuracy") for when in ("best", "final", "test")] == expected
    (folder / "summary.json").write_text(json.dumps({"status": "diverged", **scorings}))
    assert read(folder).score("best", "accuracy") == 0.6


def on_terminal(ranking, width):
    """What a terminal of this width is told."""
    console = table.Console()
    console.terminal = rich.console.Console(width=width, file=io.StringIO(), highlight=False)
    table.say(ranking, console)
    return console.terminal.file.getvalue()


def test_a_long_table_is_cut_and_says_so(written, tmp_path):
    folders = [
        written(str(place), val=(place / 100,), epochs=place, status="finished" if place > 40 else "diverged")
        for place in range(1, 76)
    ]
    ranking = ranked(records(folders))
    lines = on_terminal(ranking, 120).splitlines()
    assert lines[1] == "75 settings, 75 runs, ranked by best val accuracy"
    assert [line.split()[:3] for line in lines[3:33]] == [
        [str(place), str(76 - place), f"{(76 - place) / 100:.4f}"] for place in range(1, 31)
    ]
    assert lines[33] == "and 45 settings more: ranking.csv has all"
    assert (
        len([line for line in lines if line.startswith("diverged: ")]) == 30
        and lines[-1] == "and 10 lines more of this kind: ranking.md has all"
    )
    table.write(ranking, tmp_path)
    assert len(list(csv.reader((tmp_path / "ranking.csv").open(newline="")))) == 76
    assert (tmp_path / "ranking.md").read_text().count("- diverged: ") == 40


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("keys", [1, 3, 12])
def test_no_word_of_a_table_is_cut(keys, width, written):
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
    said = on_terminal(ranked(records(folders)), width)
    assert max(map(len, said.splitlines())) <= width and "0.2050 +/- 0.0071" in said and "2 finished" in said
    words = set(said.split())
    for name in names:
        assert f"optimizer.{name}" in words or {f"optimizer.{name}={place}" for place in range(3)} <= words


def test_of_very_many_seeds_only_the_means_are_drawn(written):
    folders = [
        written(f"{place}-{seed}", val=(0.5, 0.6), seed=seed, epochs=place) for place in range(2) for seed in range(19)
    ]
    ranking = ranked(records(folders))
    counts = []
    for settings in (ranking.settings[:1], ranking.settings):
        axes = Figure().subplots()
        plot.curves(axes, settings, ["red", "blue"], "accuracy")
        counts.append(len(axes.lines))
    assert counts == [19 + 1, 2]  # 19 and 38 runs
