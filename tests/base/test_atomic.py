"""Files that are written completely or not at all."""

import os

import pytest

from trainer.base.atomic import atomic_write, atomic_write_all, discard_partial


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.parametrize("name", ["summary.json", "layers.json", "step-4.pt.sha256", "best", "a b.png", ".hidden"])
def test_what_a_process_leaves_that_dies_while_it_writes_is_discarded_whatever_the_file_is(name, tmp_path):
    (tmp_path / name).write_text("old")
    if not (child := os.fork()):
        os.replace = lambda *_: os._exit(9)
        atomic_write(tmp_path / name, b"new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len([*tmp_path.iterdir()]) == 2
    discard_partial(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_of_several_files_none_is_replaced_before_all_are_written(tmp_path):
    (tmp_path / "first").write_text("old")
    with pytest.raises(TypeError):
        atomic_write_all(tmp_path, {"first": b"new", "second": "not bytes"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"first": "old"}
    atomic_write_all(tmp_path, {"second": b"2", "first": b"1"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"first": "1", "second": "2"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_several_files_get_their_names_in_order(tmp_path):
    if not (child := os.fork()):
        replace, left = os.replace, iter([True, True])
        os.replace = lambda *names: replace(*names) if next(left, False) else os._exit(9)
        atomic_write_all(tmp_path, {name: name.encode() for name in "dbca"})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    discard_partial(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"d": "d", "b": "b"}


def test_other_hidden_files_are_the_users(tmp_path):
    names = {".partial", ".notes.partial", ".notes.12", "notes.12.partial", ".notes.12.partial~", ".notes.x.partial"}
    for name in names:
        (tmp_path / name).touch()
    discard_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names
