"""Folders and files that must be there: answered before torch is imported, and before a folder is made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.base.errors import DataError
from trainer.cli import overrides
from trainer.config import catalog, schema
from trainer.config.files import require_existing
from trainer.config.rule import parse_rule

LIGHT = """
import sys
sys.modules["torch"] = None  # importing it is an error
sys.argv = ["train", *sys.argv[1:]]
from trainer.cli.main import main
main()
"""


def light(folder, *words):
    """The command with words in a folder: its exit code and what it says, without torch."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data=image_folder", "data.root=nowhere"), "data.root=nowhere: no such folder in {here}"),
        (("data=image_folder", "data.root=/no/where"), "data.root=/no/where: no such folder"),
        (("data=image_folder", "data.root=x.zip"), "data.root=x.zip: is a file, not a folder"),
        (
            ("data=mnist",),
            "data.root=data: no folder data/MNIST/raw in {here}; try data.root=DIR, or data.download=true",
        ),
        (("data=csv", "data.path=x.csv", "data.target=1"), "data.path=x.csv: no such file in {here}"),
        (
            ("data=csv", "data.path=/no/x.csv", "data.target=1"),
            "data.path=/no/x.csv: no such file; there is no folder /no either",
        ),
        (("-m", "data=image_folder", "data.root=nowhere", "seed=0,1"), "data.root=nowhere: no such folder in {here}"),
        (
            ("-m", "data=mnist", "data.root=/no", "seed=0,1"),
            "data.root=/no: no folder /no/MNIST/raw; try data.root=DIR, or data.download=true",
        ),
        (
            ("data=cifar10", "data.root=/no"),
            "data.root=/no: no folder /no/cifar-10-batches-py; try data.root=DIR, or data.download=true",
        ),
    ],
)
def test_missing_data_is_answered_without_torch_and_without_a_folder(words, message, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK")
    code, said = light(tmp_path, *words)
    assert (code, said.strip()) == (3, f"train: {message.format(here=tmp_path)}")
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("photo", "data.root=photo: no such folder in {here}; did you mean photos?"),
        ("./Photos", "data.root=./Photos: no such folder in {here}; did you mean photos?"),
        ("{here}/phtos", "data.root={here}/phtos: no such folder; did you mean {here}/photos?"),
        ("x.zip", "data.root=x.zip: is a file, not a folder"),
        ("cats/dogs", "data.root=cats/dogs: no such folder in {here}"),
    ],
)
def test_a_misspelt_folder_is_answered_with_the_one_beside_it(typed, answer, tmp_path, monkeypatch, composed):
    (tmp_path / "photos").mkdir()
    (tmp_path / "x.zip").write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    cfg = composed("data=image_folder", f"data.root={typed.format(here=tmp_path)}")
    with pytest.raises(DataError) as answered:
        require_existing(cfg, {"data": "image_folder"})
    assert str(answered.value) == answer.format(here=tmp_path)


def test_an_empty_folder_is_answered_without_torch(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / ".hidden").touch()
    for words in (("data=image_folder", "data.root=set"), ("-m", "data=image_folder", "data.root=set", "seed=0,1")):
        code, said = light(tmp_path, *words)
        assert code == 3 and said.startswith(
            "train: data.root=set: the folder is empty (data.root: folder with CLASS/*"
        )
        assert [path.name for path in tmp_path.iterdir()] == ["set"]
    (tmp_path / "data" / "MNIST" / "raw").mkdir(parents=True)
    code, said = light(tmp_path, "data=mnist")
    assert code == 3 and said.startswith("train: data.root=data: data/MNIST/raw is empty; try data.root=DIR, or data.")


def test_what_a_sweep_varies_is_left_to_its_jobs_and_so_is_one_that_is_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    for words in (
        ("data=mnist,iris",),
        ("data=image_folder", "data.root=nowhere,neither"),
        ("data=mnist", "seed=0,1", "hydra.sweep.dir=old"),
    ):
        assert overrides.check(["-m", *words]).arguments


def test_what_is_to_be_downloaded_may_be_missing(composed):
    cfg = composed("data=mnist", "data.download=true", "data.root=/no/where")
    require_existing(cfg, {"data": "mnist"})
    cfg.data.download = False
    with pytest.raises(DataError, match="no folder /no/where/MNIST/raw"):
        require_existing(cfg, {"data": "mnist"})


def test_a_folder_may_begin_at_home(composed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    require_existing(composed("data=image_folder", "data.root='~/pets'"), {"data": "image_folder"})
    with pytest.raises(DataError, match="data.root=~/cats: no such folder$"):
        require_existing(composed("data=image_folder", "data.root='~/cats'"), {"data": "image_folder"})


def test_every_data_set_that_reads_a_folder_of_the_user_says_so():
    for option in catalog.options("data"):
        known = schema.keys(catalog.file("data", option), "data")
        if "data.root" in known:
            assert any(key.rule and key.rule.path for key in known.values()), option


@pytest.mark.parametrize(
    ("source", "path", "below", "unless"),
    [
        ("an existing folder", "folder", None, None),
        ("an existing file", "file", None, None),
        ("an existing folder below root unless download", "folder", "root", "download"),
    ],
)
def test_the_rule_of_a_path(source, path, below, unless):
    rule = parse_rule(source)
    assert (rule.path, rule.below, rule.unless) == (path, below, unless)
    assert rule.violation("anything") is None and rule.violation(3) == f"must be {source}"
