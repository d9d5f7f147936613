"""Training of a network by a trained teacher: hints for its middle layer, and soft answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.clock import Clock
from trainer.base.depth import depths_of, layers_in_order, names_at
from trainer.pretrain.stage import Stage
from trainer.pretrain.truncated import Truncated, input_of, shape_before

MIDDLE = "middle"
Teacher = nn.Module  # in evaluation mode, for images as the network takes them


@dataclass(frozen=True, kw_only=True)
class FitNet:
    """FitNets (Romero et al., 2015): a thin, deep network learns from a wide teacher.

    First the layers up to the guided one learn to give the teacher's hint u, the H outputs of one of its layers,
    through a regressor r of their own: l = 1/(2 H) ||u - r(v)||^2. Then the whole network learns the task and the
    teacher's softened answers: l = C(y, softmax(a)) + s C(softmax(a_T / T), softmax(a / T)), C the cross-entropy, with
    outputs a_T of the teacher and a of the network; s falls in a line from `strength` to `final_strength`.

    Args:
        teacher: directory of the teacher's run.
        hint, guided: layer of the teacher and of the network, counted from the input, >= 1; `middle` is that in the
            middle of the hidden ones. Paper: middle.
        length: of the first stage, a length.
        temperature: T, > 0. Paper: 3.
        strength, final_strength: s, >= 0. Paper: 4 to 1.
    Errors: ValueError for layers that are not there.
    Source: arXiv:1412.6550, eq. 1 to 3; Hinton et al., 2015, arXiv:1503.02531, for the temperature. Differs from the
    paper: the hint's loss is divided by H, so that the learning rate of the main training serves; a hint with larger
    maps than the network's is met by a pooling that repeats values.
    """

    teacher: str
    hint: int | str = MIDDLE
    guided: int | str = MIDDLE
    length: str = "5ep"
    temperature: float = 3.0
    strength: float = 4.0
    final_strength: float = 1.0

    def __post_init__(self) -> None:
        for name in ("hint", "guided"):
            if getattr(self, name) != MIDDLE:
                require(">= 1", **{name: getattr(self, name)})
        require("> 0", temperature=self.temperature)
        require(">= 0", strength=self.strength, final_strength=self.final_strength)

    def taught_stages(self, network: nn.Module, teacher: Teacher, images: Tensor) -> Sequence[Stage]:
        """Return the training by the hint.

        Args:
            images: some of the training split, as the network takes them.
        """
        hinting = next_layer(teacher, self.hint, images, "hint", "the teacher")
        guided = next_layer(network, self.guided, images, "guided", "the network")
        above, hint = layers_in_order(network, images).index(guided), shape_before(teacher, hinting, images)

        def under_regressor(copy: nn.Module) -> nn.Module:
            return Truncated(copy, guided, regressor(shape_before(copy, guided, images), hint))

        @torch.no_grad()
        def teach(images: Tensor) -> Tensor:
            return input_of(teacher, hinting, images).flatten(1)

        frozen = names_at(network, depths_of(network, images), lambda depth: depth >= above)
        taught = {"teach": teach, "criterion": HintLoss()}
        return [Stage(name="hint", length=self.length, frozen=frozen, wrap=under_regressor, **taught)]

    def lesson(self, teacher: Teacher) -> "Distillation | None":
        """Return the term of the main loss; None where it has no weight."""
        if not (self.strength or self.final_strength):
            return None
        return Distillation(
            teacher=teacher, temperature=self.temperature, strength=self.strength, final_strength=self.final_strength
        )


def next_layer(network: nn.Module, number: int | str, images: Tensor, key: str, whose: str) -> str:
    """Return the name of the layer behind a hidden one. Errors: ValueError."""
    layers = layers_in_order(network, images)
    hidden = len(layers) - 1
    if not hidden:
        raise ValueError(f"{whose} has no hidden layers")
    chosen = math.ceil(hidden / 2) if number == MIDDLE else number
    if chosen > hidden:
        raise ValueError(f"{key}={number}: {whose} has {hidden} hidden layers")
    return layers[chosen]


def regressor(shape: tuple[int, ...], hint: tuple[int, ...]) -> nn.Sequential:
    """Return the regressor from the guided layer's outputs (B, *shape) to the flattened hint (B, H).

    Of maps a convolution whose kernel brings them to the hint's size (eq. 3); else a dense layer.
    """
    if len(shape) != 3 or len(hint) != 3:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), math.prod(hint)))
    sides = [max(own, other) for own, other in zip(shape[1:], hint[1:])]
    larger = [] if sides == [*shape[1:]] else [nn.AdaptiveAvgPool2d(sides)]
    kernel = [side - other + 1 for side, other in zip(sides, hint[1:])]
    return nn.Sequential(*larger, nn.Conv2d(shape[0], hint[0], kernel), nn.Flatten())


@dataclass(frozen=True, kw_only=True)
class HintLoss:
    """Half the mean squared distance to the hint (B, H), l = 1/(2 H) ||u - r||^2 (arXiv:1412.6550, eq. 1, over H)."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(1) / 2


@dataclass(kw_only=True)
class Distillation:
    """Cross-entropy with the teacher's softened answers, times a factor that falls in a line over the run.

    s H(softmax(a_T / T), softmax(a / T)), the mean over the samples; of a single output the sigmoid's two answers.
    """

    teacher: Teacher
    temperature: float
    strength: float
    final_strength: float
    from_teacher = True

    def __post_init__(self) -> None:
        self._factor = self.strength

    def begin(self, now: Clock) -> None:
        """Take the time of the step."""
        self._factor = self.strength + (self.final_strength - self.strength) * now.progress

    def __call__(self, model: nn.Module, images: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            answers = self.teacher(images).float() / self.temperature
        outputs = outputs / self.temperature
        if outputs.shape[1] == 1:
            losses = F.binary_cross_entropy_with_logits(outputs, answers.sigmoid(), reduction="none")
            return self._factor * losses.sum(1).mean()
        return self._factor * -(answers.softmax(1) * outputs.log_softmax(1)).sum(1).mean()
