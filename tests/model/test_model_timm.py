"""Classifiers of timm as models: its own networks, sizes, normalisation, heads, depths and weights. Needs timm."""

import json

import pytest
import torch
from conftest import command, only_run
from finished import batch, count, make_kit
from safetensors.torch import load_file, save_file
from torch import nn

from trainer.base.depth import depths_of, head_of
from trainer.base.errors import ConfigError, DataError
from trainer.base.layers import parameter_groups
from trainer.engine.build import build_run
from trainer.rundir.reader import read_summary

timm = pytest.importorskip("timm")

from timm.optim import param_groups_layer_decay  # noqa: E402

from trainer.config import classifiers  # noqa: E402
from trainer.model import timm as ours  # noqa: E402
from trainer.model.timm import Timm  # noqa: E402

TINY = [  # of timm's own tests: a family each
    "test_byobnet", "test_convnext", "test_convnext2", "test_efficientnet", "test_efficientnet_gn", "test_mambaout",
    "test_maxvit", "test_nfnet", "test_resnet", "test_vit", "test_vit3", "test_vit_relpos",
]  # fmt: skip
DISTILLED = "deit_tiny_distilled_patch16_224"  # with two heads
SMALL = ("model=timm", "data=photos", "epochs=1", "threads=1", "device=cpu")


def make(name, input_shape=(3, 64, 64), outputs=5, kit=None, **fields):
    return Timm(input_shape, outputs, kit or make_kit(), name=name, **fields)


def test_all_of_timms_networks_are_known_without_an_import():
    assert classifiers.names("timm") == sorted(timm.list_models())


@pytest.mark.parametrize("name", TINY)
def test_it_is_timms_own_network(name):
    side = timm.get_pretrained_cfg(name).input_size[1]
    torch.manual_seed(3)
    mine = make(name, (3, side, side)).eval()
    torch.manual_seed(3)
    theirs = timm.create_model(name, num_classes=5).eval()
    images = torch.randn(2, 3, side, side)
    assert torch.equal(mine(images), theirs(images)) and mine(images).shape == (2, 5)
    assert mine.made_for == (side, side)


@pytest.mark.parametrize("name", TINY)
def test_channels_and_size_of_the_data_are_taken(name):
    model = make(name, (1, 96, 96), outputs=3)
    images, labels = torch.randn(4, 1, 96, 96), torch.tensor([0, 1, 2, 0])
    nn.functional.cross_entropy(model(images), labels).backward()
    grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert all(grad.isfinite().all() for grad in grads) and grads[0].any()


def test_images_that_are_not_square_are_taken():
    assert make("test_vit", (3, 32, 64))(torch.randn(2, 3, 32, 64)).shape == (2, 5)
    assert make("test_resnet", (3, 32, 64))(torch.randn(2, 3, 32, 64)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "side", "larger"),
    [
        ("test_vit", 8, 16),
        ("vit_tiny_patch16_224", 8, 16),
        ("convnext_atto", 8, 32),
        ("swin_tiny_patch4_window7_224", 3, 4),
    ],
)
def test_images_that_are_too_small_are_refused_with_the_next_side(name, side, larger):
    with pytest.raises(ValueError, match=f"model.name={name}: cannot take images of {side}x{side}.*take: {larger}$"):
        make(name, (3, side, side))


def test_unknown_names_tags_and_values_are_refused():
    with pytest.raises(ConfigError, match="model.name=convnxt_tiny: .*did you mean model.name=convnext_tiny"):
        make("convnxt_tiny")
    with pytest.raises(
        ConfigError, match="model.name=convnext_tiny.fb_in1: .*did you mean model.name=convnext_tiny.fb_in1k"
    ):
        make("convnext_tiny.fb_in1")
    for name in ("hf-hub:timm/test_vit", "local-dir:/tmp", "../test_vit"):
        with pytest.raises(ConfigError, match="no such network"):
            make(name)
    with pytest.raises(ValueError, match="act must be one of original, kit"):
        make("test_vit", act="nonsense")
    with pytest.raises(ValueError, match="needs images"):
        make("test_vit", (30,))


@pytest.mark.parametrize("name", [*TINY, DISTILLED])
def test_the_head_is_the_one_that_timm_names(name):
    named = timm.get_pretrained_cfg(name).classifier
    heads = {f"network.{head}" for head in ((named,) if isinstance(named, str) else named)}
    assert {*head_of(make(name, (3, 224, 224)), torch.randn(2, 3, 224, 224))} == heads


@pytest.mark.parametrize("name", [*TINY, DISTILLED])
def test_layer_decay_has_timms_own_rates(name):
    """As timm.optim.param_groups_layer_decay scales them."""
    from trainer.engine.fine_tuning import rate_factors

    model = make(name, (3, 224, 224))
    cfg = type("Cfg", (), {"optimizer": {"layer_decay": 0.75, "head_lr": 1.0}})
    factors = rate_factors(cfg, model, torch.randn(2, 3, 224, 224))
    theirs = param_groups_layer_decay(model.network, layer_decay=0.75)
    expected = {id(weight): group["lr_scale"] for group in theirs for weight in group["params"]}
    for own, weight in model.named_parameters():
        assert factors[own] == pytest.approx(expected[id(weight)], rel=1e-12), own
    groups = parameter_groups(model, factors)
    assert sum(len(group["params"]) for group in groups) == len(expected)
    assert depths_of(model, torch.randn(2, 3, 224, 224))


@pytest.mark.parametrize("channels", [3, 1, 4])
def test_the_networks_own_normalisation_is_taken_where_none_is_typed(channels, composed):
    cfg = timm.get_pretrained_cfg("resnet18")
    apply = ours_preprocess(channels)
    pixel = torch.full((2, channels, 4, 4), 0.6)
    if channels == 3:
        mean, std = (torch.tensor(values)[:, None, None] for values in (cfg.mean, cfg.std))
        torch.testing.assert_close(apply(pixel.clone()), ((0.6 - mean) / std).expand(2, 3, 4, 4))
    else:
        mean, std = (sum(values) / 3 for values in (cfg.mean, cfg.std))
        torch.testing.assert_close(apply(pixel.clone()), torch.full_like(pixel, (0.6 - mean) / std))
    torch.testing.assert_close(apply.invert(apply(pixel.clone())), pixel)


def ours_preprocess(channels):
    from trainer.preprocess import OfModel

    return OfModel().for_channels(*Timm.normalization(name="resnet18"), channels)


@pytest.mark.parametrize(
    ("words", "kind", "center"),
    [
        ([], "OfModel", 0.5),
        (["data=digits", "model.name=test_resnet"], "OfModel", 0.5),
        (["preprocess=channel_standardize"], "ChannelStandardize", None),
        (["preprocess=none"], "Identity", None),
    ],
)
def test_a_run_saves_resumes_and_evaluates_the_preprocessing_that_it_took(words, kind, center, tmp_path):
    words = [*SMALL, "model.name=test_convnext", *words]
    words = [word for word in words if word != "data=photos" or "data=digits" not in words]
    words = [word for word in words if word != "model.name=test_convnext" or "model.name=test_resnet" not in words]
    code, _, errors = command(tmp_path, *words)
    assert code == 0 and not errors, errors
    run = only_run(tmp_path)
    assert f"_target_: trainer.preprocess.{kind}" in (run / "config.yaml").read_text()
    fitted = json.loads((run / "run.json").read_text())["preprocess"]
    if center is not None:  # timm's test networks: mean and deviation 0.5
        assert {*flat(fitted["center"]["tensor"])} == {center} and {*flat(fitted["scale"]["tensor"])} == {2.0}
    code, _, errors = command(tmp_path, f"resume={run}", "epochs=2")
    assert code == 0, errors
    assert f"_target_: trainer.preprocess.{kind}" in (run / "config.yaml").read_text()
    code, out, errors = command(tmp_path, "task=evaluate", f"runs=['{run}']", "device=cpu", "threads=1")
    assert code == 0 and f"{read_summary(run)['test']['loss']:.4f}" in out, errors


def flat(values):
    return [values] if isinstance(values, float) else [each for part in values for each in flat(part)]


def test_a_sweep_gives_each_model_its_preprocessing_and_is_finished_when_repeated(tmp_path):
    words = ("-m", "data=photos", "model=timm,cnn", "epochs=1", "threads=1", "device=cpu", "hydra.sweep.dir=sweep")
    for _ in range(2):
        code, _, errors = command(tmp_path, *words, "seed=0")
        assert code == 0, errors
    configs = {path.parent.name: path.read_text() for path in (tmp_path / "sweep").glob("*/config.yaml")}
    assert len(configs) == 2
    assert all(("OfModel" in text) == name.startswith("timm") for name, text in configs.items())
    assert all(read_summary(path.parent)["status"] == "finished" for path in (tmp_path / "sweep").glob("*/config.yaml"))


def test_a_model_without_a_normalisation_of_its_own_refuses_that_of_the_model(run_in_process):
    code, _, errors = run_in_process("preprocess=model", "epochs=1", "threads=1")
    assert code == 2 and "preprocess=model: the model has no normalisation of its own" in errors, errors


def test_images_of_another_size_than_the_networks_are_noted(tmp_path):
    code, out, errors = command(tmp_path, *SMALL, "model.name=test_vit")
    assert code == 0 and "model.name=test_vit: is made for images of 160x160, and those of the data have 64x64" in out
    assert "data.size=160" in out, errors


def test_an_option_without_effect_is_refused_and_one_of_the_kit_replaces(composed):
    with pytest.raises(ValueError, match="act= makes Tanh, which has no effect.*try model.act=kit"):
        make("test_resnet", kit=make_kit(nn.Tanh))
    model = make("test_resnet", kit=make_kit(nn.Tanh, batch), act="kit", norm="kit")
    assert count(model, nn.ReLU) == 0 and count(model, nn.Tanh) > 3
    assert not any(type(module) is nn.BatchNorm2d for module in model.modules())
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 5)
    with pytest.raises(ValueError, match="norms that are one module with their activation"):
        make("test_efficientnet", kit=make_kit(nn.ReLU, batch), norm="kit")


def test_a_file_of_timm_is_taken_with_a_new_head_and_adapted_channels(tmp_path):
    torch.manual_seed(5)
    theirs = timm.create_model("test_resnet", num_classes=1000)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    words = ("model=timm", "model.name=test_resnet", "data=digits", "epochs=0", "threads=1")
    code, _, errors = command(tmp_path, *words, "model.weights=model.safetensors")
    assert code == 0, errors
    run = only_run(tmp_path)
    weights, expected = load_file(run / "weights.safetensors"), theirs.state_dict()
    first = weights.pop("network.conv1.0.weight" if "network.conv1.0.weight" in weights else "network.conv1.weight")
    name = "conv1.0.weight" if "conv1.0.weight" in expected else "conv1.weight"
    torch.testing.assert_close(first, expected[name].sum(1, keepdim=True))  # grey is the sum over the colours
    rest = {name: values for name, values in weights.items() if "fc" not in name}
    assert all(torch.equal(values, expected[name.removeprefix("network.")]) for name, values in rest.items())
    start = read_summary(run)["start"]
    assert start["fresh"] == ["network.fc.weight", "network.fc.bias"]
    assert any(
        "the last layer is a new one, with 10 outputs (that of the weights has 1000)" in note
        for note in read_summary(run)["notes"]
    )


def test_tables_of_positions_are_resampled_for_images_of_another_size(tmp_path):
    theirs = timm.create_model("test_vit", num_classes=7)  # 160x160
    torch.save({"model": theirs.state_dict()}, tmp_path / "vit.pth")
    code, _, errors = command(tmp_path, *SMALL, "model.name=test_vit", "epochs=0", "model.weights=vit.pth")
    assert code == 0, errors
    start = read_summary(only_run(tmp_path))["start"]
    assert start["fresh"] == ["network.head.weight", "network.head.bias"]


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A hub whose host is not known, and an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def test_without_a_network_pretrained_weights_are_refused_in_one_line(offline):
    with pytest.raises(DataError) as error:
        make("test_resnet", pretrained=True)
    text = str(error.value)
    assert len(text.splitlines()) == 1 and text.startswith("model.pretrained=true: no weights for test_resnet")
    assert "huggingface.co/timm/test_resnet" in text and "model.weights=FILE" in text


def test_a_network_without_weights_refuses_pretrained():
    name = next(name for name in timm.list_models("resnet*") if not has_weights(timm.get_pretrained_cfg(name)))
    with pytest.raises(ValueError, match=f"model.pretrained=true: timm has no weights for {name}"):
        make(name, pretrained=True)


def has_weights(cfg):
    return bool(cfg.hf_hub_id or cfg.url)


def test_pretrained_takes_all_but_the_last_layer(monkeypatch):
    """timm's own loader is given a state dict in place of a download, as its configuration allows."""
    torch.manual_seed(7)
    theirs = timm.create_model("test_resnet", num_classes=1000)
    create = timm.create_model

    def from_memory(name, pretrained=False, **settings):
        overlay = {"state_dict": theirs.state_dict()} if pretrained else None
        return create(name, pretrained=pretrained, pretrained_cfg_overlay=overlay, **settings)

    monkeypatch.setattr(timm, "create_model", from_memory)
    for outputs in (5, 1000):
        weights = make("test_resnet", outputs=outputs, pretrained=True).network.state_dict()
        differ = {name for name, values in theirs.state_dict().items() if not same(values, weights[name])}
        assert differ == {"fc.weight", "fc.bias"}


def same(one, other):
    return one.shape == other.shape and torch.equal(one, other)


def test_pretrained_weights_are_left_alone_by_the_builder(monkeypatch, composed):
    monkeypatch.setattr(ours, "make_pretrained", ours.created)
    torch.manual_seed(0)
    run = build_run(composed("model=timm", "model.name=test_resnet", "model.pretrained=true", "data=digits"))
    assert run.model.pretrained and any(weight.abs().sum() for weight in run.model.parameters())


def test_a_run_that_began_with_pretrained_weights_is_resumed_and_evaluated_without_them(monkeypatch, tmp_path):
    with monkeypatch.context() as patched:
        patched.setattr(ours, "make_pretrained", ours.created)  # in place of a download
        code, _, errors = command(tmp_path, *SMALL, "model.name=test_resnet", "model.pretrained=true")
    assert code == 0, errors
    run = only_run(tmp_path)
    monkeypatch.setattr(ours, "make_pretrained", lambda *arguments: pytest.fail("the weights were fetched again"))
    code, _, errors = command(tmp_path, f"resume={run}", "epochs=2")
    assert code == 0, errors
    assert "pretrained: true" in (run / "config.yaml").read_text()
    code, _, errors = command(tmp_path, "task=evaluate", f"runs=['{run}']", "device=cpu", "threads=1")
    assert code == 0, errors


def test_the_help_lists_names_by_pattern(run_in_process):
    code, out, _ = run_in_process("--help", "model=timm", "model.name=test_vit*")
    assert code == 0 and {*out.split()} >= {"test_vit", "test_vit2", "test_vit_relpos"} and "resnet" not in out
    assert run_in_process("--help", "model=timm", "test_vit*")[1] == out
    code, out, _ = run_in_process("--help", "model=timm")
    assert code == 0 and f"{len(timm.list_models()):,} networks" in out and "model.name='*tiny*'" in out
    code, _, errors = run_in_process("--help", "model=timm", "model.name=xyzzy")
    assert code == 2 and "no such network" in errors


def test_a_name_of_timm_is_answered_where_the_option_belongs(run_in_process):
    code, _, errors = run_in_process("model=convnextv2_tiny")
    assert code == 2 and "did you mean model=timm model.name=convnextv2_tiny?" in errors
