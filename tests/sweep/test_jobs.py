"""Jobs of a sweep: the overrides that distinguish them, their directories and their devices."""

import json
import signal

import pytest
from omegaconf import OmegaConf

from trainer.base.errors import ConfigError, Interrupted
from trainer.config.keys import ROLES, Role
from trainer.rundir.directory import slug
from trainer.sweep import devices, jobs, launch
from trainer.sweep.jobs import distinguishes, identity


def test_settings_of_the_machine_and_the_command_make_no_other_job():
    typed = ["seed=1", "device=cpu", "model=mlp", "hydra.sweep.dir=x", "threads=2", "sweep.on_error=stop"]
    assert identity(typed) == ("model=mlp", "seed=1")
    assert identity(["epochs=2"]) != identity(["epochs=3"]) and identity(["+sched.a=1"]) == ("+sched.a=1",)
    assert identity(["device_count=2", "outputs=3"]) == (
        "device_count=2",
        "outputs=3",
    )  # only begin like device and output


def test_every_key_that_changes_a_result_distinguishes_jobs():
    same = {key for key, role in ROLES.items() if not distinguishes(key)}
    assert {key for key, role in ROLES.items() if role in (Role.SHAPES, Role.LENGTH, Role.LOCATION)} & same == set()
    assert {"device", "threads", "output", "resume", "hydra", "save_every"} <= same and distinguishes("optimizer.lr")


def test_jobs_are_found_by_the_overrides_that_distinguish_them(tmp_path):
    cfg = OmegaConf.create({"seed": 1})
    one = jobs.prepare(tmp_path, ["model=mlp", "seed=1"], ["seed=1"], lambda name: cfg)
    same = ["seed=1", "threads=1", "model=mlp"]
    again = jobs.prepare(tmp_path, same, ["seed=1"], lambda name: pytest.fail("composed again"))
    assert one.directory == again.directory == tmp_path / "seed-1"
    other = jobs.prepare(tmp_path, ["seed=1", "model=cnn"], ["seed=1"], lambda name: cfg)
    assert other.directory == tmp_path / "seed-1-2"
    with pytest.raises(ConfigError, match="holds another sweep"):
        jobs.find_jobs_among(tmp_path, [["model=mlp", "seed=1"]])


def test_jobs_whose_names_are_cut_alike_never_share_a_directory_while_the_first_is_written(tmp_path):
    names = [f"data.path={'a' * 100}{number}" for number in range(3)]
    known, begun = {}, []
    for name in names:
        jobs.prepare(tmp_path, [name], [name], lambda _: {}, known, lambda directory, *job: begun.append(directory))
    assert len({*begun}) == 3 and [*known.values()] == begun
    assert all(directory.is_dir() for directory in begun)


def test_jobs_side_by_side_get_a_gpu_each_and_then_share(tmp_path):
    with (
        devices.reserve(tmp_path, "auto", 2) as first,
        devices.reserve(tmp_path, "auto", 2) as second,
        devices.reserve(tmp_path, "cuda", 2) as third,
    ):
        assert (first, second, third) == ("cuda:0", "cuda:1", "cuda:0")
        with devices.reserve(tmp_path, "cpu", 2) as chosen:
            assert chosen == "cpu"
    with devices.reserve(tmp_path, "auto", 2) as free:
        assert free == "cuda:0"
    with devices.reserve(tmp_path, "auto", 1) as single:
        assert single == "auto"


def test_a_run_without_options_of_a_group_is_named_none():
    assert slug(["reg=[]", "seed=1"]) == "reg-none+seed-1" and slug(["reg=[l2,dropout]"]) == "reg-l2-dropout"


@pytest.mark.parametrize("status, noted", [("finished", False), ("failed", True), (None, True)])
def test_a_signal_behind_the_end_of_a_job_leaves_it_complete(status, noted, tmp_path):
    before = {"status": status, "steps": 3, "best": None} if status else {}
    (tmp_path / "summary.json").write_text(json.dumps(before))
    assert launch.note_failure(tmp_path, Interrupted("interrupted", signal.SIGTERM)) == (143, True)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary != before) == noted == (summary.get("error") == "interrupted")
    assert (tmp_path / "run.log").exists() == noted
