"""Contracts of every option, found by listing conf/."""

import inspect

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from trainer.config import catalog, targets
from trainer.engine import build
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

COUNTS = {
    "act": 19,
    "aug": 20,
    "averaging": 4,
    "bias": 3,
    "data": 20,
    "experiment": 35,
    "init": 26,
    "loss": 5,
    "model": 21,
    "norm": 7,
    "optimizer": 36,
    "pool": 3,
    "preprocess": 12,
    "pretrain": 4,
    "reg": 17,
    "sampler": 5,
    "sched": 14,
    "task": 15,
    "tta": 6,
    "warmup": 2,
}
OPTIONS = [(group, option) for group in catalog.groups() for option in catalog.options(group)]
TECHNIQUES = [(group, option) for group, option in OPTIONS if group not in ("experiment", "task")]
OFFLINE = (
    "digits",
    "iris",
    "wine",
    "breast_cancer",
    "diabetes",
    "photos",
    "polynomial",
    "regression",
    "spirals",
    "gaussians",
    "height_weight",
)


def require_installed(group: str, option: str) -> None:
    """Skip a test of an option whose library is an extra that is not installed."""
    if (group, option) == ("model", "timm"):
        pytest.importorskip("timm")


def nodes(group: str, option: str):
    """Every mapping with a `_target_` in an option's file, with the path it has in the configuration."""

    def walk(node, path):
        if "_target_" in node:
            yield path, node
        for name, child in node.items():
            if isinstance(child, dict):
                yield from walk(child, [*path, name])

    content = yaml.safe_load(catalog.file(group, option).read_text())
    content.pop("defaults", None)
    whole = catalog.file(group, option).read_text().startswith("# @package _global_")
    return list(walk(content, [] if whole else [group]))


def test_the_number_of_options_found_is_the_number_meant():
    assert {group: len(catalog.options(group)) for group in catalog.groups()} == COUNTS


@pytest.mark.parametrize("group, option", OPTIONS)
def test_an_option_begins_with_a_comment(group, option):
    path = catalog.file(group, option)
    lines = path.read_text().splitlines()
    assert len(catalog.headline(path)) > 10
    assert "#" in lines[0] and "&" not in "".join(line.partition("#")[0] for line in lines)


@pytest.mark.parametrize("group, option", [pair for pair in OPTIONS if pair[0] != "experiment"])
def test_a_target_resolves_to_its_kind_and_its_keys_bind(group, option):
    found = nodes(group, option)
    assert len(found) == 1
    path, node = found[0]
    known = targets.locate(node["_target_"], ".".join(path), ".".join(path), targets.LIBRARIES)
    fields = inspect.signature(known).parameters
    keys = {key for key in node if not key.startswith("_")}
    assert keys <= set(fields)
    if known.__module__.startswith("trainer."):
        needed = {name for name, field in fields.items() if field.kind == inspect.Parameter.KEYWORD_ONLY}
        nested = {key.rpartition(".")[2] for key in catalog.all_nested_keys(group)} & needed
        assert keys == needed - nested, f"{group}={option}: the YAML lists {keys}, the class has {needed}"
        for name in keys:
            default = fields[name].default
            written = tuple(node[name]) if isinstance(node[name], list) else node[name]
            assert default is inspect.Parameter.empty or default == written or group == "data", (
                f"{group}={option}.{name}"
            )


def test_every_technique_has_an_option():
    """Every class of a technique in trainer/ has a YAML that names it."""
    import ast
    from pathlib import Path

    named = {node["_target_"] for group, option in OPTIONS if group != "experiment" for _, node in nodes(group, option)}
    package = Path(build.__file__).parent.parent
    rooms = [
        path
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0].removesuffix(".py") in (*catalog.groups(), "data")
    ]
    helpers = {
        "trainer.model.blocks.Along",
        "trainer.model.convnext.Scaled",
        "trainer.model.resnet.EveryOtherPixel",
        "trainer.model.surgery.FunctionalCalls",
        "trainer.model.vit.Attention",
        "trainer.optimizer.graph_updates.GroupUpdate",
        "trainer.reg.dropconnect.DroppedWeight",
        "trainer.reg.penalties.WeightPenalty",
        "trainer.reg.stochastic_depth.SurvivingResidual",
    }
    # Base classes of a family.
    helpers |= {"trainer.optimizer.base.FirstOrder", "trainer.optimizer.base.Wrapper"}
    helpers |= {"trainer.norm.Placed", "trainer.norm.Norm", "trainer.init.variance_scaling.Scaled"}
    helpers |= {
        "trainer.norm.BatchNorm",
        "trainer.norm.GroupNorm",
        "trainer.norm.RmsNorm",
        "trainer.norm.TanhNorm",
        "trainer.task.evaluate.Rebuilt",
        "trainer.task.evaluation_files.EvaluationFiles",
        "trainer.task.stats.Network",
        "trainer.task.train.Complete",
        "trainer.task.new.Example",
        "trainer.tta.Selective",
        "trainer.optimizer.fused_step.FusedStep",
        "trainer.optimizer.fused_step.Kind",
        "trainer.data.dataset.OwnDataset",
        "trainer.init.fixup.Shift",
        "trainer.init.fixup.Scale",
        "trainer.pretrain.fitnet.Distillation",
        "trainer.pretrain.fitnet.HintLoss",
        "trainer.pretrain.greedy.FreshHead",
        "trainer.pretrain.stage.Stage",
        "trainer.pretrain.truncated.MeanOfTokens",
        "trainer.pretrain.truncated.Reached",
        "trainer.pretrain.truncated.Truncated",
    }
    for path in rooms:
        module = ".".join(["trainer", *path.relative_to(package).with_suffix("").parts])
        nodes_of_module = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
        if path.parent.name == "data":  # what loads one is a data set, the others serve it
            nodes_of_module = [
                node
                for node in nodes_of_module
                if any(isinstance(child, ast.FunctionDef) and child.name == "load" for child in node.body)
            ]
        classes = {f"{module}.{node.name}" for node in nodes_of_module}
        assert classes - helpers <= named, f"{path.name}: {classes - helpers - named} has no YAML"


@pytest.mark.parametrize("group, option", [pair for pair in TECHNIQUES if pair[0] not in ("data", "preprocess")])
def test_an_option_trains_for_a_few_steps(group, option, composed, trained, tmp_path):
    """On real data the loop moves the weights, and weights and predictions stay finite."""
    require_installed(group, option)
    choice = f"{group}=[{option}]" if group in ("reg", "aug") else f"{group}={option}"
    data = {"mse": "diabetes"}.get(option, "digits")
    needs = {
        "identity": ["model=mlp"],
        "fixup": ["model=resnet20"],
        "stochastic_depth": ["model=resnet20"],
        "constant": ["model=mlp"],
        "fractional": ["model=cnn", "pool=fractional"],
        "mc_dropout": ["model=mlp", "reg=dropout"],
    }
    model = needs.get(option, [] if group == "model" or data != "digits" else ["model=cnn", "model.channels=[8]"])
    base, path = (f"data={data}", *model, "batch_size=64", "epochs=1"), catalog.file(group, option)
    content = yaml.safe_load(path.read_text())
    if "defaults" in content or not catalog.is_self_contained(path):
        cfg = composed(*base, choice)
    else:  # as composed: the option's file in its group's place
        cfg = composed(*base)
        for key in {"run", "teacher"} & content.keys():  # of a pretraining: another run
            content[key] = str(trained(*base, "epochs=1st").directory)
        OmegaConf.update(cfg, group, content, merge=False, force_add=True)
    run = build_run(cfg)
    before = [weight.clone() for weight in run.model.parameters()]
    curves = Recorder(tmp_path, run.data.task)
    fit(run, curves, Console(), until=3)
    curves.close()
    after = list(run.model.parameters())
    assert all(weight.isfinite().all() for weight in after)
    assert any(not torch.equal(a, b) for a, b in zip(before, after))
    images, targets = run.train.batch(torch.arange(32))
    run.model.eval()
    with torch.no_grad():
        predicted = run.tta(run.model, images)
    assert predicted.isfinite().all() and predicted.shape[1:] == targets.shape  # (views, B, outputs)


@pytest.mark.parametrize("name", OFFLINE)
def test_a_data_set_without_a_download_is_whole(name, composed):
    run = build_run(composed(f"data={name}"))
    for split in (run.data.train, run.data.val, run.data.test):
        assert (
            len(split) > 0 and split.images.isfinite().all() and split.targets.shape == (len(split), run.data.outputs)
        )


@pytest.mark.parametrize("option", [name for name in catalog.options("preprocess") if name != "model"])
def test_a_preprocessing_takes_images_and_tables(option, composed):
    for data in ("digits", "iris"):
        run = build_run(composed(f"data={data}", f"preprocess={option}", "model=linear"))
        assert run.train.images.isfinite().all()
