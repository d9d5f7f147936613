"""Option of the data where a task reads finished runs and only another place of their data is typed. No torch here."""

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from trainer.comparison.record import find
from trainer.config import catalog
from trainer.config.keys import is_location, key_of
from trainer.rundir.reader import read_config, read_overrides
from trainer.rundir.saved_options import options_of


def with_data_of_runs(texts: Sequence[str]) -> list[str]:
    """Return the overrides, with `data=OPTION` of the first run before `data.root=DIR` where it is not typed.

    Errors: DataError where the runs are not there, or cannot be read.
    """
    typed = {key_of(text): text for text in texts}
    if "data" in typed or "runs" not in typed or not any(map(is_location, typed)):
        return [*texts]
    try:
        patterns = OverridesParser.create().parse_override(typed["runs"]).value()
    except HydraException:
        return [*texts]  # answered with all other mistakes of grammar
    if not patterns:
        return [*texts]
    first = find(patterns if isinstance(patterns, list) else [patterns])[0][0]
    option = dict(options_of(read_config(first, "runs"), read_overrides(first))).get("data")
    return [f"data={option}", *texts] if option in catalog.options("data") else [*texts]
