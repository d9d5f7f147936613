"""Keys beside one that names a class of a library: typed, swept, saved, resumed, compared and shown."""

import json
from importlib.util import find_spec

import pytest
from conftest import only_run

from trainer.base.errors import UserError
from trainer.cli import help, overrides
from trainer.config import libraries, schema
from trainer.config.catalog import file
from trainer.config.hydra_context import Invocation
from trainer.rundir.reader import read_config, read_overrides

YOGI = ("optimizer=pytorch_optimizer", "optimizer.name=Yogi")
SMALL = ("data=iris", "model=linear", "epochs=2", "batch_size=60", "threads=1", "device=cpu", "sched=constant")


def node(*words: str, place: str = "optimizer") -> dict:
    """The composed node of an optimizer."""
    cfg = overrides.check([*words]).cfg
    for part in place.split("."):
        cfg = cfg[part]
    return dict(cfg)


def test_an_argument_of_the_class_is_a_key():
    chosen = node(*YOGI, "optimizer.betas=[0.8,0.9]", "optimizer.fixed_decay=true")
    assert chosen["betas"] == [0.8, 0.9] and chosen["fixed_decay"] is True and chosen["name"] == "Yogi"
    assert node(*YOGI, "+optimizer.eps=0.1")["eps"] == 0.1  # as Hydra would want it
    assert Invocation(overrides=("++optimizer.eps=0.1",)).typed_keys == {"optimizer.eps"}  # as Hydra gets it
    inner = (
        "optimizer=lookahead",
        "optimizer.base=pytorch_optimizer",
        "optimizer.base.name=QHM",
        "optimizer.base.nu=0.5",
    )
    assert node(*inner, place="optimizer.base")["nu"] == 0.5


def test_a_key_of_another_class_is_none_of_this_one():
    with pytest.raises(UserError, match="QHM has no such key"):
        overrides.check([*YOGI[:1], "optimizer.name=QHM", "optimizer.betas=[0.8,0.9]"])
    with pytest.raises(UserError, match="QHM has no such key"):  # in the second job
        overrides.check(["-m", YOGI[0], "optimizer.name=Yogi,QHM", "optimizer.betas=[0.8,0.9]"])


def test_a_value_is_checked_as_those_of_other_keys():
    for typed, why in (
        ("optimizer.eps=abc", "must be a number"),
        ("optimizer.betas=0.9", r"must be a list; write optimizer.betas=\[0.9\]"),
        ("optimizer.fixed_decay=3", "must be true or false"),
        ("optimizer.eps=[0.1,0.2]", "must be a number"),
    ):
        with pytest.raises(UserError, match=why):
            overrides.check([*YOGI, typed])


def test_a_class_of_a_library_that_takes_anything_takes_only_its_fields(run_in_process):
    code, _, errors = run_in_process(*SMALL, "optimizer=lion", "+optimizer.foo=1")
    assert code == 2 and "Lion has no field foo" in errors


def test_it_is_saved_resumed_found_again_and_shown(run_in_process, tmp_path):
    words = (*SMALL, *YOGI, "optimizer.betas=[0.8,0.9]")
    assert run_in_process(*words)[0] == 0
    run = only_run(tmp_path)
    assert "Yogi" in run.name and "betas-0.8-0.9" in run.name
    assert read_config(run)["optimizer"]["betas"] == [0.8, 0.9]
    assert any(text.lstrip("+") == "optimizer.betas=[0.8,0.9]" for text in read_overrides(run))
    code, out, errors = run_in_process(f"resume={run}", "epochs=4")
    assert code == 0, errors
    whole = run_in_process(*words[:2], "epochs=4", *words[3:], "output=whole")
    assert whole[0] == 0
    digests = [
        json.loads((each / "summary.json").read_text())["weights_sha256"] for each in (run, *tmp_path.glob("whole/*/*"))
    ]
    assert len(digests) == 2 and digests[0] == digests[1]
    code, _, errors = run_in_process(f"resume={run}", "epochs=5", "optimizer.betas=[0.5,0.9]")
    assert code == 2 and "optimizer.betas was [0.8,0.9], is [0.5,0.9]" in errors
    code, out, _ = run_in_process("task=compare", f"runs=[{run},{next(iter(tmp_path.glob('whole/*/*')))}]")
    assert code == 0


def test_an_interrupted_run_with_such_a_key_is_the_newest_unfinished_one(run_in_process, tmp_path):
    words = (*SMALL, *YOGI, "optimizer.betas=[0.8,0.9]")
    assert run_in_process(*words)[0] == 0
    run = only_run(tmp_path)
    (run / "summary.json").unlink()
    code, _, errors = run_in_process(*words, "resume=auto")
    assert code == 0 and "found no unfinished run" not in errors
    assert [*tmp_path.glob("outputs/*/*/summary.json")] == [run / "summary.json"]


def test_a_sweep_goes_over_classes_and_their_keys(run_in_process, tmp_path):
    words = ("-m", *SMALL, YOGI[0], "optimizer.name=Yogi,AdaBelief", "optimizer.eps=1e-8,1e-4", "hydra.sweep.dir=sweep")
    code, out, errors = run_in_process(*words)
    assert code == 0, errors
    jobs = [path.parent for path in (tmp_path / "sweep").glob("*/summary.json")]
    settings = {(config["name"], config["eps"]) for config in (read_config(job)["optimizer"] for job in jobs)}
    assert settings == {(name, eps) for name in ("Yogi", "AdaBelief") for eps in (1e-8, 1e-4)}
    before = {job.name: (job / "metrics.jsonl").read_text() for job in jobs}
    assert run_in_process(*words)[0] == 0  # finds its jobs again
    assert before == {job.name: (job / "metrics.jsonl").read_text() for job in jobs}


@pytest.mark.skipif(find_spec("optuna") is None, reason="needs Optuna")
def test_a_search_goes_over_such_a_key(run_in_process, tmp_path):
    space = "optimizer.eps=tag(log,interval(1e-8,1e-2))"
    words = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", *SMALL, *YOGI, space, "hydra.sweep.dir=search")
    code, _, errors = run_in_process(*words)
    assert code == 0, errors
    jobs = [path.parent for path in (tmp_path / "search").glob("*/summary.json")]
    assert len({read_config(job)["optimizer"]["eps"] for job in jobs}) == 2
    assert all("eps-" in job.name for job in jobs)


def test_help_lists_the_classes_and_the_keys_of_one(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    help.show(["--help", "optimizer=pytorch_optimizer"])
    page = capsys.readouterr().out.split()
    assert {*libraries.class_names("pytorch_optimizer")} <= {*page}
    help.show(["--help", "optimizer.name=Yogi"])
    page = capsys.readouterr().out
    key = schema.keys(file("optimizer", "pytorch_optimizer"), "optimizer")["optimizer.name"]
    assert all(f"{path}=" in page for path in schema.class_keys(key, "Yogi")) and "optimizer.betas=[0.9,0.999]" in page
    for name, said in (("yogi", "did you mean --help optimizer.name=Yogi?"), ("LOMO", "LOMO changes the weights")):
        with pytest.raises(UserError) as error:
            help.show(["--help", f"optimizer.name={name}"])
        assert said in str(error.value)
