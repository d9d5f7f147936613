"""Signals end the program from within any code."""

import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import contextmanager

import pytest

from trainer.base import signals
from trainer.base.errors import Interrupted
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.engine.ending import errors_in_log


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


def test_a_signal_while_torch_is_imported_ends_the_process_in_words():
    enter = "import os, signal\nfrom trainer.base import signals\nwith signals.deadly():\n"
    code = f"{enter}    os.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "train: interrupted by SIGINT\n")


def by_the_process():
    os.kill(os.getpid(), signal.SIGINT)


def through_another_thread():
    """The kernel gives a signal to any thread that does not block it; Python answers it in the main thread."""
    thread = threading.Thread(target=signal.raise_signal, args=[signal.SIGINT])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # threads inherit the mask
    thread.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    thread.join()


@pytest.mark.parametrize("send", [by_the_process, through_another_thread])
def test_a_signal_that_is_held_comes_behind_the_block(send):
    reached = False
    with pytest.raises(Interrupted), signals.raised():
        with signals.held():
            send()
            reached = True
        pytest.fail("the signal is lost")
    assert reached


def test_handlers_are_those_of_before_when_a_run_has_ended():
    before = [signal.getsignal(number) for number in signals.ENDING]
    with signals.raised(), signals.Signals():
        pass
    with signals.ignored():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in signals.ENDING] == before


class Doomed:
    """Sends a signal while it is deleted, where Python drops whatever is raised."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)


def in_a_finalizer():
    Doomed()


def in_a_callback():
    passing = {1}
    weak = weakref.ref(passing, lambda _: os.kill(os.getpid(), signal.SIGINT))
    del passing
    assert weak() is None


def caught_by_a_library():
    try:
        os.kill(os.getpid(), signal.SIGHUP)
    except:  # noqa: E722
        pass


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("lose", "code"), [(in_a_finalizer, 143), (in_a_callback, 130), (caught_by_a_library, 129)])
def test_a_signal_whose_exception_is_dropped_ends_the_next_part_of_the_build(lose, code, composed):
    """As when a weak reference's callback or a `__del__` is what the signal interrupts."""
    cfg = composed("model=mlp")
    with pytest.raises(Interrupted) as raised, signals.raised():
        lose()
        factory(cfg, "model", Invocation())
    assert raised.value.code == code
    factory(cfg, "model", Invocation())  # it has been raised


def test_a_signal_whose_exception_is_dropped_before_the_first_step_ends_the_run_there():
    with signals.raised():
        caught_by_a_library()
        with signals.Signals() as received:
            assert received.number == signal.SIGHUP
    with signals.Signals() as received:
        assert received.number == 0


def test_a_signal_that_comes_too_late_for_a_block_is_there_for_the_next_part():
    """Between the last step and the evaluation of the test split, or between a loss that is NaN and a rollback."""
    with signals.raised():
        with signals.Signals() as received:
            os.kill(os.getpid(), signal.SIGTERM)
        assert received.number == signal.SIGTERM
        with signals.Signals() as again, pytest.raises(Interrupted), again.interrupt_immediately():
            pytest.fail("nothing is begun after a signal")
        signals.raise_received()  # it has been answered


def test_a_signal_that_comes_too_late_for_a_run_is_raised_where_the_program_looks_next():
    with pytest.raises(Interrupted) as raised, signals.raised():
        with signals.Signals():
            os.kill(os.getpid(), signal.SIGHUP)
        signals.raise_received()
    assert raised.value.code == 129


def test_a_signal_that_has_ended_a_run_is_not_there_for_the_next_run_of_the_process():
    with signals.Signals() as received:
        os.kill(os.getpid(), signal.SIGTERM)
        received.answered()
    signals.raise_received()
    with signals.Signals() as received:
        assert received.number == 0


@contextmanager
def cleaning_up_badly():
    """As a library whose clean-up, where an exception comes at an odd moment, raises another one."""
    try:
        yield
    finally:
        raise AttributeError("'NoneType' object has no attribute 'clear'")


@pytest.mark.parametrize("entered", [signals.raised, first_step], ids=["the program", "the first step"])
def test_a_signal_whose_exception_becomes_another_is_a_signal(entered):
    with pytest.raises(Interrupted) as raised, entered(), cleaning_up_badly():
        os.kill(os.getpid(), signal.SIGTERM)
    assert raised.value.code == 143
    with pytest.raises(AttributeError), entered(), cleaning_up_badly():
        pass


def test_it_is_one_for_the_log_too(tmp_path):
    with pytest.raises(Interrupted), signals.raised(), errors_in_log(tmp_path, Invocation()), cleaning_up_badly():
        os.kill(os.getpid(), signal.SIGHUP)
    assert (tmp_path / "run.log").read_text() == "interrupted\n"


@pytest.mark.parametrize("entered", [signals.raised, first_step], ids=["the program", "the first step"])
def test_a_second_signal_while_the_first_ends_the_program_adds_nothing(entered):
    """As a service manager sends SIGTERM and SIGHUP. Here the second comes when the block is left."""

    def send_when_left(frame, event, argument):
        if event == "call" and frame.f_code.co_qualname == "_GeneratorContextManager.__exit__":
            sys.setprofile(None)
            os.kill(os.getpid(), signal.SIGHUP)

    with pytest.raises(Interrupted):
        with entered():
            sys.setprofile(send_when_left)
            os.kill(os.getpid(), signal.SIGTERM)
