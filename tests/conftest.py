"""Fixtures shared by the tests: `train` in this process, configurations and runs; and the order of the files."""

import functools
import gc
import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing import forkserver
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before torch: small nets, and threads that share a core with others wait for one another
)

import pytest
from hydra import compose
from omegaconf import DictConfig

from trainer.config import catalog
from trainer.config.hydra_context import initialized

LONGEST = [  # longest first: a long file that starts last leaves the other worker idle
    "test_lectures.py",
    "test_course.py",
    "test_kill.py",
    "test_hostile.py",
    "test_damage.py",
    "test_crossing.py",
    "test_composer.py",
    "test_run.py",
    "test_launchers.py",
    "test_search.py",
    "test_mistakes.py",
    "test_coverage.py",
    "test_sweep.py",
    "test_contract.py",
    "test_recovery.py",
    "test_resume.py",
    "test_links.py",
    "test_compare.py",
    "test_surgery.py",
    "test_faults.py",
    "test_endings.py",
    "test_console.py",
    "test_data_csv.py",
    "test_contracts.py",
    "test_model_torchvision.py",
    "test_wheel.py",
]
NUMBERS = itertools.count()
SMALL = ("model=mlp", "model.hidden=[8]", "epochs=2", "batch_size=500", "threads=1", "device=cpu")


def pytest_configure(config):
    """Let xdist keep the order of the files; its own is by the number of tests, with the longest ones last."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by the processes of the tests too
    config.option.loadscopereorder = False
    gc.set_threshold(20_000, 10, 50)  # a full collection looks at all the libraries and tests
    for name in ("COLUMNS", "LINES"):  # set for the workers by readline, which pytest imports
        os.environ.pop(name, None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put the longest files first, and leave the order within the others."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


def pytest_collection_finish(session):
    """Start the server of `processes`, where a test uses it, before a sweep starts it with fewer imports."""
    if "processes" in sys.modules:
        forkserver.ensure_running()


@pytest.fixture(autouse=True)
def caches(tmp_path_factory, monkeypatch):
    """Return a folder of the test's own, which nobody has made yet, set as the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "caches" / str(next(NUMBERS))  # mktemp would list all others each time
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "trainer"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that writes a module from its source, new in each test, and returns its name."""

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
def small_disk(tmp_path):
    """Mount a file system of 1 MB; skip the test without the permission."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=99", "tmpfs", str(place)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a file system needs a permission")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="session")
def composed():
    """Return a function that composes the configuration of overrides: each time a copy of its own."""

    @functools.cache
    def compose_once(*overrides: str) -> DictConfig:
        with initialized():
            return compose("config", list(overrides))

    return lambda *overrides: compose_once(*overrides).copy()


@pytest.fixture
def setup_of():
    """Return a function that builds a run from overrides as the command line would: the run with what was chosen."""
    from trainer.cli.overrides import check
    from trainer.config.hydra_context import invocation_of, without_hydra_node
    from trainer.engine.build import build_run
    from trainer.engine.setup import make_setup

    def made(words: str):
        cfg = check(words.split()).cfg
        invocation, cfg = invocation_of(cfg.hydra), without_hydra_node(cfg)
        return make_setup(cfg, build_run(cfg, invocation), invocation)

    return made


@pytest.fixture
def fitted(composed, tmp_path):
    """Return a function that builds a run from overrides, replaces parts and trains it: the run and its recorder."""
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
        except Exception:  # as Python ends a program
            traceback.print_exc()
            code = 1
        catalog.extra_folders.clear()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@contextmanager
def files_of_at_most(size):
    """Limit the size of a file: a write beyond it fails with EFBIG, as Python ignores SIGXFSZ."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(disk):
    """Use up the space and the inodes of a disk; removing the returned folder frees both."""
    ballast = disk / "ballast"
    ballast.mkdir()
    with (ballast / "big").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        for number in range(1000):
            (ballast / str(number)).touch()
    return ballast


def make_image_folder(folder: Path) -> Path:
    """Make FOLDER/{ant,bee}, ten images of 8 x 8 pixels each, and return it."""
    from PIL import Image

    for name in ("ant", "bee"):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(folder / name / f"{number}.png")
    return folder


def only_run(folder: Path) -> Path:
    """Return the only run directory under `outputs`."""
    (found,) = (folder / "outputs").glob("*/*/summary.json")
    return found.parent


def command(folder, *words):
    """Call `train` in this process, in a folder: exit code, standard output, standard error."""
    from trainer.cli import main

    before, out, err, code = (sys.argv, os.getcwd()), io.StringIO(), io.StringIO(), 0
    os.chdir(folder)
    sys.argv = ["train", *words]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main.main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
        catalog.extra_folders.clear()
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="session")
def honest(tmp_path_factory):
    """Finished run of SMALL, shared by the session: copy it, do not change it."""
    folder = tmp_path_factory.mktemp("honest")
    code, _, errors = command(folder, *SMALL)
    assert code == 0, errors
    return only_run(folder)


@pytest.fixture
def unfinished(honest, tmp_path):
    """Copy of that run without its summary, as a killed run leaves it."""
    shutil.copytree(honest, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    return tmp_path / "run"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Train a run with the words given, once for each of them, and return it."""
    from trainer import train

    runs = {}

    def get(*words, **settings):
        if words not in runs:
            output = tmp_path_factory.mktemp("runs")
            runs[words] = train("threads=1", "device=cpu", *words, f"output={output}", quiet=True, **settings)
        return runs[words]

    return get
