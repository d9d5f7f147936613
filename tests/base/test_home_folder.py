"""The home folder in paths."""

from pathlib import Path

import pytest

from trainer.base.paths import expanded


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("~", "/home/me"), ("~/a b", "/home/me/a b"), ("a/~", "a/~"), ("~nobody-here/a", "~nobody-here/a"), ("/a", "/a")],
)
def test_a_tilde_is_the_home_folder_only_where_it_begins_the_path(typed, meant, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded(typed) == expanded(Path(typed)) == Path(meant)
