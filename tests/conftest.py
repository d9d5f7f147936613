"""Fixtures of several files of tests: the command line in a process of its own, configurations composed in this one."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before torch: small nets, and threads that share a core with others wait for one another
)

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from trainer.config import catalog

SMALL = ("model=mlp", "model.hidden=[8]", "epochs=2", "batch_size=500", "threads=1", "device=cpu")


@pytest.fixture(autouse=True)
def caches(tmp_path_factory, monkeypatch):
    """The user's cache folder, empty."""
    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "trainer"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a module of techniques of one's own, new in each test: its name, from its source."""

    def made(source: str) -> str:
        name = f"mine_{abs(hash((tmp_path, source)))}"
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    return made


@pytest.fixture
def pictures():
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (20, 6, 4, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path, pictures):
    """ROOT/train/{ant,bee}, 5 and 10 images, and ROOT/test/{ant,bee}, 2 and 3; in this order those of `pictures`."""
    from PIL import Image

    arriving = iter(pictures)
    for part, name, count in (("train", "ant", 5), ("train", "bee", 10), ("test", "ant", 2), ("test", "bee", 3)):
        (tmp_path / part / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(next(arriving)).save(tmp_path / part / name / f"{number:02}.png")
    return tmp_path


@pytest.fixture
def train(tmp_path):
    """Run `python -m trainer ...` in an empty folder; returns the finished process with `folder` set."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, "-m", "trainer", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, **environment},
        )
        done.folder = tmp_path
        return done

    return run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB of its own, where the tests may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=99", "tmpfs", str(place)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("whoever runs the tests may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="session")
def composed():
    """The configuration that the words give."""

    def configuration(*overrides: str) -> DictConfig:
        with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
            return compose("config", list(overrides))

    return configuration


@pytest.fixture
def fitted(composed, tmp_path):
    """Build a run from words, change parts of it, train it; returns the run and its curves."""
    from dataclasses import replace

    from trainer.engine.build import build_run
    from trainer.engine.loop import fit
    from trainer.rundir.console import Console
    from trainer.rundir.recorder import Recorder

    count = iter(range(100))

    def run(*words: str, **changes: object):
        parts = replace(build_run(composed(*words)), **changes)
        folder = tmp_path / str(next(count))
        folder.mkdir()
        curves = Recorder(folder, parts.data.task)
        fit(parts, curves, Console())
        curves.close()
        return parts, curves

    return run


@pytest.fixture
def run_in_process(tmp_path, monkeypatch, capsys):
    """Call `main` in this process, in an empty folder: (exit code, standard output, standard error).

    Torch is imported only once.
    """
    from trainer.cli import main

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        try:
            main.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        catalog.extra_folders.clear()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@contextmanager
def files_of_at_most(size):
    """The system itself takes no byte behind this one, and says EFBIG; Python ignores the signal that comes with it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(disk):
    """Take all the room there is, and all there is for further names; whoever removes the folder gives it back."""
    ballast = disk / "ballast"
    ballast.mkdir()
    with (ballast / "big").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        for number in range(1000):
            (ballast / str(number)).touch()
    return ballast


def only_run(folder: Path) -> Path:
    """The one run directory below `outputs`."""
    (found,) = (folder / "outputs").glob("*/*/summary.json")
    return found.parent


@pytest.fixture(scope="session")
def honest(tmp_path_factory):
    """A finished run of SMALL, to copy and not to change."""
    from trainer.cli import main

    folder = tmp_path_factory.mktemp("honest")
    before = sys.argv, os.getcwd()
    os.chdir(folder)
    sys.argv = ["train", *SMALL]
    try:
        main.main()
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
    return only_run(folder)


@pytest.fixture
def unfinished(honest, tmp_path):
    """A copy of that run in the test's folder, as if it had never come to say how it ended."""
    shutil.copytree(honest, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    return tmp_path / "run"
