"""Frozen layers and learning rates by layer, with every optimizer: what moves, and how far."""

import math
import re

import pytest
import torch
from conftest import command, make_image_folder, only_run
from omegaconf import OmegaConf

from trainer.base.errors import ConfigError
from trainer.base.layers import common_rate
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run, learning_rates
from trainer.engine.training import SLOWER
from trainer.rundir.reader import read_summary

SMALL = ("data=iris", "model=mlp", "model.hidden=[8,6]", "threads=1", "device=cpu")
OPTIMIZERS = catalog.options("optimizer")
ONE_RATE = ("bfgs", "lbfgs")  # they step along one line


def small(name):
    """The settings that a run on few data with an optimizer needs."""
    return (*SMALL, f"optimizer={name}", "batch_size=full", "epochs=3st")


def values(run):
    return {name: weight.detach().clone() for name, weight in run.model.named_parameters()}


def moved(before, after):
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_layers_do_not_move_with_any_optimizer(name, composed, fitted):
    words = (*small(name), "model.freeze=[1,3.bias]")
    before = values(build_run(composed(*words)))
    run, _ = fitted(*words)
    assert moved(before, values(run)) == {"3.weight", "5.weight", "5.bias"}
    state = run.optimizer.state_dict()
    inside = sum(len(group["params"]) for group in state.get("base", state)["param_groups"])
    assert inside == 3 and not any(weight.grad is not None for weight in list(run.model.parameters())[:2])


REGS = [
    name for name in catalog.options("reg") if name not in ("early_stopping", "stochastic_depth", "spatial_dropout")
]


@pytest.mark.parametrize("name", REGS)
def test_frozen_layers_do_not_move_with_any_regulariser(name, composed, fitted):
    words = (*small("adamw"), f"reg=[{name}]", "model.freeze=all_but_head")
    before = values(build_run(composed(*words)))
    run, _ = fitted(*words)
    after = values(run)
    assert {key.partition(".")[0] for key in moved(before, after)} == {list(after)[-1].partition(".")[0]}


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_frozen_norms_keep_their_statistics_in_an_average(averaging, fitted):
    words = ("data=digits", "model=cnn", "model.channels=[4,4]", "norm=batch", "threads=1", "device=cpu", "epochs=4st")
    run, _ = fitted(*words, f"averaging={averaging}", "model.freeze=all_but_head")
    with run.evaluation_model() as model:
        norms = [module for module in model.modules() if hasattr(module, "running_mean")]
        assert len(norms) == 2 and all(not norm.running_mean.any() and (norm.running_var == 1).all() for norm in norms)


def test_a_model_whose_layers_are_wrapped_is_frozen_by_the_networks_own_names(composed):
    words = ("data=digits", "model=torchvision", "model.name=resnet18", "model.stem=small", "threads=1")
    run = build_run(composed(*words, "model.freeze=[conv1,bn1,layer1,layer2.0.conv1]"))
    frozen = {name for name, weight in run.model.named_parameters() if not weight.requires_grad}
    starts = ("0.conv1.", "0.bn1.", "0.layer1.", "0.layer2.0.conv1.")
    assert frozen == {name for name, _ in run.model.named_parameters() if name.startswith(starts)} and frozen
    run.model.train()
    run.forward(run.train.batch(torch.arange(4))[0])
    assert not run.model[0].bn1.training and not run.model[0].layer1[0].bn1.training
    assert run.model[0].layer2[0].bn1.training


@pytest.mark.parametrize(
    ("words", "value", "said"),
    [
        (SMALL, "[4]", "model.freeze=4: no layer of model has this name; they begin with 1, 3, 5"),
        (SMALL, "3.wieght", "did you mean model.freeze=3.weight"),
        (SMALL, "[1,3,5]", "model.freeze=[1,3,5]: nothing is left to train; try model.freeze=all_but_head"),
        (("data=digits", "model=torchvision", "model.name=resnet18"), "layr1", "did you mean model.freeze=layer1"),
    ],
)
def test_a_name_that_no_layer_has_is_answered(words, value, said, composed):
    with pytest.raises(ConfigError) as error:
        build_run(composed(*words, f"model.freeze={value}"))
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1


def test_all_but_head_leaves_what_the_command_line_says(tmp_path):
    code, out, errors = command(tmp_path, *SMALL, "epochs=2", "model.freeze=all_but_head", "reg=l2")
    assert code == 0 and not errors, errors
    run = only_run(tmp_path)
    assert "21 of the parameters, the others are frozen" in out  # 6 x 3 weights and 3 biases
    assert "model.freeze=all_but_head: is for weights that are trained already" in out
    assert read_summary(run)["parameters"] == 4 * 8 + 8 + 8 * 6 + 6 + 21


# Learning rates by layer


def step_of(fitted, composed, *words):
    """The first step of plain gradient descent, by parameter."""
    words = (*small("sgd"), "epochs=1st", "sched=constant", *words)
    before = values(build_run(composed(*words)))
    run, _ = fitted(*words)
    return {name: weight - before[name] for name, weight in values(run).items()}


@pytest.mark.parametrize(
    ("words", "factors"),
    [
        (("optimizer.head_lr=10",), (1, 1, 10)),
        (("optimizer.layer_decay=0.5",), (0.25, 0.5, 1)),  # decay^(L - l), Bao et al., 2022
        (("optimizer.layer_decay=0.5", "optimizer.head_lr=4"), (0.25, 0.5, 4)),
        (("optimizer.head_lr=0.5", "scale_lr=linear", "base_batch=30"), (3, 3, 1.5)),  # 90 samples a step
    ],
)
def test_a_step_of_gradient_descent_is_the_factor_times_the_plain_one(words, factors, fitted, composed):
    plain, ours = step_of(fitted, composed), step_of(fitted, composed, *words)
    for layer, factor in zip(("1", "3", "5"), factors):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            torch.testing.assert_close(
                ours[name], factor * plain[name], rtol=1e-4, atol=2**-22
            )  # two weights below 1, rounded
            assert plain[name].any()


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ONE_RATE])
def test_every_optimizer_keeps_the_factors_through_its_schedule(name, fitted):
    words = (*small(name), "optimizer.layer_decay=0.5", "optimizer.head_lr=3", "sched=linear")
    run, curves = fitted(*words)
    assert all(weight.isfinite().all() for weight in run.model.parameters())
    plain, _ = fitted(*small(name), "sched=linear")
    rates = {
        (group["decays"], group["lr_factor"], group.get("orthogonal")): group for group in run.optimizer.param_groups
    }
    kinds = {(group.get("decays"), group.get("orthogonal")): group for group in plain.optimizer.param_groups}
    assert {factor for _, factor, _ in rates} == {0.25, 0.5, 3.0}
    for (decays, factor, orthogonal), group in rates.items():
        alike = kinds.get((decays, orthogonal)) or next(iter(kinds.values()))
        if name != "muon":  # which of its two rates a weight has depends on the weight
            assert group["base_lr"] == pytest.approx(factor * alike["base_lr"], rel=1e-12)
            assert group["lr"] == pytest.approx(factor * alike["lr"], rel=1e-12)
        assert group.get("weight_decay") == alike.get("weight_decay")
    rows = [row["lr"] for row in curves.rows if row["split"] == "train"]
    assert rows[0] == pytest.approx(common_rate(plain.optimizer, "base_lr"), rel=1e-9)


@pytest.mark.parametrize("name", ONE_RATE)
def test_an_optimizer_with_one_rate_refuses_others(name, composed):
    for words in ("optimizer.head_lr=10", "optimizer.layer_decay=0.75"):
        with pytest.raises(ConfigError, match="one learning rate for all layers"):
            build_run(composed(*small(name), words))


def test_an_optimizer_of_ones_own_that_makes_its_own_groups_is_refused(package, run_in_process, tmp_path):
    name = package(
        "import torch\nclass Mine(torch.optim.SGD):\n    def __init__(self, params, lr=0.1):\n"
        "        super().__init__([weight for group in params for weight in group['params']], lr=lr)\n"
    )
    (tmp_path / "options/optimizer").mkdir(parents=True)
    (tmp_path / "options/optimizer/mine.yaml").write_text(f"# Mine.\n_target_: {name}.Mine\nlr: 0.1 # rate; > 0\n")
    words = ("--config-dir", "options", f"allow=[{name}]", *SMALL, "optimizer=mine", "epochs=1")
    assert run_in_process(*words)[0] == 0
    code, _, errors = run_in_process(*words, "optimizer.head_lr=10")
    assert code == 2 and "makes parameter groups of its own" in errors, errors


def test_a_head_that_is_all_that_trains_keeps_its_factor(fitted):
    run, curves = fitted(*small("sgd"), "model.freeze=all_but_head", "optimizer.head_lr=10", "sched=constant")
    assert {group["lr"] for group in run.optimizer.param_groups} == {1.0}  # 10 x 0.1
    assert {row["lr"] for row in curves.rows if row["split"] == "train"} == {0.1}


def test_a_measured_rate_keeps_the_factors(composed):
    cfg = composed(*small("adam"), "optimizer.head_lr=10")
    run = build_run(cfg)
    OmegaConf.update(cfg, "optimizer.lr", 0.007)
    assert sorted({round(rate, 9) for rate in learning_rates(cfg, run, Invocation())}) == [0.007, 0.07]


def test_a_measured_rate_trains_with_the_factors(tmp_path):
    words = (*SMALL, "optimizer=adam", "optimizer.lr=auto", "optimizer.head_lr=10", "epochs=2", "sched=constant")
    code, _, errors = command(tmp_path, *words)
    assert code == 0, errors
    run = only_run(tmp_path)
    measured = OmegaConf.load(run / "config.yaml").optimizer.lr
    state = torch.load(sorted((run / "checkpoints").glob("step-*.pt"))[-1], weights_only=True)["optimizer"]
    assert {round(group["base_lr"] / measured, 6) for group in state["param_groups"]} == {1.0, 10.0}


def test_a_resumed_run_continues_bit_for_bit_with_its_factors(tmp_path):
    words = (*SMALL, "optimizer=adam", "sched=constant", "optimizer.layer_decay=0.6", "optimizer.head_lr=5")
    runs = {}
    for name, epochs in (("whole", 4), ("part", 2)):
        (tmp_path / name).mkdir()
        code, _, errors = command(tmp_path / name, *words, "model.freeze=1.bias", f"epochs={epochs}")
        assert code == 0, errors
        runs[name] = only_run(tmp_path / name)
    code, _, errors = command(tmp_path, f"resume={runs['part']}", "epochs=4")
    assert code == 0, errors
    assert read_summary(runs["part"])["weights_sha256"] == read_summary(runs["whole"])["weights_sha256"]


def test_a_resumed_run_takes_a_changed_factor(tmp_path):
    words = (*SMALL, "optimizer=adam", "sched=constant", "optimizer.head_lr=5", "epochs=1")
    code, _, errors = command(tmp_path, *words)
    assert code == 0, errors
    run = only_run(tmp_path)
    code, _, errors = command(tmp_path, f"resume={run}", "epochs=2", "optimizer.head_lr=2")
    assert code == 2 and "optimizer.head_lr was 5" in errors, errors
    words = (f"resume={run}", "epochs=2", "optimizer.head_lr=2", "resume.allow=[optimizer.head_lr]")
    code, _, errors = command(tmp_path, *words)
    assert code == 0, errors
    state = torch.load(max((run / "checkpoints").glob("step-*.pt"), key=lambda path: int(path.stem[5:])))["optimizer"]
    assert {round(group["base_lr"], 9) for group in state["param_groups"]} == {0.001, 0.002}


def test_a_rollback_lowers_every_rate_alike(tmp_path, package, monkeypatch):
    name = package(
        "class Mine:\n    done = False\n    def __call__(self, now):\n"
        "        if now.step == 4 and not Mine.done:\n            Mine.done = True\n            return float('inf')\n"
        "        return 1.0\n"
    )
    (tmp_path / "options/sched").mkdir(parents=True)
    (tmp_path / "options/sched/mine.yaml").write_text(f"# Mine.\n_target_: {name}.Mine\n")
    words = (*SMALL, "optimizer=sgd", "sched=mine", "optimizer.head_lr=10", "epochs=3", "on_nan=rollback")
    code, out, errors = command(tmp_path, "--config-dir", "options", f"allow=[{name}]", *words)
    catalog.extra_folders.clear()
    assert code == 0, errors
    assert f"continuing with optimizer.lr={0.1 * SLOWER:g}" in out
    run = only_run(tmp_path)
    state = torch.load(max((run / "checkpoints").glob("step-*.pt"), key=lambda path: int(path.stem[5:])))["optimizer"]
    assert sorted({round(group["base_lr"], 9) for group in state["param_groups"]}) == [0.05, 0.5]


def test_plateau_lowers_every_rate_alike(fitted):
    run, _ = fitted(
        *SMALL,
        "optimizer=sgd",
        "optimizer.lr=1e-9",
        "optimizer.head_lr=10",
        "sched=plateau",
        "sched.patience=1",
        "epochs=6",
    )
    rates = {group["lr_factor"]: group["lr"] for group in run.optimizer.param_groups}
    assert rates[10.0] == pytest.approx(10 * rates[1.0]) and rates[1.0] < 1e-9 * 0.9


@pytest.mark.parametrize(("value", "noted"), [("0.5", True), ("10", False)])
def test_a_factor_below_one_is_said_to_be_one(value, noted, tmp_path):
    code, out, errors = command(tmp_path, *SMALL, "epochs=1", f"optimizer.head_lr={value}")
    assert code == 0 and ("is a factor: the last layer learns at 0.5 times optimizer.lr" in out) == noted, errors


@pytest.mark.parametrize("word", ["optimizer.head_lr=0", "optimizer.layer_decay=0", "optimizer.layer_decay=1.5"])
def test_a_factor_outside_its_range_is_refused(word, run_in_process):
    code, _, errors = run_in_process(*SMALL, word)
    assert code == 2 and errors.startswith(f"train: {word}"), errors


# The recipe


def test_the_recipe_runs_on_what_ships_with_the_install_and_on_a_folder(tmp_path):
    network = ("model=cnn", "model.channels=[4,8]", "norm=batch", "threads=1", "device=cpu")
    for name, data in (
        ("source", ["data=digits", "data.half=a"]),
        ("digits", ["data=digits", "data.half=b"]),
        ("folder", ["data=image_folder", f"data.root={make_image_folder(tmp_path / 'images')}"]),
    ):
        (tmp_path / name).mkdir()
        words = [f"model.weights={only_run(tmp_path / 'source')}", "experiment=fine_tune"] if name != "source" else []
        code, out, errors = command(tmp_path / name, *data, *network, *words, "epochs=1")
        assert code == 0 and not errors, errors
        if words:
            assert re.search("rates +by layer, 0.562 to 1 times", out)  # 0.75^2, two layers below the last one
            assert "the last layer is a new one" in out
            notes = read_summary(only_run(tmp_path / name))["notes"]
            assert ("of another shape" in " ".join(notes)) == (name == "folder")  # colours


# Verdicts and checks


def test_what_is_frozen_on_purpose_is_not_accused(tmp_path):
    words = ("data=digits", "model=cnn", "model.channels=[8,8]", "norm=batch", "threads=1", "device=cpu")
    source = tmp_path / "source"
    source.mkdir()
    code, _, errors = command(source, *words, "epochs=3")
    assert code == 0, errors
    words = (*words, f"model.weights={only_run(source)}", "model.freeze=all_but_head")
    code, out, errors = command(tmp_path, *words, "epochs=4")
    assert code == 0 and "not changed in" not in out and "no weight has changed" not in out, errors
    codes = {row["code"] for row in read_summary(only_run(tmp_path))["verdicts"]}
    assert not codes & {"frozen_layer", "symmetric_init", "dead_units", "rate_too_low"}, codes
    code, out, errors = command(tmp_path, *words, "task=check")
    line = next(line for line in out.splitlines() if "weights" in line and "mov" in line)
    assert "FAIL" not in line, out


def test_the_update_ratio_is_that_of_the_weights_that_train(fitted):
    """|dw| / |w| of the head alone: with plain gradient descent the step is lr g."""
    words = (*small("sgd"), "epochs=1st", "sched=constant", "model.freeze=all_but_head")
    run, curves = fitted(*words)
    (row,) = [row for row in curves.rows if row["split"] == "train"]
    head = [weight for weight in run.model.parameters() if weight.requires_grad]
    steps = torch.cat([(0.1 * weight.grad).flatten() for weight in head])
    before = torch.cat([(weight + 0.1 * weight.grad).detach().flatten() for weight in head])
    assert row["update_ratio"] == pytest.approx((steps.norm() / before.norm()).item(), rel=1e-4)
    assert math.isfinite(row["grad_norm"])
