"""The examples of the pages on techniques of one's own, pasted as they stand."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.config import catalog

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


PLUGIN = ROOT / "examples" / "plugin"
PAGE = (ROOT / "docs" / "extending.md").read_text()
COMMANDS = [line for language, block in FENCE.findall(PAGE) if language == "sh" for line in block.splitlines()]
SHOWN = re.compile(r"^\[(.+)\]\(../examples/plugin/\1\)\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_shows_files_of_the_plugin_as_they_are():
    shown = dict(SHOWN.findall(PAGE))
    assert len(shown) == sum(language != "sh" for language, _ in FENCE.findall(PAGE)) == 4
    for path, text in shown.items():
        assert text == (PLUGIN / path).read_text(), path
    assert "docs/extending.md" in (ROOT / "README.md").read_text()


def test_the_page_has_every_group_and_its_links_lead_somewhere():
    groups = re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE)
    assert [group for group in groups if group in catalog.groups()] == [
        group for group in catalog.groups() if group != "experiment"
    ]
    for link in re.findall(r"\]\((\.\./[^)]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_works_in_a_copy_of_the_plugin(command, run_in_process, tmp_path, monkeypatch):
    shutil.copytree(PLUGIN, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(str(tmp_path))  # and taken away after the test
    program, *words = shlex.split(command)
    assert program == "train"
    code, out, errors = run_in_process(*words, *(() if "task=new" in words else ("epochs=1", "threads=1")))
    assert code == 0 and not errors, errors
    assert ("wrote plugin/" if "task=new" in words else "finished after") in out
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


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
