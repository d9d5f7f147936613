"""Transfer of the first layers: which weights come from where, and what trains when."""

import pytest
import torch
from conftest import command, only_run
from safetensors.torch import load_file

from trainer.base.errors import ConfigError
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.pretraining import network_of
from trainer.engine.stage_run import stage_run
from trainer.rundir.reader import read_summary

CNN = ("model=cnn", "model.channels=[4,6,8]", "norm=batch", "threads=1", "device=cpu", "batch_size=100")
HALF_B = (*CNN, "data.half=b", "pretrain=transfer")


@pytest.fixture(scope="module")
def half_a(trained):
    """A network that was trained on the first five classes."""
    return trained(*CNN, "data.half=a", "epochs=3").directory


@pytest.fixture
def of(half_a, composed):
    """Build a run on the other classes."""
    return lambda *words: build_run(composed(*HALF_B, f"pretrain.run={half_a}", *words))


@pytest.mark.parametrize("count, copied", [(1, ("0.", "1.")), (2, ("0.", "1.", "4.", "5."))])
def test_the_first_layers_are_those_of_the_run_and_the_others_as_drawn_without_it(count, copied, of, half_a, composed):
    state, fresh = (
        load_file(half_a / "weights.safetensors"),
        build_run(composed(*CNN, "data.half=b")).model.state_dict(),
    )
    found = of(f"pretrain.layers={count}").model.state_dict()
    assert found.keys() == fresh.keys()
    for name, value in found.items():
        assert torch.equal(value, (state if name.startswith(copied) else fresh)[name]), name
    assert not torch.equal(state["0.weight"], fresh["0.weight"])


def test_layers_frozen_at_first_train_in_the_main_training(of):
    run = of("pretrain.layers=2", "pretrain.freeze=3st")
    (stage,) = run.stages
    weights = {name for name, _ in run.model.named_parameters()}
    assert weights - stage.frozen == {name for name in weights if not name.startswith(("0.", "1.", "4.", "5."))}
    assert all(weight.requires_grad for weight in run.model.parameters())


def test_layers_frozen_for_good_never_move_and_keep_their_statistics(tmp_path, half_a):
    words = (*HALF_B, f"pretrain.run={half_a}", "pretrain.layers=2", "pretrain.freeze=always", "epochs=2")
    code, _, errors = command(tmp_path, *words)
    assert code == 0, errors
    before = load_file(half_a / "weights.safetensors")
    after = load_file(only_run(tmp_path) / "weights.safetensors")
    same = {name for name in after if torch.equal(after[name], before[name])}
    assert {name.partition(".")[0] for name in same if "num_batches" not in name} == {"0", "1", "4", "5"}


def test_a_stage_moves_the_upper_layers_alone(tmp_path, half_a, composed):
    words = (*HALF_B, f"pretrain.run={half_a}", "pretrain.layers=1", "pretrain.freeze=2ep", "epochs=0")
    code, out, errors = command(tmp_path, *words)
    assert code == 0, errors
    assert "pretrain 1 of 1, upper layers" in out
    before = load_file(half_a / "weights.safetensors")
    after = load_file(only_run(tmp_path) / "weights.safetensors")
    kept = [name for name in after if name.startswith(("0.", "1."))]
    assert kept and all(torch.equal(after[name], before[name]) for name in kept)
    assert read_summary(only_run(tmp_path))["start"]["loaded"] == 5  # kernel; scale, shift and averages of its norm


@pytest.mark.parametrize(
    "words, message",
    [
        (["pretrain.layers=4"], "layers=4: the network has 3 layers before its last one, which is drawn afresh"),
        (["model.channels=[5,6,8]"], "does not fit the layers to copy of"),
        (["model.weights={half_a}"], "brings weights along, too"),
    ],
)
def test_what_cannot_be_copied_is_refused(words, message, of, half_a):
    with pytest.raises(ConfigError, match=message):
        of(*(word.format(half_a=half_a) for word in words))


def test_a_run_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    code, _, errors = command(tmp_path, *HALF_B, "pretrain.run=nowhere")
    assert code == 3 and "pretrain.run=nowhere: no such folder or file" in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()
    code, _, errors = command(tmp_path, *HALF_B)
    assert code == 2 and "pretrain.run" in errors


def test_a_resumed_run_does_not_need_the_other_one(tmp_path, half_a):
    import shutil

    copied = shutil.copytree(half_a, tmp_path / "a")
    code, _, errors = command(tmp_path, *HALF_B, f"pretrain.run={copied}", "epochs=1")
    assert code == 0, errors
    shutil.rmtree(copied)
    run = only_run(tmp_path)
    code, out, errors = command(tmp_path, f"resume={run}", "epochs=+1")
    assert code == 0, errors
    assert "resumed after step" in out


def test_the_network_of_a_stage_is_the_run_s_own(of, composed, half_a):
    cfg = composed(*HALF_B, f"pretrain.run={half_a}", "pretrain.freeze=1ep")
    run = build_run(cfg)
    made = stage_run(run, run.stages[0], 1, cfg, Invocation())
    assert network_of(made.model) is made.model and made.model is not run.model
