"""threads=auto: the number of CPU threads that is fastest, kept by a resumed run."""

import shutil

import pytest
import torch
from conftest import command, only_run

from trainer.engine import threads
from trainer.engine.threads import fastest
from trainer.rundir import checkpoint


@pytest.fixture(autouse=True)
def restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("milliseconds", "chosen"),
    [
        ({4: 10, 2: 20, 1: 40}, 4),  # a quiet machine
        ({4: 400, 2: 30, 1: 40}, 2),
        ({4: 400, 2: 200, 1: 40}, 1),  # a busy one
        ({4: 42, 2: 41, 1: 40}, 4),  # alike: not to depend on noise
        ({4: 45, 2: 43, 1: 40}, 2),
        ({4: 5000, 2: 3000, 1: 1000}, 1),  # one pass is enough
        ({1: 10}, 1),
    ],
)
def test_the_fastest_number_is_chosen_and_of_nearly_equal_ones_the_largest(milliseconds, chosen):
    now = [0.0]

    def work():
        now[0] += milliseconds[torch.get_num_threads()] / 1000

    assert fastest(work, [*milliseconds], clock=lambda: now[0]) == chosen == torch.get_num_threads()


def test_each_number_is_measured_for_a_tenth_of_a_second(composed):
    now, calls = [0.0], []

    def work():
        calls.append(torch.get_num_threads())
        now[0] += 0.03

    fastest(work, [2, 1], clock=lambda: now[0])
    assert calls == [2] * 5 + [1] * 5  # the first is not counted, then 0.03, 0.06, 0.09, 0.12


def test_measuring_leaves_the_run_as_it_was(composed, monkeypatch):
    from trainer.engine.build import build_run
    from trainer.rundir.checkpoint import weights_digest

    words = ("model=cnn", "norm=batch", "reg=dropout")
    run = build_run(composed(*words, "threads=1"))
    before, random = weights_digest(run.model), torch.get_rng_state()
    monkeypatch.setattr(threads, "ALL_THREADS", 2)
    assert threads.choose_threads(run) in (1, 2)
    assert weights_digest(run.model) == before and run.model.training
    assert torch.equal(torch.get_rng_state(), random) and all(weight.grad is None for weight in run.model.parameters())


def test_a_resumed_run_keeps_its_number_unless_another_is_typed(tmp_path, monkeypatch):
    words = ("model=mlp", "model.hidden=[8]", "epochs=1")
    assert command(tmp_path, *words, "threads=2")[0] == 0
    run = only_run(tmp_path)
    newest = next(iter(checkpoint.newest_first(run / "checkpoints")))
    assert checkpoint.load(newest, torch.device("cpu"))["threads"] == 2
    monkeypatch.setattr("trainer.engine.session.ALL_THREADS", 4)
    for typed, number in (("threads=auto", "2 threads"), ("threads=1", "1 thread")):
        code, out, errors = command(tmp_path, f"resume={run}", "epochs=+1", typed)
        assert code == 0, errors
        (line,) = [line for line in out.splitlines() if line.split()[:1] == ["device"]]
        assert f", {number})" in line


def test_a_run_that_is_resumed_with_other_threads_says_that_its_last_bits_differ(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    code, printed, errors = command(tmp_path, "resume=run", "threads=2")
    said = " ".join(printed.split())
    assert code == 0 and "threads was 1, is 2; another number of threads gives other last bits" in said, errors


def test_a_run_that_is_resumed_on_a_machine_with_fewer_threads_says_so(tmp_path, monkeypatch):
    assert command(tmp_path, "model=mlp", "model.hidden=[8]", "epochs=1", "threads=2")[0] == 0
    run = only_run(tmp_path)
    monkeypatch.setattr("trainer.engine.session.ALL_THREADS", 1)
    code, printed, errors = command(tmp_path, f"resume={run}", "epochs=+1", "threads=auto")
    said = " ".join(printed.split())
    assert code == 0 and "threads was 2, this machine has 1; another number of threads gives other last bits" in said, (
        errors
    )
