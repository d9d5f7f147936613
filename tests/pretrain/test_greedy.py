"""Greedy layer-wise pretraining: what each stage trains, its steps beside plain torch, and how it resumes."""

import shutil

import pytest
import torch
from conftest import command, only_run
from torch import nn

from trainer.base.errors import ConfigError
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.order import batches
from trainer.engine.pretraining import network_of
from trainer.engine.stage_run import stage_run
from trainer.rundir.console import Console
from trainer.rundir.reader import read_rows, read_summary
from trainer.rundir.recorder import Recorder

MLP = ("data=iris", "model=mlp", "model.hidden=[8,6]", "threads=1", "device=cpu", "pretrain=greedy")
INVOCATION = Invocation()


@pytest.fixture
def stage_of(composed, tmp_path):
    """Train a stage of a run that was composed from words: the run, and that of the stage."""

    def trained(number, *words):
        cfg = composed(*words)
        run = build_run(cfg)
        made = stage_run(run, run.stages[number - 1], number, cfg, INVOCATION)
        recorder = Recorder(tmp_path, made.data.task)
        fit(made, recorder, Console(silent=True))
        recorder.close()
        return run, made

    return trained


def moved(run, stage):
    """The parameters of a run's network that a stage has moved."""
    after = dict(network_of(stage.model).named_parameters())
    return {name for name, weight in run.model.named_parameters() if not torch.equal(weight, after[name])}


def test_each_stage_trains_one_layer_and_the_last_one_the_head_as_well(stage_of, composed):
    run, first = stage_of(1, *MLP, "pretrain.length=3st")
    assert [stage.name for stage in run.stages] == ["layer 1", "layer 2 and the head"]
    assert moved(run, first) == {"1.weight", "1.bias"}
    assert first.model.head[-1].in_features == 8 and first.clock.total_steps == 3
    run, last = stage_of(2, *MLP, "pretrain.length=3st")
    assert moved(run, last) == {"3.weight", "3.bias", "5.weight", "5.bias"}
    assert last.model is network_of(last.model)


def test_the_steps_of_a_stage_are_those_of_a_shallow_network_in_plain_torch(composed, tmp_path):
    words = (*MLP, "optimizer=sgd", "optimizer.lr=0.1", "sched=constant", "batch_size=30", "pretrain.length=4st")
    cfg = composed(*words)
    run = build_run(cfg)
    stage = stage_run(run, run.stages[0], 1, cfg, INVOCATION)
    layer, head = stage.model.network[1], stage.model.head[0]
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    plain[0].load_state_dict(layer.state_dict())
    plain[2].load_state_dict(head.state_dict())
    arriving = batches(stage)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(4):
        _, [(images, targets)] = next(arriving)
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(images), targets).backward()
        optimizer.step()
    stage.progress.order = None
    recorder = Recorder(tmp_path, stage.data.task)
    fit(stage, recorder, Console(silent=True))
    recorder.close()
    for ours, theirs in ((layer, plain[0]), (head, plain[2])):
        torch.testing.assert_close(ours.weight, theirs.weight)
        torch.testing.assert_close(ours.bias, theirs.bias)


def test_batch_norms_of_frozen_layers_keep_their_statistics_and_those_of_the_layer_move(stage_of):
    words = ("model=cnn", "model.channels=[4,4,4]", "norm=batch", "norm.affine=false", "threads=1")
    run, stage = stage_of(2, *words, "pretrain=greedy", "pretrain.length=3st")
    before, after = dict(run.model.named_buffers()), dict(network_of(stage.model).named_buffers())
    changed = {name for name in before if name.endswith("running_mean") and not torch.equal(before[name], after[name])}
    assert changed == {"5.running_mean"}


def test_penalties_do_not_shrink_the_layers_that_a_stage_leaves_alone(stage_of):
    words = (*MLP, "reg=[l2,weight_decay]", "reg.loss.l2.strength=0.1", "pretrain.length=3st")
    run, stage = stage_of(1, *words)
    assert moved(run, stage) == {"1.weight", "1.bias"}


@pytest.mark.parametrize("model", [name for name in catalog.options("model") if name not in ("linear", "timm")])
def test_every_network_has_a_stage_for_each_hidden_layer(model, composed):
    data = "photos" if model == "torchvision" else "digits"
    size = ["data.size=32"] if data == "photos" else []
    few = ["model.name=squeezenet1_1"] if model == "torchvision" else []
    run = build_run(composed(f"data={data}", *size, f"model={model}", *few, "pretrain=greedy", "threads=1"))
    weights = dict(run.model.named_parameters())
    trained = [weights.keys() - stage.frozen for stage in run.stages]
    assert len(run.stages) >= 1 and all(trained)
    assert set().union(*trained) == weights.keys()
    assert sum(map(len, trained)) == len(weights), "a weight trains in one stage"


def test_a_network_without_hidden_layers_is_refused(composed):
    with pytest.raises(ConfigError, match=r"pretrain: the network has no hidden layers"):
        build_run(composed("data=iris", "model=linear", "pretrain=greedy"))


def test_the_run_begins_where_its_last_stage_ended_and_each_stage_has_curves(tmp_path):
    code, out, errors = command(tmp_path, *MLP, "epochs=0", "pretrain.length=4ep")
    assert code == 0, errors
    run = only_run(tmp_path)
    summary = read_summary(run)
    stages = summary["pretrain"]
    assert [stage["stage"] for stage in stages] == ["layer 1", "layer 2 and the head"]
    assert summary["fresh"]["loss"] == pytest.approx(stages[1]["best"]["loss"], rel=1e-5)
    assert "pretrain 1 of 2, layer 1: best val loss" in out and (run / "run.log").read_text().count("pretrain 2") > 1
    for name in ("1-layer-1", "2-layer-2-and-the-head"):
        folder = run / "pretrain" / name
        assert (folder / "curves.png").stat().st_size > 1000 and [*folder.glob("val/events*")]
        assert [row["epoch"] for row in read_rows(folder) if row["split"] == "val"] == [0, 1, 2, 3, 4]


def killed(run, checkpoints):
    """Leave of a finished run what one has that was killed in its second stage, with an earlier checkpoint or none."""
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints")
    second = run / "pretrain" / "2-layer-2-and-the-head"
    (second / "summary.json").unlink()
    newest, *earlier = sorted(second.glob("checkpoints/*.pt"), key=lambda path: -int(path.stem.partition("-")[2]))
    for path in (newest, *(() if checkpoints else earlier)):
        path.unlink()
    return int(earlier[0].stem.partition("-")[2])


@pytest.mark.parametrize("checkpoints", [True, False])
def test_an_interrupted_stage_resumes_and_the_run_ends_as_if_it_had_not_been(checkpoints, tmp_path):
    words = (*MLP, "epochs=2", "pretrain.length=4ep", "batch_size=30", "reg=dropout", "optimizer=adam")
    words += ("save_every=4st", "monitor=loss")
    code, _, errors = command(tmp_path, *words)
    assert code == 0, errors
    run = only_run(tmp_path)
    before = read_summary(run)
    step = killed(run, checkpoints)
    code, out, errors = command(tmp_path, f"resume={run}")
    assert code == 0, errors
    assert "pretrain 1 of 2, layer 1: complete before: best val" in out and "starts anew" not in out
    assert 0 < step < 12 and (f"resumed after step {step}\n" in out) == checkpoints
    after = read_summary(run)
    assert after["weights_sha256"] == before["weights_sha256"]
    assert [stage["best"] for stage in after["pretrain"]] == [stage["best"] for stage in before["pretrain"]]


def test_a_run_that_goes_on_after_its_end_keeps_the_figures_of_its_stages(tmp_path):
    words = (*MLP, "model.hidden=[6,6,6,6,6,6,6,6,6,6]", "epochs=1", "pretrain.length=1st")
    code, _, errors = command(tmp_path, *words)
    assert code == 0, errors
    run = only_run(tmp_path)
    before = read_summary(run)["pretrain"]
    names = [*(f"layer {number}" for number in range(1, 10)), "layer 10 and the head"]
    assert [stage["stage"] for stage in before] == names and all(stage["steps"] == 1 for stage in before)
    code, out, errors = command(tmp_path, f"resume={run}", "epochs=+1")
    assert code == 0 and "pretrain 1" not in out, errors
    assert read_summary(run)["pretrain"] == before


def test_a_stage_that_diverges_ends_the_run_and_says_which(tmp_path):
    code, _, errors = command(tmp_path, *MLP, "optimizer=sgd", "optimizer.lr=1e30", "epochs=1")
    assert code == 5 and "pretrain 1 of 2, layer 1: diverged" in errors
    assert read_summary(only_run(tmp_path))["status"] == "diverged"
