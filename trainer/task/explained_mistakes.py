"""mistakes_explained.png of task=evaluate: the worst mistakes beside maps of where the model finds its answers."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from trainer.data.image_files import read
from trainer.explanation.maps import Explainer
from trainer.explanation.picture import overlaid
from trainer.inference.explained_network import explainer_for
from trainer.inference.predictions import Member
from trainer.report import image_sheet
from trainer.report.predictions import Predictions
from trainer.report.report import PICTURES, Report, Subject, joined

NAME = "mistakes_explained.png"
RANGE = "from nothing (grey) to its most (yellow)"  # of a map


def with_explained_mistakes(report: Report, model: Member) -> tuple[Report, str]:
    """Return a report with mistakes_explained.png, and how it was made; without it, and why.

    Each of the worst mistakes is beside two maps, for the class that the model says and for the true one; of a
    regression beside one, for the first value.

    Args:
        report: with its predictions.
        model: with the weights that the predictions are of.
    """
    found, subject = report.predictions, report.subject
    if found is None or subject is None:
        return report, "no mistakes explained: there are no figures"
    if not subject.samples.are_images:
        hint = "task=predict input=FILE explain=true explains rows of a table"
        return report, f"no mistakes explained: the samples are not images; {hint}"
    chosen = found.mistakes(PICTURES)
    if not len(chosen):
        return report, "no mistakes explained: there are none"
    explainer, inputs = explainer_for(model, read(subject.samples.split.images, torch.from_numpy(chosen)))
    is_of_values = found.task == "regression"
    answers = [np.zeros(len(chosen), int)] if is_of_values else [found.predicted[chosen], found.true[chosen]]
    maps = [explainer(inputs, torch.as_tensor(each, dtype=torch.long)).cpu().numpy() for each in answers]
    panels, captions = [], []
    for number, index in enumerate(chosen):
        image = subject.samples.images([index])[0]
        over = [(255 * overlaid(image / 255, each[number])).round().astype(np.uint8) for each in maps]
        panels += [enlarged(image, over[0]), *over]
        captions += captions_of_value(found, index) if is_of_values else captions_of_class(found, subject, index)
    subtitle = subject.subtitle(f"{what_is_shown(found, len(chosen))}. {meaning(explainer)}", len(found))
    png = image_sheet.draw(panels, captions, subject.title, subtitle, together=1 + len(maps))
    said = f"{len(chosen)} of the worst mistakes explained by {method(explainer)}"
    return replace(report, files={**report.files, NAME: png}), said


def enlarged(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return an image as large as another one, its pixels stay squares."""
    height, width = like.shape[:2]
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST))


def captions_of_class(found: Predictions, subject: Subject, index: int) -> list[image_sheet.Caption]:
    """Return the captions of an image and its two maps: the true class; the answer; the true class with its score."""
    true, said = (subject.classes[place] for place in (found.true[index], found.predicted[index]))
    return [
        [(f"true {true}", "", "plain")],
        [(f"said {said}", f"{found.score[index]:.2f}", "wrong")],
        [(f"for {true}", f"{found.true_score[index]:.2f}", "right")],
    ]


def captions_of_value(found: Predictions, index: int) -> list[image_sheet.Caption]:
    """Return the captions of an image and its map: the true and the predicted values."""
    return [
        [(f"true {joined(found.true[index])}", "", "plain")],
        [(f"said {joined(found.predicted[index])}", "", "wrong")],
    ]


def what_is_shown(found: Predictions, count: int) -> str:
    """Return which samples are shown, in words."""
    if found.task == "regression":
        return "the largest losses first"
    largest = "probability of a wrong class" if found.has_probabilities else "loss"
    return f"mistakes, those with the largest {largest} first: {count} of {len(found.wrong):,}"


def meaning(explainer: Explainer) -> str:
    """Return what the maps show."""
    of_class = "what speaks for" if explainer.feature_map else "where a small change acts on"
    what = "what moves the first value" if explainer.task == "regression" else f"{of_class} a class"
    return f"{method(explainer)}: {what}, {RANGE}"


def method(explainer: Explainer) -> str:
    """Return the name of the method, and why it is not Grad-CAM."""
    return f"{explainer.method} ({explainer.reason})" if explainer.reason else explainer.method
