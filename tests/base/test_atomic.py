"""Files that are written completely or not at all."""

import os

import pytest

from trainer.base.atomic import atomic_write, discard_partial


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


def test_other_hidden_files_are_the_users(tmp_path):
    names = {".partial", ".notes.partial", ".notes.12", "notes.12.partial", ".notes.12.partial~", ".notes.x.partial"}
    for name in names:
        (tmp_path / name).touch()
    discard_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names
