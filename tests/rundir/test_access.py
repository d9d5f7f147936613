"""A run from somebody else decides neither where a command writes nor what it fetches, beside its own directory."""

import shutil

import pytest
from conftest import command, make_image_folder, only_run
from payloads import change

from trainer.data import torchvision

SHORT = ("model=linear", "epochs=1", "threads=1", "device=cpu")


@pytest.fixture
def run(tmp_path):
    """Unfinished run on images; its folder of images, its cache and the one of the home folder are below tmp_path."""
    make_image_folder(tmp_path / "pictures")
    words = ("data=image_folder", "data.root=pictures", "data.cache=theirs", *SHORT)
    code, _, errors = command(tmp_path, *words)
    assert code == 0, errors
    shutil.rmtree(tmp_path / "theirs")
    (only_run(tmp_path) / "summary.json").rename(tmp_path / "summary.json")
    (tmp_path / "outputs").rename(tmp_path / "from")
    return next((tmp_path / "from").glob("*/*"))


@pytest.mark.parametrize("job", ["evaluate", "resume"])
def test_the_cache_of_a_run_is_not_written_by_a_command_that_does_not_name_it(job, run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    words = ("task=evaluate", f"runs=[{run}]") if job == "evaluate" else (f"resume={run}",)
    code, _, errors = command(tmp_path, *words)
    assert code == 0, errors
    assert not (tmp_path / "theirs").exists() and [*(tmp_path / "mine" / "trainer").iterdir()]
    typed = ("data=image_folder", "data.root=pictures", "data.cache=typed")
    code, _, errors = command(tmp_path, "task=evaluate", f"runs=[{run}]", *typed)
    assert code == 0 and (tmp_path / "typed").is_dir(), errors


@pytest.mark.parametrize("job", ["evaluate", "resume"])
def test_a_run_does_not_fetch_data_that_nobody_asked_for_now(job, honest, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision, "fetch", lambda download: pytest.fail("it would download"))
    shutil.copytree(honest, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    mnist = {"source": "MNIST", "folder": "MNIST/raw", "root": str(tmp_path / "data"), "download": True}
    mnist |= {"_target_": "trainer.data.torchvision.Torchvision", "val_fraction": 0.1, "split_seed": 0}
    change(tmp_path / "run", lambda saved: saved.update(data=mnist))
    typed = (tmp_path / "run" / "overrides.txt").read_text()
    (tmp_path / "run" / "overrides.txt").write_text(
        f"{typed}data=mnist\ndata.download=true\ndata.root={tmp_path}/data\n"
    )
    words = ("task=evaluate", "runs=[run]", "threads=1") if job == "evaluate" else ("resume=run",)
    code, _, errors = command(tmp_path, *words)
    assert code in (2, 3) and "Traceback" not in errors and not (tmp_path / "data").exists(), errors
