"""Teacher of a pretraining: a trained model, for images as another network takes them."""

import torch
from torch import Tensor, device, nn

from trainer.base.errors import ConfigError, DataError
from trainer.base.paths import expanded
from trainer.base.protocols import Apply, Invertible
from trainer.base.rng import preserved_generators
from trainer.base.text import printable
from trainer.config.hydra_context import Invocation
from trainer.data.splits import Splits
from trainer.engine.trained import make_network, read_model
from trainer.rundir.description import Description


class Teacher(nn.Module):
    """A trained network behind another preprocessing than the images have. Frozen, and always in evaluation mode.

    Args:
        network: the trained one.
        undo: gives the images as they were before their preprocessing; None where it is the network's own.
        apply: the network's preprocessing.
    Shapes: (B, ...) -> (B, K).
    """

    def __init__(self, network: nn.Module, undo: Apply | None, apply: Apply) -> None:
        super().__init__()
        self.network, self.undo, self.apply_own = network, undo, apply
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.apply_own(self.undo(images)) if self.undo else images)

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in evaluation mode."""
        return super().train(False)


def load_teacher(run: str, apply: Apply, data: Splits, where: device, invocation: Invocation) -> Teacher:
    """Return the trained model of a run for preprocessed images of the data.

    Errors: ConfigError where it is for other data or its preprocessing cannot be reached, DataError.
    """
    name = f"pretrain.teacher={printable(run)}"
    try:
        described, weights, _ = read_model(expanded(run), where)
        with preserved_generators(where):
            network, own = make_network(described, weights, where, invocation.allow)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    require_same_data(described, data, name, invocation)
    raw = data.train.select(torch.arange(min(2, len(data.train)))).sample().to(where)
    if torch.equal(apply(raw), own(raw)):
        return Teacher(network, None, own)
    if not isinstance(apply, Invertible):
        option = described.choices.get("preprocess")
        what = f"its images are preprocessed in another way, and {invocation.describe('preprocess')} cannot be undone"
        raise ConfigError(f"{name}: {what}; try preprocess={option}")
    return Teacher(network, apply.invert, own)


def require_same_data(described: Description, data: Splits, name: str, invocation: Invocation) -> None:
    """Check that a model is for samples and targets of this kind. Errors: ConfigError."""
    here = invocation.describe("data")
    if tuple(described.inputs.shape) != tuple(data.input_shape):
        its, own = ("x".join(map(str, shape)) for shape in (described.inputs.shape, data.input_shape))
        raise ConfigError(f"{name}: is for inputs of {its}, and {here} has {own}")
    if (described.task, described.outputs) != (data.task, data.outputs):
        has = f"{described.outputs} outputs ({described.task}), and {here} has {data.outputs} ({data.task})"
        raise ConfigError(f"{name}: has {has}")
    if described.classes != tuple(data.classes):
        raise ConfigError(f"{name}: is for other classes than {here} has")
