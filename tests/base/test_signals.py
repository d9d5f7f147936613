"""Signals end the program from within any code."""

import os
import signal
from contextlib import contextmanager

import pytest

from trainer.base import signals
from trainer.base.errors import Interrupted


@contextmanager
def first_step():
    with signals.Signals() as received, received.interrupt_immediately():
        yield


@pytest.mark.parametrize("entered", [signals.raise_on_sigterm, first_step], ids=["the program", "the first step"])
def test_a_signal_is_not_caught_as_an_error_of_the_code_it_interrupts(entered):
    """Compilers, readers of images and downloads try things out and catch every Exception."""
    with pytest.raises(Interrupted) as raised, entered():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            pass
    assert raised.value.code == 143
