"""The project as a wheel: conf/ travels inside, and another folder will do as well as the clone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, built and unpacked into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", CLONE, "--no-deps", "--no-build-isolation", "-w", folder], check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [*pip, "install", wheel, "--no-deps", "--no-index", "--target", folder / "site"],
        check=True,
        capture_output=True,
    )
    return folder / "site"


def call(installed, cwd, *arguments):
    code = (
        "import sys, trainer.cli.main; sys.argv[0] = 'train'; "
        "print(trainer.cli.main.__file__, file=sys.stderr); trainer.cli.main.main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_wheel_holds_every_option(installed):
    files = {path.relative_to(CLONE / "conf") for path in (CLONE / "conf").rglob("*.yaml")}
    assert files == {
        path.relative_to(installed / "trainer" / "conf") for path in (installed / "trainer" / "conf").rglob("*.yaml")
    }
    assert (installed / "bin" / "train").is_file()


def test_the_wheel_shows_its_help_elsewhere(installed, tmp_path):
    done = call(installed, tmp_path, "--help")
    assert done.returncode == 0 and "optimizer" in done.stdout and str(installed) in done.stderr


def test_the_wheel_trains_elsewhere(installed, tmp_path):
    done = call(installed, tmp_path, "epochs=1", "model=mlp")
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stderr and list((tmp_path / "outputs").glob("*/*/summary.json"))


def test_the_wheel_writes_a_technique_of_one_s_own_and_trains_with_it(installed, tmp_path):
    files = {path.relative_to(CLONE / "examples/plugin") for path in (CLONE / "examples/plugin").rglob("*.py")}
    inside = installed / "trainer" / "plugin"
    assert len(files) > 15 and files == {path.relative_to(inside) for path in inside.rglob("*.py")}
    done = call(installed, tmp_path, "task=new", "kind=model", "name=mynet")
    assert done.returncode == 0, done.stderr
    command = next(line for line in done.stdout.splitlines() if "train --config-dir" in line)
    done = call(installed, tmp_path, *command.split()[1:], "epochs=1")
    assert done.returncode == 0 and "mynet" in done.stdout, done.stderr
