"""The examples of the pages on techniques of one's own, pasted as they stand."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(python|yaml|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def paste(text: str, folder: Path) -> list[list[str]]:
    """Write the files of a text, each into the place that its first comment names; the words of its commands."""
    commands = []
    for language, block in FENCE.findall(text):
        if language == "sh":
            commands += [shlex.split(line) for line in block.splitlines()]
            continue
        first = next(line for line in block.splitlines() if not line.startswith("# @"))
        file = folder / first.removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block)
    return commands


def sections(page: str) -> dict[str, str]:
    """The parts of a page by their headings, those without a command left out."""
    parts = re.split(r"^## (.+)\n", (ROOT / page).read_text(), flags=re.MULTILINE)
    return {title: text for title, text in zip(parts[1::2], parts[2::2]) if "```sh\n" in text}


EXAMPLES = sections("docs/extending.md")


def test_there_is_an_example_of_each_kind():
    assert list(EXAMPLES) == ["A schedule", "A model", "An optimizer", "A data set", "An augmentation"]
    assert "docs/extending.md" in (ROOT / "README.md").read_text()


@pytest.fixture
def pasted(tmp_path, monkeypatch):
    """Return a function that pastes an example into the current folder, which modules are imported from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda title: paste(EXAMPLES[title], tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_runs_as_it_stands(title, pasted, run_in_process, tmp_path):
    ((program, *words),) = pasted(title)
    assert program == "train"
    code, out, errors = run_in_process(*words, "epochs=1", "threads=1")
    assert code == 0 and not errors, errors
    assert "finished after" in out
    (name,) = [path.stem for path in (tmp_path / "options").glob("*/*.yaml")]
    group = next((tmp_path / "options").iterdir()).name
    code, out, _ = run_in_process("--config-dir", "options", "--help", f"{group}={name}")
    assert code == 0 and "options/" not in out and name in out
    assert run_in_process(*words, "--help")[0] == 0


def test_the_example_of_the_readme_runs_in_a_clone(tmp_path):
    for folder in ("trainer", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    commands = paste(sections("README.md")["Add a technique"], tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for program, *words in commands:
        assert program == "train"
        call = [sys.executable, "-m", "trainer", *words, "data=iris", "epochs=1", "threads=1"]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "sched       root" in done.stdout, done.stderr
    wrong = [sys.executable, "-m", "trainer", "sched=root", "sched.floor=-1"]
    done = subprocess.run(wrong, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "sched.floor=-1" in done.stderr
