"""FitNets: the hint and its regressor, the teacher's softened answers, and the teacher's own preprocessing."""

import numpy as np
import pytest
import torch
from conftest import command, only_run
from safetensors.torch import load_file

from trainer import load
from trainer.base.clock import Clock
from trainer.base.errors import ConfigError
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.pretraining import network_of
from trainer.engine.probe import probe
from trainer.engine.stage_run import stage_run
from trainer.pretrain.fitnet import Distillation, HintLoss, regressor
from trainer.rundir.reader import read_rows, read_summary

TEACHER = ("model=wide_shallow", "model.channels=[8,12,12]", "model.kernels=[3]", "model.hidden=16")
STUDENT = ("model=cnn", "model.channels=[4,6]", "threads=1", "device=cpu", "batch_size=100", "pretrain=fitnet")


@pytest.fixture(scope="module")
def teacher(trained):
    return trained(*TEACHER, "epochs=3").directory


@pytest.fixture
def of(teacher, composed):
    return lambda *words: build_run(composed(*STUDENT, f"pretrain.teacher={teacher}", *words))


@pytest.fixture
def other(teacher, composed):
    """Build a run of another network on any data."""
    return lambda *words: build_run(composed("pretrain=fitnet", f"pretrain.teacher={teacher}", *words))


def softmax(values):
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("now, factor", [(0, 4.0), (50, 2.5), (100, 1.0)])
def test_the_softened_answers_by_numpy(now, factor):
    rng = np.random.default_rng(0)
    own, taught = rng.normal(size=(5, 3)), 3 * rng.normal(size=(5, 3))
    term = Distillation(
        teacher=lambda images: torch.from_numpy(taught), temperature=3.0, strength=4.0, final_strength=1.0
    )
    term.begin(Clock(total_steps=100, steps_per_epoch=10, step=now))
    found = term(None, None, torch.from_numpy(own).float(), None)
    wanted = factor * -(softmax(taught / 3) * np.log(softmax(own / 3))).sum(1).mean()
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_of_one_output_both_answers_count():
    term = Distillation(teacher=lambda images: torch.tensor([[2.0]]), temperature=2.0, strength=1.0, final_strength=1.0)
    p, q = 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(-0.25))
    wanted = -(p * np.log(q) + (1 - p) * np.log(1 - q))
    assert term(None, None, torch.tensor([[0.5]]), None).item() == pytest.approx(wanted, rel=1e-6)


def test_the_loss_of_the_hint_by_hand():
    losses = HintLoss()(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[3.0, 2.0], [1.0, 1.0]]))
    assert losses.tolist() == [1.0, 0.5]  # (4 + 0) / 2 / 2 and (1 + 1) / 2 / 2


@pytest.mark.parametrize(
    "own, hint, kernel",
    [((6, 8, 8), (12, 4, 4), (5, 5)), ((6, 4, 4), (12, 4, 4), (1, 1)), ((6, 2, 2), (12, 4, 4), (1, 1))],
)
def test_the_regressor_of_maps_brings_them_to_the_hint(own, hint, kernel):
    made = regressor(own, hint)
    conv = next(layer for layer in made if isinstance(layer, torch.nn.Conv2d))
    assert conv.kernel_size == kernel  # N_g - N_h + 1 (eq. 3)
    assert made(torch.zeros(2, *own)).shape == (2, 12 * 4 * 4)
    assert regressor((20,), hint)(torch.zeros(2, 20)).shape == (2, 12 * 4 * 4)


def test_a_stage_learns_the_hint_up_to_the_guided_layer_and_its_targets_are_the_teachers_outputs(of, teacher, composed):
    cfg = composed(*STUDENT, f"pretrain.teacher={teacher}", "pretrain.guided=1", "pretrain.hint=2")
    run = build_run(cfg)
    made = stage_run(run, run.stages[0], 1, cfg, Invocation())
    free = {name for name, weight in made.model.named_parameters() if weight.requires_grad}
    assert {name for name in free if name.startswith("network.")} == {"network.0.weight", "network.0.bias"}
    images, targets = made.train.batch(torch.arange(7))
    network = load(teacher, device="cpu").module
    values = images
    for layer in [*network][:6]:  # convolution, activation and pooling, twice
        values = layer(values)
    torch.testing.assert_close(targets, values.flatten(1))
    assert made.data.task == "regression" and made.monitor.name == "r2"


def test_hints_are_those_of_augmented_images(of, teacher, composed):
    from trainer.engine.order import batches
    from trainer.engine.transforms import Transforms

    cfg = composed(*STUDENT, f"pretrain.teacher={teacher}", "aug=[translate,mixup]", "reg=[label_smoothing]")
    run = build_run(cfg)
    made = stage_run(run, run.stages[0], 1, cfg, Invocation())
    _, batch = next(batches(made))
    [(images, targets)] = Transforms(made)(made.clock, batch)
    assert not torch.equal(images, batch[0][0])
    torch.testing.assert_close(targets, run.stages[0].teach(images))


def test_a_teacher_with_another_preprocessing_sees_its_own(trained, composed):
    teacher = trained(*TEACHER, "epochs=1", "preprocess=center").directory
    run = build_run(composed(*STUDENT, f"pretrain.teacher={teacher}"))
    images, _ = run.train.batch(torch.arange(9))
    (term,) = run.slots.loss
    raw = run.data.train.images[:9]
    model = load(teacher, device="cpu")
    torch.testing.assert_close(term.teacher(images).softmax(1), model(raw), atol=1e-5, rtol=1e-4)


def test_the_answers_are_no_penalty_to_the_verdicts(of):
    found = probe(of("pretrain.strength=50", "pretrain.final_strength=50"), 0)
    assert found["penalty"] == 0 and found["penalty_grad_norm"] == 0


def test_without_a_strength_the_hint_alone_counts(of):
    assert not of("pretrain.strength=0", "pretrain.final_strength=0").slots.loss
    assert len(of().slots.loss) == 1


def test_a_network_learns_from_its_teacher_and_leaves_it_as_it_was(tmp_path, teacher):
    before = (teacher / "weights.safetensors").read_bytes()
    code, out, errors = command(tmp_path, *STUDENT, f"pretrain.teacher={teacher}", "pretrain.length=4ep", "epochs=2")
    assert code == 0, errors
    assert (teacher / "weights.safetensors").read_bytes() == before
    run = only_run(tmp_path)
    scores = [row["r2"] for row in read_rows(run / "pretrain" / "1-hint") if row["split"] == "val"]
    assert scores[-1] > scores[0] and max(scores) < 1
    assert "log 10" not in out.partition("pretrain 1 of 1, hint: best")[0]  # the hint has no classes
    assert read_summary(run)["pretrain"][0]["stage"] == "hint"
    assert not any(name.startswith(("teacher", "head")) for name in load_file(run / "weights.safetensors"))


@pytest.mark.parametrize(
    "words, message",
    [
        (["data.half=a"], r"has 10 outputs \(classification\), and data has 5"),
        (["pretrain.hint=9"], "hint=9: the teacher has 4 hidden layers"),
        (["pretrain.guided=3"], "guided=3: the network has 2 hidden layers"),
    ],
)
def test_what_cannot_be_taught_is_refused(words, message, of):
    with pytest.raises(ConfigError, match=message):
        of(*words)


@pytest.mark.parametrize(
    "words, message",
    [
        (["data=iris", "model=mlp"], "is for inputs of 1x8x8, and data has 4"),
        (["model=linear"], "the network has no hidden layers"),
    ],
)
def test_another_network_or_other_data_are_refused(words, message, other):
    with pytest.raises(ConfigError, match=message):
        other(*words)


def test_the_network_in_a_stage_shares_nothing_with_the_run(of, composed, teacher):
    cfg = composed(*STUDENT, f"pretrain.teacher={teacher}")
    run = build_run(cfg)
    made = stage_run(run, run.stages[0], 1, cfg, Invocation())
    own = {weight.data_ptr() for weight in run.model.parameters()}
    assert not own & {weight.data_ptr() for weight in network_of(made.model).parameters()}
