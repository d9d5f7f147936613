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


@pytest.mark.parametrize("entered", [signals.raised, first_step], ids=["the program", "the first step"])
def test_a_signal_is_not_caught_as_an_error_of_the_code_it_interrupts(entered):
    """Compilers, readers of images and downloads try things out and catch every Exception."""
    with pytest.raises(Interrupted) as raised, entered():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            pass
    assert raised.value.code == 143


@pytest.mark.parametrize("entered", [signals.raised, first_step], ids=["the program", "the first step"])
def test_the_end_of_the_terminal_is_a_signal_as_others_but_for_nohup(entered):
    with pytest.raises(Interrupted) as raised, entered():
        os.kill(os.getpid(), signal.SIGHUP)
    assert raised.value.code == 129
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with entered():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_those_of_before_when_a_run_has_ended():
    before = [signal.getsignal(number) for number in signals.ENDING]
    with signals.raised(), signals.Signals():
        pass
    with signals.ignored():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in signals.ENDING] == before
