"""Every hook a technique may have beyond its plain call, one Protocol each. READ SECOND, after engine/loop.py.

Those of modules (layers, activations, norms) are in module_protocols.py, of cyclic schedules in cycle_protocols.py.

A technique has a hook by defining the method or attribute; nothing registers it: who calls a hook asks
`isinstance(technique, Hook)` first. The plain call of each group, and its hooks:

    act         () -> module                                    pieces; of the module: mean_square
    aug         (images, targets, rng) -> (images, targets)     begin, matrices with mode, calibrate, on_pixels, tasks
    averaging   update(model, now), evaluated(model)            state_dict, follow, snapshots
    data        load() -> Splits
    init        (model, images, targets, act) -> None           keeps_weights, rate_factors
    bias        (model, targets, criterion) -> None
    loss        (outputs, targets) -> losses (B,)               average, constant, of_labels, probabilities,
                                                                separate_outputs, tasks; or for_task
    model       (input_shape, outputs, kit) -> module           pretrained; of a module in it: calibrate, linear_input,
                                                                head_layers, layer_depths, converted, normalization
    norm        (channels) -> module                            place, on_input; of the module: normalizes
    optimizer   torch's, stepped with a closure                 watch, eval and train, create_graph
    pool        () -> module                                    of the module: draws_in_evaluation
    pretrain    stages(network, images, targets) -> stages      copied, freezes_always; taught_stages, lesson in its
                                                                place; of a lesson: begin, from_teacher
    preprocess  fit(images) -> apply(images)                    for_channels; of what fit returns: invert
    reg         one for each slot: Slots in engine/run.py       tasks; of the slot batch: begin, matrices with mode,
                                                                use; loss: add_gradient; weights: before; stop: verdict;
                                                                layer (no tasks): on_maps, follows_act,
                                                                drops_in_training
    sampler     (epoch, targets, losses, rng) -> indices (N,)   uses_losses, tasks
    sched       (now) -> multiplier of the learning rate        observe, state_dict, ends_cycle
    task        execute(cfg, invocation) -> score or None
    tta         (model, images) -> outputs
    warmup      (sched) -> sched
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from trainer.base.clock import Clock

Act = Callable[[], nn.Module]  # the factory of the run's activation
Apply = Callable[[Tensor], Tensor]  # a fitted preprocessing
Criterion = Callable[[Tensor, Tensor], Tensor]  # of outputs and targets (B, K), a loss (B,) for each sample


@runtime_checkable
class ForTasks(Protocol):
    """A technique for some kinds of data only: classification, binary, regression (not the group task=)."""

    tasks: Sequence[str]


@runtime_checkable
class UsesClock(Protocol):
    """A transform, or a term of the loss, that depends on the time of the step."""

    def begin(self, now: Clock) -> None:
        """Take the time, before the first micro-batch of each step."""


@runtime_checkable
class AffineWarp(Protocol):
    """An augmentation that moves pixels by one matrix a sample; neighbours of one mode share a single interpolation."""

    mode: str

    def matrices(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Return (B, 3, 3), from positions in the output to positions in the input."""


@runtime_checkable
class ChangesPixels(Protocol):
    """An augmentation of colours, which sees images in [0, 1], as they were before the preprocessing.

    Its strength means the same whatever the preprocessing.
    """

    on_pixels: bool


@runtime_checkable
class Calibrated(Protocol):
    """An augmentation or a layer that is computed from some training images, once, before the run."""

    def calibrate(self, images: Tensor) -> None:
        """Take up to 256 training images (B, ...): preprocessed ones, or those in [0, 1] where it has `on_pixels`."""


@runtime_checkable
class KeepsWeights(Protocol):
    """An initialisation that leaves the layers as they were made, pretrained ones, too."""

    keeps_weights: bool


@runtime_checkable
class ScalesRates(Protocol):
    """An initialisation that is one of learning rates, too: some parameters learn at a multiple of the optimizer's."""

    def rate_factors(self, model: nn.Module, degree: int) -> Mapping[nn.Parameter, float]:
        """Return the multiples that are not 1: degree 1, steps proportional to the gradient (SGD); 0, of any size."""


@runtime_checkable
class ChosenByTask(Protocol):
    """A loss that stands for another one, chosen by the kind of data."""

    def for_task(self, task: str) -> Criterion:
        """Return the criterion for classification, binary or regression."""


@runtime_checkable
class TakesLabels(Protocol):
    """A loss that is cheaper for classes than for probabilities of them, with the same values and gradients."""

    def of_labels(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (B,) for the numbers of the classes (B,)."""


@runtime_checkable
class AveragesOutputs(Protocol):
    """A loss that says how several outputs for one sample become one; without it, they are averaged as they are."""

    def average(self, outputs: Tensor) -> Tensor:
        """Return outputs (B, K) of those on V views (V, B, K)."""


@runtime_checkable
class HasProbabilities(Protocol):
    """A loss of classes whose outputs stand for probabilities; without it, only the largest output is known."""

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return (B, K) in [0, 1] for outputs (B, K)."""


@runtime_checkable
class HasBestConstant(Protocol):
    """A loss that knows the best constant prediction, for bias=marginal; `constant_loss` names its mean loss."""

    constant_loss: str

    def constant(self, targets: Tensor) -> Tensor:
        """Return the outputs (K,) for targets (N, K), in float64."""


@runtime_checkable
class UsesCriterion(Protocol):
    """A transform of the `batch` slot that depends on what the criterion takes the targets for."""

    def use(self, criterion: object) -> None:
        """Take the run's criterion, once, before the first step."""


@runtime_checkable
class SeparateOutputs(Protocol):
    """A criterion that takes each output for a yes-or-no question of its own, where others take all for one choice."""

    separate_outputs: bool


@runtime_checkable
class AnalyticPenalty(Protocol):
    """A penalty of the `loss` slot that knows its gradient in closed form, at a third of autograd's time."""

    def add_gradient(self, weights: Sequence[Tensor]) -> Tensor:
        """Add the penalty's gradient to the `.grad` of the weights that decay, and return the penalty, a scalar."""


@runtime_checkable
class PreStepEdit(Protocol):
    """An edit of the `weights` slot that looks at the model before the optimizer's step as well as after it."""

    def before(self, model: nn.Module, optimizer: torch.optim.Optimizer, now: Clock) -> None:
        """Take the model, the optimizer with the step's learning rates, and the time, before the step."""


@runtime_checkable
class HasVerdict(Protocol):
    """A rule of the `stop` slot that can say why it ended the run; empty until it does."""

    verdict: str


@runtime_checkable
class CopiesLayers(Protocol):
    """A pretraining that copies the first layers from a `run`, a directory or a file of weights; perhaps for good."""

    run: str
    freezes_always: bool

    def copied(self, network: nn.Module, images: Tensor) -> frozenset[str]:
        """Return the names of the parameters and modules to copy. Errors: ValueError."""


@runtime_checkable
class HasTeacher(Protocol):
    """A pretraining that learns from a trained model: directory of its run, or its weights.safetensors."""

    teacher: str

    def taught_stages(self, network: nn.Module, teacher: nn.Module, images: Tensor) -> Sequence:
        """Return the stages, for a teacher of images as the network takes them. Errors: ValueError."""

    def lesson(self, teacher: nn.Module) -> object | None:
        """Return a term of the main training's loss, called as one of the slot `loss`; None without."""


@runtime_checkable
class FromTeacher(Protocol):
    """A term of the loss that comes from a teacher: it is no penalty on the weights."""

    from_teacher: bool


@runtime_checkable
class WatchesModel(Protocol):
    """An optimizer that needs more of a layer than its gradient."""

    def watch(self, model: nn.Module) -> None:
        """Take the model, once, before the first step."""


@runtime_checkable
class HasEvaluationPoint(Protocol):
    """An optimizer that trains at one point and evaluates at another (schedule-free, lookahead)."""

    def eval(self) -> None:
        """Put the weights to evaluate into the model."""

    def train(self) -> None:
        """Put the weights to train back."""


@runtime_checkable
class DifferentiatesGradient(Protocol):
    """An optimizer that differentiates the gradient: backward keeps the graph where `create_graph` is true."""

    create_graph: bool


@runtime_checkable
class UsesLosses(Protocol):
    """A sampler that orders an epoch by each sample's most recent loss."""

    uses_losses: bool


@runtime_checkable
class ObservesLoss(Protocol):
    """A schedule with memory: it goes by the validation loss."""

    def observe(self, loss: float) -> None:
        """Take the loss of an evaluation."""


@runtime_checkable
class Stateful(Protocol):
    """An averaging or a schedule whose state belongs into a checkpoint. Regularisers have none that is saved."""

    def state_dict(self) -> dict:
        """Return tensors, numbers, strings, lists and dicts."""

    def load_state_dict(self, state: Mapping) -> None:
        """Take such a state back."""


@runtime_checkable
class PlacedNorm(Protocol):
    """A factory of norms that chooses their place: `before_act`, as without this hook, or `after_act`."""

    place: str


@runtime_checkable
class NormOfInput(Protocol):
    """A factory of norms that puts one more in front of the model where `on_input` is true."""

    on_input: bool


@runtime_checkable
class GoesByModel(Protocol):
    """A preprocessing that takes what it needs from the model's class (HasNormalization) instead of the data."""

    def for_channels(self, mean: Sequence[float], deviation: Sequence[float], channels: int) -> Apply:
        """Return the preprocessing of images with so many channels."""


@runtime_checkable
class Invertible(Protocol):
    """A fitted preprocessing that can be undone, so that images can be shown in their own colours."""

    def invert(self, values: Tensor) -> Tensor:
        """Return (B, ...) as it was before the preprocessing, in [0, 1]."""
