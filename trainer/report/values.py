"""Figures of a regression, computed by scikit-learn."""

from dataclasses import dataclass

import numpy as np

from trainer.report.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class ValueFigures:
    """Figures of each of K outputs (K,): mean absolute error, root mean squared error, and r2.

    The errors are in the targets' own unit. r2 is NaN for a target that is constant, or of a single sample.
    """

    mae: np.ndarray
    rmse: np.ndarray
    r2: np.ndarray


def figures_of_values(found: Predictions) -> ValueFigures:
    """Return the figures of predictions of values."""
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    both, each = (found.true, found.predicted), {"multioutput": "raw_values"}
    r2 = r2_score(*both, **each, force_finite=False) if len(found) > 1 else np.full(found.outputs, np.nan)
    r2 = np.where(np.isfinite(r2), r2, np.nan)
    return ValueFigures(mae=mean_absolute_error(*both, **each), rmse=root_mean_squared_error(*both, **each), r2=r2)
