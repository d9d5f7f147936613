"""The mean of a setting over its seeds, a run of its own for TensorBoard; values from the runs' metrics.jsonl."""

import json
import shutil

import numpy as np
import pytest
from sweeping import SHORT, sweep_in
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from trainer.comparison import means
from trainer.comparison.ranking import rank
from trainer.comparison.record import find, read
from trainer.comparison.table import rank_sweep

SEEDS = (*SHORT, "optimizer.lr=0.1,0.01", "seed=0,1,2", "log_every=3")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of two settings with three seeds each, and what it printed."""
    return sweep_in(tmp_path_factory.mktemp("means"), *SEEDS)[:2]


@pytest.fixture
def copied(swept, tmp_path):
    return shutil.copytree(swept[0], tmp_path / "s")


def scalars(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def rows(run, split):
    return [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if row["split"] == split]


def wanted(folder, names, split, metric):
    """Steps that all runs have, and at each the values of the runs."""
    lines = [{row["step"]: row[metric] for row in rows(folder / name, split)} for name in names]
    steps = sorted(set.intersection(*map(set, lines)))
    return steps, np.array([[line[step] for line in lines] for step in steps])


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("lr", ["0.1", "0.01"])
def test_a_mean_has_the_tags_of_a_run_and_the_bounds_of_one_standard_deviation(lr, split, swept):
    folder, _ = swept
    read_back = scalars(folder / f"MEAN of lr={lr}" / split)
    for metric in ("loss", "accuracy"):
        steps, values = wanted(folder, [f"lr-{lr}+seed-{seed}" for seed in (0, 1, 2)], split, metric)
        assert len(steps) >= 2
        mean, deviation = values.mean(axis=1), values.std(axis=1, ddof=1)
        for tag, expected in (
            (metric, mean),
            (f"within_std/{metric}_low", mean - deviation),
            (f"within_std/{metric}_high", mean + deviation),
        ):
            assert [step for step, _ in read_back[tag]] == steps
            assert [value for _, value in read_back[tag]] == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert len(read_back) == 6


def test_the_layout_of_custom_scalars_draws_each_mean_between_its_bounds(swept):
    events = EventAccumulator(str(swept[0] / "MEAN of lr=0.1" / "val")).Reload()
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    series = {chart.title: chart.margin.series[0] for chart in layout.category[0].chart}
    assert set(series) == {"loss", "accuracy"}
    for metric, one in series.items():
        assert (one.value, one.lower, one.upper) == (metric, *(f"within_std/{metric}_{end}" for end in ("low", "high")))


def test_a_mean_is_no_run_of_a_ranking_and_a_comparison(swept):
    folder, printed = swept
    assert "2 settings, 6 runs, ranked by" in printed
    assert len(find([str(folder)])[0]) == 6
    assert "MEAN" not in (folder / "ranking.csv").read_text()


def test_without_seeds_there_is_none(tmp_path):
    folder, _, _ = sweep_in(tmp_path, *SHORT, "optimizer.lr=0.1,0.01")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["lr-0.01", "lr-0.1"]


def test_only_seeds_have_the_mean_of_all(tmp_path):
    folder, _, _ = sweep_in(tmp_path, *SHORT, "seed=0,1")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["MEAN of all seeds", "seed-0", "seed-1"]


def test_a_sweep_that_is_continued_replaces_its_means(copied, run_in_process):
    typed = [*SEEDS[:-2], "seed=0,1,2,3", SEEDS[-1]]
    assert run_in_process("-m", *typed, "hydra.sweep.dir=s")[0] == 0
    _, values = wanted(copied, [f"lr-0.1+seed-{seed}" for seed in range(4)], "val", "loss")
    found = scalars(copied / "MEAN of lr=0.1" / "val")["loss"]
    assert [value for _, value in found] == pytest.approx(values.mean(axis=1), rel=1e-5)
    assert len([*(copied / "MEAN of lr=0.1").rglob("events*")]) == 2


def test_runs_that_did_not_finish_do_not_count_and_a_mean_of_one_is_none(copied, capsys):
    for name in ("lr-0.1+seed-0", "lr-0.01+seed-0", "lr-0.01+seed-1"):
        path = copied / name / "summary.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "status": "diverged"}))
    kept = copied / "MEAN of lr=0.01" / "my-notes.txt"
    kept.write_text("mine")
    rank_sweep(copied)
    _, values = wanted(copied, ["lr-0.1+seed-1", "lr-0.1+seed-2"], "val", "loss")
    found = scalars(copied / "MEAN of lr=0.1" / "val")["loss"]
    assert [value for _, value in found] == pytest.approx(values.mean(axis=1), rel=1e-5)
    assert [path.name for path in (copied / "MEAN of lr=0.01").iterdir()] == ["my-notes.txt"]


def test_a_mean_ends_with_the_shortest_of_its_runs(copied):
    path = copied / "lr-0.1+seed-1" / "metrics.jsonl"
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= 7]
    path.write_text("\n".join(lines))
    rank_sweep(copied)
    assert [step for step, _ in scalars(copied / "MEAN of lr=0.1" / "val")["loss"]] == [0, 7]


def test_a_name_is_one_part_of_a_path(tmp_path, swept):
    ranking = rank([read(run) for run in find([str(swept[0])])[0]])
    (setting, *_) = ranking.settings
    for cell in ("/etc/passwd", "../..", "a\nb", "x" * 300):
        name = means.name_of(type(setting)(cells={"data.root": cell}, jobs=setting.jobs))
        assert name.startswith("MEAN of ") and len(name) <= 110 and not set(name) & set("/\n\\") and name.isprintable()


def test_more_than_forty_rows_are_announced_with_what_to_do(swept, copied, capsys):
    assert "Toggle All Runs" not in swept[1]
    for number in range(18):  # 16 rows so far
        shutil.copytree(copied / "lr-0.1+seed-0", copied / f"other-{number}")
    rank_sweep(copied)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("(of more than 40 rows Images, Text and Scalars select none: ") and "Toggle All Runs" in last
