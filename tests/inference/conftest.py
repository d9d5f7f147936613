"""Small runs that have ended, trained once in a session."""

import pytest

from trainer import train

SMALL = ("threads=1", "device=cpu")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Train a run with the words given, once for each of them, and return it."""
    runs = {}

    def get(*words, **settings):
        if words not in runs:
            output = tmp_path_factory.mktemp("runs")
            runs[words] = train(*SMALL, *words, f"output={output}", quiet=True, **settings)
        return runs[words]

    return get
