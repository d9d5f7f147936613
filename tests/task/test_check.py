"""task=check: what it prints and writes, its exit codes, and that it leaves no trace."""

import hashlib
import json
import random

import numpy as np
import pytest
import torch
from checking import AlwaysDropping, subject_of

from trainer.inspection.checks import CHECKS, checked
from trainer.rundir.event_file import files_in, texts_and_images

SMALL = ("task=check", "data=iris", "threads=1", "device=cpu", "epochs=2")


def report_in(folder):
    (found,) = folder.glob("outputs/**/check.json")
    return json.loads(found.read_text())


def test_a_healthy_run_passes_all_checks(run_in_process, tmp_path):
    code, out, err = run_in_process(*SMALL)
    assert (code, err) == (0, "") and "FAIL" not in out
    content = report_in(tmp_path)
    assert content["passed"] is True and content["failed"] == []
    names = [check["name"] for check in content["checks"]]
    assert len(names) == len(set(names)) == sum(map(len, CHECKS.values())) == 20
    assert [*dict.fromkeys(check["part"] for check in content["checks"])] == [*CHECKS]
    assert all(name in out for name in names) and "20 checks passed, 0 failed" in out
    (folder,) = tmp_path.glob("outputs/*/*")
    (event,) = texts_and_images(files_in(folder))
    assert b"initial loss" in event.summary.value[0].tensor.string_val[0]
    assert (folder / "config.yaml").is_file() and not (folder / "summary.json").exists()


def test_a_failed_check_says_what_it_means_and_changes_the_exit_code(run_in_process, tmp_path):
    code, out, err = run_in_process(*SMALL, "preprocess=none")
    assert code == 6 and "centred inputs" in err and "Try preprocess=standardize" in out
    content = report_in(tmp_path)
    assert content["passed"] is False and "centred inputs" in content["failed"]
    (failed,) = (check for check in content["checks"] if check["name"] == "centred inputs")
    assert failed["status"] == "fail" and failed["value"] > 0.2 and failed["threshold"] == "<= 0.2"


def test_a_sweep_checks_each_job(run_in_process, tmp_path):
    code, out, _ = run_in_process("-m", *SMALL, "preprocess=none,standardize", "model=linear")
    assert code == 0 and len([*tmp_path.glob("outputs/sweeps/*/*/*/check.json")]) == 2
    assert "FAIL  centred inputs" in out and out.count("checks passed") == 2


@pytest.mark.parametrize("word", ["task.steps=5", "task.steps=many", "task.stepps=100"])
def test_a_mistake_ends_before_anything_is_written(word, run_in_process, tmp_path):
    code, out, err = run_in_process(*SMALL, word)
    assert code == 2 and "task.step" in err and not out and not (tmp_path / "outputs").exists()


def digest(run):
    state = [run.model.state_dict(), run.optimizer.state_dict(), [module.training for module in run.model.modules()]]
    state += [torch.get_rng_state(), random.getstate(), np.random.get_state(), run.progress.losses]
    state += [weight.grad for weight in run.model.parameters()]
    return hashlib.sha256(repr(plain(state)).encode()).hexdigest()


def plain(value):
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes().hex()
    if isinstance(value, dict):
        return [(key, plain(child)) for key, child in value.items()]
    return [*map(plain, value)] if isinstance(value, list | tuple) else repr(value)


@pytest.mark.parametrize(
    "words",
    [
        "data=digits norm=batch reg=[dropout,l2,grad_clip] aug=[crop]",
        "data=iris optimizer=sam averaging=ema",
        "data=diabetes optimizer=lbfgs batch_size=full",
        "data=breast_cancer optimizer=schedule_free sched=constant",
        "data=iris optimizer=kfac",
        "data=iris optimizer=lookahead norm=batch",
    ],
)
def test_the_checks_leave_no_trace(words):
    subject = subject_of(*words.split(), "model=mlp", steps=20)
    before = digest(subject.run)
    results = [checked(function, subject) for functions in CHECKS.values() for function in functions]
    assert digest(subject.run) == before
    assert not [check for check in results if "could not be done" in check.meaning]


@pytest.mark.parametrize("parts", [{}, {"model": AlwaysDropping}], ids=["dropout", "own draws"])
def test_a_check_gives_the_same_number_alone_and_among_others(parts):
    words = ("data=iris", "model=mlp", "norm=batch", "reg=dropout")
    functions = [function for functions in CHECKS.values() for function in functions]
    forwards, backwards = (subject_of(*words, steps=40, **parts) for _ in range(2))
    one = {function: checked(function, forwards) for function in functions}
    torch.manual_seed(1)  # what was drawn before does not count
    other = {function: checked(function, backwards) for function in reversed(functions)}
    assert one == other
