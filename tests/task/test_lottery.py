"""task=lottery from the command line: masks, rewound weights and pruned weights against NumPy; resumed; refused."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import command, only_run
from safetensors.numpy import load_file

from trainer.rundir.reader import read_summary

TINY = ("data=iris", "model=mlp", "model.hidden=[8,6]", "device=cpu", "threads=1")
LOTTERY = ("task=lottery", *TINY)
HALVED = (*LOTTERY, "epochs=6", "task.fraction=0.5")


def directory(folder):
    (found,) = folder.glob("outputs/*/*-lottery*")
    return found


@pytest.fixture(scope="module")
def lottery(tmp_path_factory):
    """A lottery that has been made, with what it has printed."""
    folder = tmp_path_factory.mktemp("lottery")
    code, printed, errors = command(folder, *HALVED, "task.rounds=2")
    assert (code, errors) == (0, "")
    return directory(folder), printed


@pytest.fixture(scope="module")
def initial(tmp_path_factory):
    """The weights of the fresh network, as epochs=0 saves them."""
    folder = tmp_path_factory.mktemp("initial")
    command(folder, *TINY, "epochs=0")
    return load_file(only_run(folder) / "weights.safetensors")


def files_of(place, number, seed=0):
    folder = place / "weights" / f"round-{number}-seed-{seed}"
    return [load_file(folder / f"{name}.safetensors") for name in ("mask", "ticket", "random")]


def last_weights(run):
    name = (run / "checkpoints" / "last").read_text().strip()
    state = torch.load(run / "checkpoints" / name, weights_only=True)
    return {name: value.numpy() for name, value in state["weights"].items()}


def run_of(place, number, kind):
    (found,) = place.glob(f"round-{number}/*{kind}*") if number else place.glob("dense/seed-*")
    return found


def test_a_mask_leaves_the_largest_weights_of_the_training_before(lottery):
    place, _ = lottery
    left = {}
    for number in (1, 2):
        weights, masks = last_weights(run_of(place, number - 1, "ticket")), files_of(place, number)[0]
        assert {*masks} == {name for name, value in weights.items() if value.ndim == 2}
        output = max(masks)  # layers are numbered
        for name, mask in masks.items():
            rate = 0.25 if name == output else 0.5
            before = left.get(name, np.ones_like(mask)).astype(bool)
            magnitudes = np.where(before, np.abs(weights[name]), -1)
            count = int(before.sum()) - round(rate * int(before.sum()))
            expected = np.zeros(mask.size, dtype=bool)
            expected[np.argsort(-magnitudes.ravel())[:count]] = True
            np.testing.assert_array_equal(mask.ravel().astype(bool), expected)
        left = masks


def test_tickets_begin_with_the_initial_weights_bit_for_bit(lottery, initial):
    place, _ = lottery
    for number in (1, 2):
        masks, ticket, random = files_of(place, number)
        for name, value in initial.items():
            if name in masks:
                kept = masks[name] == 1
                assert np.array_equal(ticket[name][kept], value[kept]) and not ticket[name][~kept].any()
                assert not random[name][~kept].any() and not np.isclose(random[name][kept], value[kept]).any()
            else:
                assert np.array_equal(ticket[name], value)
        start = json.loads((run_of(place, number, "ticket") / "summary.json").read_text())["start"]
        assert start["fresh"] == [] and start["path"].endswith(f"round-{number}-seed-0/ticket.safetensors")


@pytest.mark.parametrize("kind", ["ticket", "random"])
def test_pruned_weights_are_exactly_zero_after_training(kind, lottery):
    place, _ = lottery
    for number in (1, 2):
        masks, run = files_of(place, number)[0], run_of(place, number, kind)
        for weights in (last_weights(run), load_file(run / "weights.safetensors")):
            for name, mask in masks.items():
                assert not weights[name][mask == 0].any() and weights[name][mask == 1].all()


def test_the_table_has_the_scores_of_the_runs(lottery):
    place, printed = lottery
    rows = json.loads((place / "lottery.json").read_text())["rows"]
    assert [(row["round"], row["network"]) for row in rows] == [
        (0, "dense"), (1, "ticket"), (1, "random"), (2, "ticket"), (2, "random"),
    ]  # fmt: skip
    for row in rows:
        summary = read_summary(run_of(place, row["round"], row["network"]))
        assert row["scores"] == [summary["test"]["accuracy"]]
        masks = files_of(place, row["round"])[0] if row["round"] else {"": np.ones(1)}
        left = sum(mask.sum() for mask in masks.values()) / sum(mask.size for mask in masks.values())
        assert row["weights_left"] == pytest.approx(left)
    assert re.search(r"^round +weights left +ticket +random ticket +dense", printed, re.MULTILINE)
    assert (place / "lottery.png").read_bytes().startswith(b"\x89PNG")
    assert len((place / "lottery.csv").read_text().splitlines()) == 6
    assert "![" in (place / "lottery.md").read_text()


def test_a_resumed_one_keeps_its_runs_and_adds_rounds(tmp_path):
    code, _, errors = command(tmp_path, *HALVED, "task.rounds=1")
    assert (code, errors) == (0, "")
    place = directory(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in place.glob("*/*/summary.json")}
    (run_of(place, 1, "random") / "summary.json").unlink()  # as of one that was killed
    code, printed, errors = command(tmp_path, f"resume={place}", "task.rounds=2")
    assert (code, errors) == (0, "") and "round 2 of 2" in printed
    assert len([*place.glob("*/*/summary.json")]) == 5
    assert {path for path, time in times.items() if path.stat().st_mtime_ns != time} == {
        run_of(place, 1, "random") / "summary.json"
    }
    code, _, errors = command(tmp_path, f"resume={place}", "task.fraction=0.3")
    assert code == 2 and errors.count("\n") == 1 and "task.fraction=0.3: this experiment was begun with 0.5" in errors


def test_rewinding_to_an_early_step_takes_the_weights_of_the_dense_network_there(tmp_path):
    constant = ("sched=constant", "optimizer=adam")  # a shorter run is the beginning of a longer one
    command(tmp_path, *TINY, *constant, "epochs=5st")
    early = last_weights(only_run(tmp_path))
    words = (
        *HALVED,
        *constant,
        "task.rounds=1",
        "task.rewind=5st",
        "task.scope=global",
        "task.seeds=2",
        "task.head=1",
    )
    code, printed, errors = command(tmp_path, *words)
    assert (code, errors) == (0, "") and "+-" in printed
    place = directory(tmp_path)
    saved = load_file(place / "weights" / "seed-0-rewound.safetensors")
    assert all(np.array_equal(saved[name], value) for name, value in early.items())
    other = load_file(place / "weights" / "seed-1-rewound.safetensors")
    assert not np.array_equal(saved["1.weight" if "1.weight" in saved else max(saved)], other[max(other)])
    masks = files_of(place, 1)[0]
    weights = last_weights(run_of_seed(place, 0))
    kept = np.concatenate([np.abs(weights[name][mask == 1]) for name, mask in masks.items()])
    gone = np.concatenate([np.abs(weights[name][mask == 0]) for name, mask in masks.items()])
    assert len(gone) == round(0.5 * (len(kept) + len(gone))) and gone.max() <= kept.min()


def run_of_seed(place, seed):
    (found,) = place.glob(f"dense/*seed-{seed}*")
    return found


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("epochs=0",), "epochs=0: a lottery trains"),
        (("task.rewind=1000st",), "task.rewind=1000st: is step 1,000, and a run has"),
        (("task.fraction=1.0",), "task.fraction=1.0"),
        (("task.scope=all",), "task.scope=all: must be one of layer, global"),
        (("pretrain=greedy",), "task=lottery trains from fresh weights"),
        (("task.rewind=5min",), "task.rewind=5min"),
    ],
)
def test_bad_inputs_are_answered_in_a_line(words, why, tmp_path):
    code, _, errors = command(tmp_path, *LOTTERY, *words)
    assert code == 2 and why in errors and errors.count("\n") <= 2 and not [*tmp_path.glob("outputs/*/*")]
