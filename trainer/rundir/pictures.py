"""Pictures that are drawn from the files of a run: curves.png, and fit.png of data of one or two features."""

from pathlib import Path

from trainer.rundir import curves_plot, fit_map, fit_plot, integrity, reader
from trainer.rundir.title import title_of_files

CURVES, FIT = "curves.png", "fit.png"


def missing_pictures(directory: Path) -> list[str]:
    """Return the names of the pictures that a complete run lacks, or that are damaged."""
    names = [CURVES, *([FIT] if (directory / fit_map.FIT).is_file() else [])]
    return [name for name in names if not integrity.is_whole_picture(directory / name)]


def draw_pictures(directory: Path) -> None:
    """Draw them anew. Errors: OSError, and those of a damaged fit.npz."""
    summary, title = reader.read_summary(directory), title_of_files(directory)
    curves_plot.draw_run(directory, [*reader.read_rows(directory)], summary, title)
    if (directory / fit_map.FIT).is_file():
        fit_plot.draw(fit_map.read(directory / fit_map.FIT), directory / FIT, title)


def import_libraries() -> None:
    """Import what computes the report of a run and draws its pictures: a second of work. No torch here."""
    import matplotlib.backends.backend_agg  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import sklearn.calibration  # noqa: F401
    import sklearn.metrics  # noqa: F401
