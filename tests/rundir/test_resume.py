"""Resuming: a run that was stopped anywhere ends with the same weights, bit for bit."""

import json
import os
import shutil
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import processes
import pytest
import torch
import yaml
from conftest import command, only_run
from omegaconf import OmegaConf
from payloads import change, put, saved
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.base.errors import ConfigError, DataError
from trainer.config.untrusted import read_yaml
from trainer.engine import summary
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.state import capture, restore, restore_optimizer
from trainer.rundir import checkpoint, resume
from trainer.rundir import directory as rundir
from trainer.rundir.checkpoint import Checkpoints, weights_digest
from trainer.rundir.console import Console
from trainer.rundir.reader import read_rows, read_summary
from trainer.rundir.recorder import Recorder
from trainer.rundir.row import line_of, row_in
from trainer.rundir.saved_options import defaults_of

SMALL = ("model=mlp", "model.hidden=[16]", "threads=1", "epochs=3", "batch_size=100", "log_every=5")
EVERYTHING = (
    "model=wide_resnet", "model.depth=10", "model.widen=1", "norm=batch",
    "reg=[dropout,stochastic_depth,label_smoothing,grad_noise,weight_decay]",
    "aug=[crop,flip,mixup]", "averaging=ema", "sched=cosine", "warmup=linear", "accumulate=2", "sampler=hard_examples",
    "precision=bf16", "optimizer=adam", "threads=1", "epochs=2", "batch_size=20", "log_every=3",
    "data.test_fraction=0.85",  # fewer samples: 6 steps
)  # fmt: skip
KINDS = {
    "plain": SMALL,
    "everything": EVERYTHING,
    "plateau": (*SMALL, "sched=plateau", "sched.patience=0", "sched.threshold=0.9", "reg=early_stopping"),
    "swa": (*SMALL, "averaging=swa", "norm=batch"),
    "lookahead": (*SMALL, "optimizer=lookahead"),
    "schedule_free": (*SMALL, "optimizer=schedule_free"),
    "sam": (*SMALL, "optimizer=sam"),
    "grokfast": (*SMALL, "optimizer=grokfast"),
    "cautious": (*SMALL, "optimizer=cautious", "optimizer@optimizer.base=adamw"),
    "prodigy": (*SMALL, "optimizer=prodigy", "sched=wsd"),
    "distance": (*SMALL, "optimizer=pytorch_optimizer", "optimizer.name=DAdaptAdan"),
    "library": (*SMALL, "optimizer=pytorch_optimizer", "optimizer.name=ScheduleFreeAdamW", "norm=batch"),
    "lbfgs": (*SMALL, "optimizer=lbfgs", "optimizer.max_iter=3", "epochs=4", "batch_size=full"),
    "fractional": ("model=cnn", "model.channels=[8]", "pool=fractional", *SMALL[2:]),
}


class Stop(Exception):
    """Raised to stop a run as if it were killed."""


def train(run, folder, stop_at=None, state=None):
    """Fit a run, from a state if there is one; write a checkpoint at the step `stop_at`, stop and return its state."""
    folder.mkdir(exist_ok=True)
    recorder, checkpoints = Recorder(folder, run.data.task), Checkpoints(folder)
    if state:
        restore(run, recorder, checkpoints, state)

    def save(now, evaluated, best):
        checkpoints.save(capture(run, recorder, now, evaluated), best)
        if now.step == stop_at:
            raise Stop

    try:
        fit(replace(run, save_steps=stop_at or run.save_steps), recorder, Console(silent=True), save)
    except Stop:
        return checkpoint.load(checkpoints.folder / f"step-{stop_at}.pt", run.device)
    finally:
        recorder.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_bit_for_bit_as_the_undisturbed_one(kind, composed, tmp_path):
    words = KINDS[kind]
    undisturbed = build_run(composed(*words))
    train(undisturbed, tmp_path / "undisturbed")
    *_, wanted = read_rows(tmp_path / "undisturbed")
    steps = undisturbed.clock.total_steps
    for at in {1, steps // 2 + 1, steps - 1}:  # the second one lies within an epoch
        state = train(build_run(composed(*words)), tmp_path / str(at), stop_at=at)
        resumed = build_run(composed(*words))
        train(resumed, tmp_path / str(at), state=state)
        assert weights_digest(resumed.model) == weights_digest(undisturbed.model)
        with resumed.evaluation_model() as mine, undisturbed.evaluation_model() as theirs:
            assert weights_digest(mine) == weights_digest(theirs)
        assert resumed.progress.history == undisturbed.progress.history
        *_, last = read_rows(tmp_path / str(at))
        assert last["loss"] == wanted["loss"]


def test_a_checkpoint_holds_nothing_but_tensors_numbers_strings_lists_and_dicts(composed, tmp_path):
    state = train(build_run(composed(*EVERYTHING)), tmp_path, stop_at=5)

    def kinds(value):
        if isinstance(value, dict):
            return set().union(*(kinds(key) | kinds(child) for key, child in value.items()))
        return set().union(*map(kinds, value)) if isinstance(value, list) else {type(value)}

    assert kinds(state) <= {torch.Tensor, int, float, str, bool, type(None)}


def test_other_data_is_refused(composed, tmp_path):
    state = train(build_run(composed(*SMALL)), tmp_path, stop_at=5)
    with pytest.raises(DataError, match="the data has changed since the run was trained"):
        train(build_run(composed(*SMALL, "data.split_seed=1")), tmp_path, state=state)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The directories of a run that was killed in the middle, and of the same run, undisturbed."""
    folder = tmp_path_factory.mktemp("killed")
    words = [*SMALL[:3], "epochs=20", "sched=constant", "save_every=10st", "log_every=4"]
    assert command(folder, *words, "output=undisturbed")[0] == 0
    process = processes.begin(folder, *words)
    while len(list(folder.glob("outputs/*/*/checkpoints/step-*.sha256"))) < 2 and process.is_alive():
        time.sleep(0.01)  # waits for a state of the disk, not for time to pass
    process.kill()
    process.join()
    (run,) = folder.glob("outputs/*/*")
    (undisturbed,) = folder.glob("undisturbed/*/*")
    assert not (run / "summary.json").exists()
    return run, undisturbed


@pytest.fixture(scope="module")
def resumed(killed, tmp_path_factory):
    """A copy of that run, resumed: its directory, what it printed, and the newest checkpoint, which was cut before."""
    folder = tmp_path_factory.mktemp("resumed")
    run = shutil.copytree(killed[0], folder / "outputs" / "day" / "run")
    newest = next(checkpoint.newest_first(run / "checkpoints"))
    newest.write_bytes(newest.read_bytes()[:-20])
    code, out, errors = command(folder, f"resume={run}")
    assert code == 0, errors
    return run, out, newest


def test_a_changed_configuration_is_refused_and_the_key_is_named(killed, tmp_path):
    run, _ = killed
    before = (run / "config.yaml").read_bytes()
    code, _, errors = command(tmp_path, f"resume={run}", "optimizer.lr=0.01")
    first, second = errors.splitlines()
    assert code == 2 and first.endswith("the configuration of a run cannot change: optimizer.lr was 0.05, is 0.01")
    assert second == "to change it all the same, add resume.allow=[optimizer.lr]"
    assert (run / "config.yaml").read_bytes() == before


def test_a_killed_run_ends_with_the_same_weights_past_a_damaged_checkpoint(killed, resumed):
    (run, out, damaged), (_, undisturbed) = resumed, killed
    assert f"passed over: {damaged}" in out.replace("\n", "") and "resumed after step" in out
    found, wanted = read_summary(run), read_summary(undisturbed)
    assert found["status"] == "finished"
    assert (found["weights_sha256"], found["test"]) == (wanted["weights_sha256"], wanted["test"])
    assert [path.parent for path in run.parents[1].glob("*/*/config.yaml")] == [run]


def test_a_resumed_runs_curves_have_every_point_once(killed, resumed):
    run, undisturbed = resumed[0], killed[1]
    for split, tag in (
        ("train", "loss"),
        ("train", "lr"),
        ("val", "loss"),
        ("val", "hparams/best_loss"),
        ("val", "hparams/test_loss"),
    ):
        points = []
        for folder in (run, undisturbed):
            events = EventAccumulator(str(folder / split), size_guidance={"scalars": 0})
            events.Reload()
            points.append([(event.step, event.value) for event in events.Scalars(tag)])
        assert points[0] and [step for step, _ in points[0]] == [step for step, _ in points[1]]
        assert [value for _, value in points[0]] == pytest.approx([value for _, value in points[1]], rel=1e-5)
    rows = [[(row["step"], row["split"]) for row in read_rows(folder)] for folder in (run, undisturbed)]
    assert rows[0] == rows[1]


def test_a_finished_run_has_nothing_to_resume_and_epochs_can_be_added(resumed, tmp_path):
    run = shutil.copytree(resumed[0], tmp_path / "run")
    before = (run / "metrics.jsonl").read_bytes()
    code, out, _ = command(tmp_path, f"resume={run}")
    assert code == 0 and "nothing to do" in out and (run / "metrics.jsonl").read_bytes() == before
    code, out, errors = command(tmp_path, f"resume={run}", "epochs=+2")
    assert code == 0, errors
    assert "epochs was 20, is 22" in out and "schedule" not in out  # a constant one does not change
    assert read_summary(run)["epochs"] == 22


def test_a_finished_run_without_a_checkpoint_that_can_be_read_is_left_as_it_is(resumed, run_in_process, tmp_path):
    run = shutil.copytree(resumed[0], tmp_path / "run")
    for file in (run / "checkpoints").glob("*.pt"):
        file.write_bytes(b"damaged")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "run.log"}
    code, _, errors = run_in_process("resume=run", "epochs=+1", "device=cpu")
    assert code == 3
    assert errors.startswith("train: resume=run: complete, but none of its checkpoints can be read: it cannot go on")
    assert {path: path.read_bytes() for path in before} == before


def test_auto_resumes_the_unfinished_run_of_the_same_overrides_and_else_starts_one(tmp_path):
    words = [*SMALL, "resume=auto"]
    code, out, errors = command(tmp_path, *words)
    assert code == 0 and "resumed" not in out and "found no unfinished run of this command" in errors
    run = only_run(tmp_path)
    (run / "summary.json").write_text(json.dumps({**read_summary(run), "status": "interrupted"}))
    code, out, _ = command(tmp_path, *words)
    assert code == 0 and "resumed after step" in out and only_run(tmp_path) == run
    code, out, _ = command(tmp_path, *words, "seed=1")
    assert code == 0 and "resumed" not in out and len(list(tmp_path.glob("outputs/*/*"))) == 2


def test_auto_compares_the_task_and_all_that_shapes_a_run(tmp_path):
    """A preview leaves a directory of the same overrides that is no run; device and output change no result."""
    for number, words in enumerate((["task=preview", *SMALL], [*SMALL, "device=cpu"], [*SMALL, "seed=1"])):
        (tmp_path / "day" / str(number)).mkdir(parents=True)
        (tmp_path / "day" / str(number) / "overrides.txt").write_text("\n".join(words))
        os.utime(tmp_path / "day" / str(number) / "overrides.txt", (9 - number, 9 - number))  # newest first
    assert resume.newest_unfinished([*SMALL, "output=x", "threads=2"], tmp_path) == tmp_path / "day" / "1"
    assert resume.newest_unfinished([*SMALL, "seed=2"], tmp_path) is None


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["resume=nowhere"], 3, "resume=nowhere: not a run's directory"),
        (["epochs=+3"], 2, "epochs can only be added to a run that is resumed"),
    ],
)
def test_what_cannot_be_resumed_is_explained(words, code, message, tmp_path):
    exit_code, _, errors = command(tmp_path, *words)
    assert exit_code == code and message in errors and "Traceback" not in errors and not list(Path(tmp_path).iterdir())


def test_a_schedule_that_is_stretched_by_more_epochs_is_noted(composed):
    changed = {"epochs": (2, 4)}
    stretched, constant = (build_run(composed(*SMALL, f"sched={sched}")) for sched in ("cosine", "constant"))
    assert "the schedule now spans the new length" in summary.resumed(stretched, changed)
    assert "schedule" not in summary.resumed(constant, changed)


def test_fewer_epochs_than_the_run_had_must_be_allowed():
    resume.require_allowed({"epochs": (10, 20)}, [])
    with pytest.raises(ConfigError, match="epochs was 20, is 10\nto train longer, write epochs=.N; to change"):
        resume.require_allowed({"epochs": (20, 10)}, [])
    resume.require_allowed({"epochs": (20, 10)}, ["epochs"])


def test_a_resumed_run_takes_no_other_optimizer_and_no_smaller_length(run_in_process, unfinished):
    before = (unfinished / "config.yaml").read_bytes()
    for words, message in (
        (("optimizer=sgd", "resume.allow=[optimizer]"), "another optimizer cannot continue from the run's state"),
        (("epochs=1", "resume.allow=[epochs]"), "the run has already done 2 epochs (6 steps); epochs=+N"),
    ):
        code, _, errors = run_in_process(f"resume={unfinished}", *words)
        assert code == 2 and message in errors, errors
        assert (unfinished / "config.yaml").read_bytes() == before


def change_config(run, change):
    """Let a function change the configuration that a run's directory holds."""
    saved = read_yaml(run / "config.yaml")
    change(saved)
    (run / "config.yaml").write_text(yaml.safe_dump(saved))


def make_checkpoints_older(run):
    """Take the configuration out of the checkpoints, which once did not hold it."""
    for path in checkpoint.newest_first(run / "checkpoints"):
        state = checkpoint.load(path, torch.device("cpu"))
        del state["config"]
        torch.save(state, path)
        checkpoint.digest_path(path).write_text(sha256(path.read_bytes()).hexdigest())


def test_a_key_that_an_older_version_did_not_have_has_its_default(run_in_process, unfinished):
    def make_older(saved):
        del saved["data"]["train_samples"], saved["precision"], saved["optimizer"]["lr"]

    change_config(unfinished, make_older)
    code, _, errors = run_in_process(f"resume={unfinished}", "data.train_samples=50", "optimizer.lr=0.5")
    assert code == 2 and "data.train_samples was all, is 50, optimizer.lr was 0.05, is 0.5" in errors, errors
    code, _, errors = run_in_process(f"resume={unfinished}", "reg=l2")
    assert code == 2 and "reg.loss.l2.strength was null, is 0.0001" in errors, errors  # it did not have the option
    code, printed, errors = run_in_process(f"resume={unfinished}")
    assert code == 0 and "resumed after step" in printed and " was " not in printed, errors


def test_a_class_that_an_older_version_named_otherwise_is_found(run_in_process, unfinished):
    make_checkpoints_older(unfinished)
    change_config(unfinished, lambda saved: saved.update(init={"_target_": "trainer.init.fixed_scale.Default"}))
    code, printed, errors = run_in_process("task=evaluate", f"runs=[{unfinished}]")
    assert code == 0 and "accuracy" in printed, errors
    code, printed, errors = run_in_process(f"resume={unfinished}")
    assert code == 0 and "resumed after step" in printed and " was " not in printed, errors


@pytest.mark.parametrize(
    ("change", "key", "values"),
    [
        (lambda saved: saved["data"].update(split_seed=7), "data.split_seed", "was 0, is 7"),
        (lambda saved: saved.update(act={"_target_": "torch.nn.Tanh"}), "act._target_", "was torch.nn.ReLU, is torch"),
        (lambda saved: saved["model"].update(hidden=[9]), "model.hidden", "was [8], is [9]"),
        (lambda saved: saved.update(seed=3), "seed", "was 0, is 3"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_not_that_of_the_checkpoints_is_refused(
    change, key, values, run_in_process, honest, tmp_path
):
    for name, words in (("evaluated", ("task=evaluate", "runs=[evaluated]")), ("resumed", ("resume=resumed",))):
        shutil.copytree(honest, run := tmp_path / name)
        if name == "resumed":
            (run / "summary.json").unlink()
        change_config(run, change)
        before = {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file() and path.name != "run.log"}
        code, _, errors = run_in_process(*words)
        told = f"its config.yaml is not the one that its checkpoints were written under: {key} {values}"
        assert name == "resumed" or (code == 3 and told in errors)
        assert code in (2, 3) and f"{key} was" in errors and len(errors.splitlines()) <= 2, errors
        assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "words",
    [("optimizer=ranger", "reg=[l2,dropout]", "aug=[crop]", "+optimizer.small=1.0e-30"), ("data=spirals", "seed=3")],
)  # fmt: skip
def test_a_configuration_is_read_back_as_it_was_written(words, composed, tmp_path):
    cfg = composed(*words, "+sched.large=.inf")
    rundir.write_config(tmp_path, cfg, [])
    state = {"config": rundir.saved_config(cfg)}
    resume.require_same(state, read_yaml(tmp_path / "config.yaml"))
    with pytest.raises(DataError, match=f"under: seed was 4, is {cfg.seed}$"):
        resume.require_same({"config": {**state["config"], "seed": 4}}, read_yaml(tmp_path / "config.yaml"))


def test_a_run_keeps_the_defaults_of_its_time(run_in_process, unfinished):
    def make_older(saved):
        constant, torchs = {"_target_": "trainer.sched.decay.Constant"}, {"_target_": "trainer.init.fixed_scale.Torch"}
        saved.update(sched=constant, init=torchs, eval_every="2ep")

    make_checkpoints_older(unfinished)
    change_config(unfinished, make_older)
    before = read_yaml(unfinished / "config.yaml")
    code, printed, errors = run_in_process(f"resume={unfinished}")
    assert code == 0 and "resumed after step" in printed and " was " not in printed, errors
    assert read_yaml(unfinished / "config.yaml") == before
    typed = (unfinished / "overrides.txt").read_text().splitlines()
    assert {"sched=constant", "init=torch", "eval_every=2ep"} <= {*typed}
    code, _, errors = run_in_process(f"resume={unfinished}", "sched=cosine")
    assert code == 2 and "sched._target_ was" in errors


@pytest.mark.parametrize(
    "words", [("data=breast_cancer",), ("experiment=mnist_mlp",), ("optimizer=lookahead", "reg=l2")]
)
def test_no_default_is_typed_that_still_is_one(words, composed):
    config = OmegaConf.to_container(composed(*words))
    assert [*defaults_of(config, words)] == []


@pytest.mark.parametrize(
    ("words", "key", "rates"),
    [
        (("optimizer=adam",), "optimizer.lr", [0.5]),
        (("optimizer=lookahead", "optimizer@optimizer.base=adam"), "optimizer.base.lr", [0.5, 0.5]),
        (("optimizer=muon",), "optimizer.adamw_lr", [0.02, 0.5, 0.5]),  # matrices, the last matrix, biases
        (("optimizer=sam", "optimizer@optimizer.base=muon"), "optimizer.base.adamw_lr", [0.02, 0.5, 0.5]),
        (("optimizer=adamw",), "optimizer.eps", [1e-3, 1e-3]),
    ],
)
def test_a_changed_learning_rate_reaches_every_group_whatever_its_key(words, key, rates, composed):
    words = ("model=mlp", "model.hidden=[4]", *words)
    before = build_run(composed(*words))
    state = {"model": before.model.state_dict(), "optimizer": before.optimizer.state_dict()}
    run = build_run(composed(*words, f"{key}=0.5"))
    restore_optimizer(run, state, {key})
    assert [group["base_lr"] for group in run.optimizer.param_groups] == rates


@pytest.mark.parametrize("key", ["accumulate", "eval_batch_size", "on_oom", "drop_last"])
def test_a_run_without_a_key_of_today_is_evaluated_with_its_default(key, honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    change(tmp_path / "run", lambda config: config.pop(key))
    for path in (tmp_path / "run" / "checkpoints").glob("step-*.pt"):
        state = torch.load(path, weights_only=True)
        del state["config"][key]
        put(path, saved(state))
    code, printed, errors = command(tmp_path, "task=evaluate", f"runs=[{honest}]")
    assert code == 0, errors
    scores = [line for line in printed.splitlines() if line.startswith(("train", "val", "test"))]
    code, printed, errors = command(tmp_path, "task=evaluate", "runs=[run]")
    assert code == 0, errors
    assert [line for line in printed.splitlines() if line.startswith(("train", "val", "test"))] == scores


def other_loss(line):
    return line_of({**row_in(line.decode()), "loss": 1.0})


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda lines: lines[:2] + lines[3:], "1 point of the curves lost: metrics.jsonl was damaged"),
        (lambda lines: [lines[0].replace(b'"step": 0', b'"stop": 0'), *lines[1:]], "1 point of the curves lost"),
        (lambda lines: [], "points of the curves lost"),
        (
            lambda lines: [lines[0], lines[1].replace(b'"loss": 2', b'"loss": 1'), *lines[2:]],
            "1 point of the curves lost",
        ),
        (lambda lines: [lines[0], other_loss(lines[1]), *lines[2:]], "is not the one that was recorded"),
    ],
    ids=["a line", "a key", "all", "a digit", "another run's"],
)
def test_points_that_a_damaged_file_has_lost_are_said(damage, told, run_in_process, unfinished):
    path = unfinished / "metrics.jsonl"
    before = path.read_bytes().splitlines(keepends=True)
    assert b'"loss": 2' in before[1]
    path.write_bytes(b"".join(damage(before)))
    code, printed, errors = run_in_process(f"resume={unfinished}")
    assert code == 0 and told in " ".join(printed.split()), errors
    assert {"metrics.jsonl", "TensorBoard"} <= {*read_summary(unfinished)["incomplete"]}
    code, printed, errors = run_in_process(f"resume={unfinished}", "epochs=+1")
    assert code == 0 and "metrics.jsonl" in read_summary(unfinished)["incomplete"]  # it stays so


def test_the_curves_of_a_split_whose_event_files_are_gone_are_written_again(run_in_process, unfinished):
    wanted = EventAccumulator(str(unfinished / "val"), size_guidance={"scalars": 0}).Reload().Scalars("loss")
    for path in (unfinished / "val").iterdir():
        path.unlink()
    code, _, errors = run_in_process(f"resume={unfinished}")
    assert code == 0, errors
    found = EventAccumulator(str(unfinished / "val"), size_guidance={"scalars": 0}).Reload().Scalars("loss")
    assert [(point.step, point.value) for point in found] == [(point.step, point.value) for point in wanted]
    assert read_summary(unfinished)["incomplete"] == []
