"""Pictures of the fit of a model of one or two features, made from its predictions on a grid."""

import numpy as np
import torch
from torch import Tensor, nn

from trainer.base.classes import class_scores, labels_of
from trainer.base.clock import Clock
from trainer.base.layers import preserved_modes
from trainer.base.protocols import HasProbabilities
from trainer.base.statistics import norm
from trainer.base.text import epochs
from trainer.data.inputs import TableInput
from trainer.data.splits import Split, Splits
from trainer.engine.run import Run
from trainer.engine.split_report import output_names
from trainer.report.collector import in_own_unit
from trainer.rundir.event_file import picture
from trainer.rundir.fit_frames import TAG, FrameDrawer, is_frame
from trainer.rundir.fit_map import SPLITS, FitMap, widened
from trainer.rundir.recorder import Recorder

FINE, COARSE = {1: 400, 2: 100}, {1: 160, 2: 48}  # points along each feature: of fit.png, and of a frame
MOST_SAMPLES = 1500  # of a split


def drawn_features(data: Splits) -> tuple[str, ...]:
    """Return the names of one or two features that are numbers; none of other data."""
    shape = data.input_shape
    if len(shape) != 1 or shape[0] not in (1, 2) or not isinstance(data.train.images, Tensor):
        return ()
    columns = data.inputs.columns if isinstance(data.inputs, TableInput) else ()
    if any(column.kind == "category" for column in columns):
        return ()
    names = tuple(column.name for column in columns)
    return names if len(names) == shape[0] else tuple(f"x{place}" for place in range(1, shape[0] + 1))


def fit_map(run: Run, model: nn.Module, caption: str, points: dict[int, int] | None = None) -> FitMap | None:
    """Return the predictions of a model on a grid around the samples; None of data with other features.

    Args:
        points: along each feature, by the number of features.
    """
    features = drawn_features(run.data)
    if not features:
        return None
    samples = {split: samples_of(getattr(run.data, split), run.data) for split in SPLITS}
    samples = {split: pair for split, pair in samples.items() if len(pair[0])}
    together = np.concatenate([inputs for inputs, _ in samples.values()])
    count = (points or FINE)[len(features)]
    ends = [widened(float(column.min()), float(column.max())) for column in together.T]
    grid = tuple(np.linspace(*pair, count).astype(np.float32) for pair in ends)
    return FitMap(
        features=features,
        outputs=output_names(run),
        classes=run.data.task != "regression",
        probabilities=isinstance(run.criterion, HasProbabilities),
        grid=grid,
        predictions=predictions_on(run, model, grid),
        samples=samples,
        caption=caption,
    )


def samples_of(split: Split, data: Splits) -> tuple[np.ndarray, np.ndarray]:
    """Return features and targets of a split, of a large one some: classes, or values in their own unit."""
    some = torch.linspace(0, len(split) - 1, min(len(split), MOST_SAMPLES)).long()
    inputs, targets = split.images[some].float().cpu().numpy(), split.targets[some].cpu()
    if data.task == "regression":
        return inputs, in_own_unit(targets.numpy(), data.predicted)
    return inputs, labels_of(targets).numpy()


@torch.no_grad()
def predictions_on(run: Run, model: nn.Module, grid: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the predictions (G, K) or (H, G, K) of a model on a grid of features, as they are before preprocessing.

    The model's modes are restored, and it draws nothing: dropping layers do nothing in evaluation.
    """
    planes = np.meshgrid(*grid)  # (H, G) of two features
    inputs = torch.from_numpy(np.stack([plane.ravel() for plane in planes], 1)).to(run.device)
    parts = []
    with preserved_modes(model):
        model.eval()
        for part in inputs.split(run.eval_batch_size):
            with run.autocast():
                outputs = model(run.train.preprocess(part))
            outputs = outputs.float()
            parts.append(outputs if run.data.task == "regression" else class_scores(outputs, run.criterion))
    found = torch.cat(parts).cpu().numpy()  # host sync: a few thousand numbers an evaluation
    if run.data.task == "regression":
        found = in_own_unit(found, run.data.predicted)
    return found.astype(np.float32).reshape(*planes[0].shape, -1)


@torch.no_grad()
def caption_of(run: Run, model: nn.Module, epoch: float) -> str:
    """Return the time of a picture, and of a regression the norm of the weights."""
    if run.data.task != "regression":
        return f"epoch {epochs(epoch)}"
    size = norm([weight for weight in model.parameters() if weight.dim() > 1])
    return f"epoch {epochs(epoch)}, norm of the weights {size.item():.4g}"


class FitPictures:
    """Pictures of the fit for TensorBoard, one an evaluation; of a long run fewer and fewer."""

    def __init__(self, run: Run, recorder: Recorder, title: str) -> None:
        self.run, self.recorder, self.title = run, recorder, title
        self.drawer: FrameDrawer | None = None
        self.draws = bool(run.fit_title) and bool(drawn_features(run.data))

    def due(self, now: Clock) -> bool:
        """True if the evaluation after a step is drawn."""
        return self.draws and (now.step == now.total_steps or is_frame(now.step // self.run.eval_steps))

    def record(self, model: nn.Module, now: Clock) -> None:
        """Draw the fit of a model after a step, where that is due."""
        if not self.due(now):
            return
        caption = caption_of(self.run, model, now.epochs)
        if self.drawer is None:
            found = fit_map(self.run, model, caption, COARSE)
            self.drawer, predictions = FrameDrawer(found, self.title), found.predictions
        else:
            predictions = predictions_on(self.run, model, self.drawer.found.grid)
        self.recorder.record_summary(picture(TAG, self.drawer.draw(predictions, caption)), now.step)
