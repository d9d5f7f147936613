"""Signals reach the program through whatever it is in."""

import os
import signal
from contextlib import contextmanager

import pytest

from trainer.base import signals
from trainer.base.errors import Interrupted


@contextmanager
def first_update():
    with signals.Signals() as taken, taken.interrupt_immediately():
        yield


@pytest.mark.parametrize("entered", [signals.raise_on_sigterm, first_update], ids=["the program", "the first update"])
def test_a_signal_is_not_taken_for_an_error_of_what_it_falls_into(entered):
    """Compilers, readers of images and downloads try things out and catch every Exception."""
    with pytest.raises(Interrupted) as told, entered():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            pass
    assert told.value.code == 143
