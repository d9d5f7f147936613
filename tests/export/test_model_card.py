"""MODEL.md: figures of a run's report, and names of strangers as text."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from trainer.data.inputs import ImageInput, InputColumn, Predicted, TableInput
from trainer.export.equality import Equality
from trainer.export.model_card import Card
from trainer.export.record import Record
from trainer.export.speed import Speed
from trainer.inference.model import TrainedModel
from trainer.loss import CrossEntropy
from trainer.rundir.description import Description

TABLE = TableInput(
    columns=(
        InputColumn(name="age|years", fill=3.0),
        InputColumn(name="colour", kind="category", categories=("red", "blue"), missing=True),
        InputColumn(name="day", kind="date"),
    )
)


def card_of(inputs=TABLE, classes=("cat", "dog"), summary=None, by_class=None, **described):
    known = {
        "choices": {"data": "iris", "model": "mlp", "reg": None},
        "config": {"batch_size": 7},
        "command": ("data=iris", "model=mlp", "batch_size=7"),
    }
    description = Description(
        task="classification", classes=classes, inputs=inputs, predicted=Predicted(), preprocess=None,
        input_shape=inputs.shape, outputs=len(classes), **{**known, **described},
    )  # fmt: skip
    model = TrainedModel(
        module=nn.Identity(), preprocess=nn.Identity(), criterion=CrossEntropy(), views=nn.Identity(),
        description=description, device=torch.device("cpu"), autocast=nullcontext, source="a test",
    )  # fmt: skip
    record = Record(
        run="run", format="pt2", file="model.pt2", size=1000, has_graph=True, input="rows", dtype="float32",
        output="probabilities", shape=inputs.shape, columns=classes, facts={}, notes=["norms fused"],
        equality=Equality(samples=2, source="two samples", largest=3e-7, by_batch={1: 3e-7}),
        speed=[Speed(batch=64, macs=128, model=0.002, exported=0.0015)], machine="a machine",
        command="train task=export", versions={"torch": "2"},
    )  # fmt: skip
    return Card(model=model, record=record, summary=summary or {}, source="", by_class=by_class or {}).text()


def test_the_columns_of_a_table_are_listed_with_their_places():
    card = card_of()
    for line in (
        r"| 0 | age\|years | number |",
        "| 1 to 3 | colour | 1 for the category, else 0: red, blue, missing |",
        "| 4 | day | days since 1970 |",
    ):
        assert f"\n{line}\n" in card


def test_the_figures_of_the_runs_report_are_shown_by_class():
    rows = [
        {"class": "cat", "precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1200},
        {"class": "dog", "precision": None, "recall": 0.0, "f1": 0.0, "support": 3},
    ]
    card = card_of(summary={"report": {"split": "test", "by_class": rows}, "samples": {"train": 10, "val": "x"}})
    assert "| class | precision | recall | f1 | support |\n| --- | --- | --- | --- | --- |\n" in card
    assert "| cat | 0.5000 | 1.0000 | 0.6667 | 1,200 |\n| dog | - | 0.0000 | 0.0000 | 3 |\n" in card
    assert "On the test split:" in card and "Samples: 10 train." in card


def test_decisions_are_the_settings_that_differ():
    card = card_of()
    assert "batch_size=7" in card and "seed=0" in card and "| model | mlp |" in card
    assert "optimizer" not in card.partition("## Decisions")[2].partition("## ")[0]


def test_speed_equality_and_verdicts_are_shown():
    verdicts = [{"level": "problem", "what": "rate <b>too</b> high"}, "foreign", {"what": 3}]
    card = card_of(summary={"verdicts": verdicts, "status": "diverged"})
    assert "| 64 | 128 | 2 ms | 1.5 ms |" in card
    assert "Largest difference from the model: 3.0e-07, on two samples" in card
    assert r"- problem: rate \<b>too\</b> high" in card and "- The run did not finish: diverged." in card


@pytest.mark.parametrize(
    "summary",
    [
        {"report": [], "verdicts": {}, "samples": 3, "status": None},
        {"report": {"by_class": [3]}, "samples": {"train": []}},
        {"report": {"by_class": [{"class": {}, "f1": []}], "split": 3}},
    ],
)
def test_a_summary_that_holds_anything_else_breaks_nothing(summary):
    assert card_of(summary=summary).startswith("# `mlp` on `iris`")


def test_names_of_strangers_stay_text():
    names = ("`rm -rf /`\n# title", "![x](http://x/y.png)")
    choices = {"data": "../../secret", "model": "a\x1b[2J`b`", "optimizer.base": "nothing"}
    card = card_of(inputs=ImageInput(shape=(3, 4, 4)), classes=names, choices=choices, command=("data.x=$(touch y)",))
    assert "\x1b" not in card and "\n# title" not in card
    assert card.startswith("# `a?[2J?b?` on `../../secret`")
    assert "train 'data.x=$(touch y)'" in card
    counted = card_of(classes=names, by_class={split: dict.fromkeys(names, 1) for split in ("train", "val", "test")})
    assert r"| !\[x](http://x/y.png) | 1 | 1 | 1 |" in counted and "\n# title" not in counted


def test_a_command_that_trains_again_names_what_is_missing():
    card = card_of(choices={"data": "image_folder", "model": "cnn"}, command=("data=image_folder",))
    assert "train data=image_folder data.root=DIR\n" in card
