"""The checks of a run, in the order in which they are read: data, start, gradients, learning, modes."""

import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from trainer.base.device import out_of_memory
from trainer.base.errors import UserError
from trainer.base.origin import reason
from trainer.base.rng import derive, preserved_generators, seed_default
from trainer.base.text import from_here, printable
from trainer.inspection import check_data, check_gradients, check_learning, check_modes, check_start
from trainer.inspection.check import Check, CheckFunction, Subject

HOME = Path(__file__).parent.parent  # of the project's own files
CHECKS: dict[str, tuple[CheckFunction, ...]] = {
    "data": (
        check_data.centred_inputs,
        check_data.preprocessing_fitted_on_train,
        check_data.no_statistics_of_held_out_data,
        check_data.signs_of_first_gradients,
        check_data.sensitivity_to_weights,
    ),
    "start": (
        check_start.initial_loss,
        check_start.loss_is_a_mean,
        check_start.symmetry_breaking,
        check_start.centred_outputs_of_layers,
        check_start.signal_through_the_layers,
        check_start.dead_units,
        check_start.saturated_units,
    ),
    "gradients": (
        check_gradients.gradients_against_differences,
        check_gradients.gradient_flow,
        check_gradients.independent_samples,
    ),
    "learning": (
        check_learning.weights_that_move,
        check_learning.overfit_small_sample,
        check_learning.inputs_against_zeros,
    ),
    "modes": (
        check_modes.training_and_evaluation_agree,
        check_modes.evaluation_twice,
    ),
}


def name_of(function: CheckFunction) -> str:
    """Return the name of a check: `centred inputs`."""
    return function.__name__.replace("_", " ")


def checked(function: CheckFunction, subject: Subject) -> Check:
    """Return the result of a check; of one in which a technique raises, that it has failed, and why.

    Errors: UserError, those of memory.
    """
    name = name_of(function)
    with own_random_numbers(subject, name):
        try:
            return replace(function(subject), name=name)
        except UserError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            return Check(name=name, passed=False, meaning=f"The check could not be done: {where(error)}.")


def where(error: Exception) -> str:
    """Return an error in one line, with the place in the user's own file that raised it, where there is one."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_library(frame.filename)]
    place = f"{from_here(frames[-1].filename)}:{frames[-1].lineno} raises " if frames else ""
    return printable(f"{place}{reason(error)}")


def is_library(file: str) -> bool:
    """Return whether a file is of this project or of an installed package."""
    return Path(file).is_relative_to(HOME) or "site-packages" in Path(file).parts or file.startswith("<")


@contextmanager
def own_random_numbers(subject: Subject, name: str) -> Iterator[None]:
    """Seed all generators for a check, whichever checks came before, and give them back as they were."""
    seed = derive(subject.run.seed, name)
    with preserved_generators(subject.run.device):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        seed_default(subject.run.device, seed)
        yield
