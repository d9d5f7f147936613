"""Options of the user's own that no reader of YAML can use: one line that names the file, whatever is done with it."""

import os

import pytest
from conftest import SMALL, command

LAUGHS = b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 30))
FILES = {
    "a tag": (b"# Mine.\nhidden: !!python/object/apply:os.system ['touch marker']\n", "tags are not allowed"),
    "a loop": (b"# Mine.\nhidden: &a\n  b: *a\n", "*a stands in what it names"),
    "a loop of lists": (b"# Mine.\nhidden: &a [1, [*a]]\n", "*a stands in what it names"),
    "a billion laughs": (LAUGHS, "more than 100,000 values"),
    "deep": (b"# Mine.\nhidden: " + b"[" * 200 + b"]" * 200, "50 levels"),
    "4 MB": (b"# Mine.\nhidden: " + b"x" * 4_000_000, "larger than 1,000,000 bytes"),
    "UTF-16": ("hidden: [8]".encode("utf-16"), "not UTF-8"),
    "Latin-1": (b"# M\xe4in.\nhidden: [8]\n", "not UTF-8"),
    "a date that does not exist": (b"# Mine.\nhidden: 2024-99-99\n", "month"),
    "zeros": (bytes(100), "cannot be read as an option"),
    "a list": (b"# Mine.\n- 1\n", "no keys"),
    "a tab": (b"# Mine.\n\thidden: [8]\n", "cannot be read as an option"),
    "defaults of a number": (b"# Mine.\ndefaults: 7\n", "its defaults are no list of options"),
    "defaults of numbers": (b"# Mine.\ndefaults: [7]\n", "its defaults are no list of options"),
    "a mapping as a key": (b"# Mine.\n? {a: 1}\n: 2\n", "cannot be read as an option"),
}


@pytest.fixture
def option(tmp_path):
    path = tmp_path / "mine" / "model" / "odd.yaml"
    path.parent.mkdir(parents=True)
    return path


def refused(folder, path, said):
    for words in ((*SMALL, "--config-dir", "mine", "model=odd"), ("--config-dir", "mine", "--help", "model")):
        code, _, errors = command(folder, *words)
        assert code == 3 and errors.startswith("train: --config-dir: ") and len(errors.splitlines()) == 1, errors
        assert str(path) in errors and said in errors
    assert not (folder / "marker").exists() and not (folder / "outputs").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_is_named(name, option, tmp_path):
    content, said = FILES[name]
    option.write_bytes(content)
    refused(tmp_path, option, said)


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to /dev/zero", "folder", "broken link"])
def test_what_is_no_file_is_named(kind, option, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    if kind == "pipe":
        os.mkfifo(option)
    elif kind == "folder":
        option.mkdir()
    else:
        targets = {"link to a pipe": tmp_path / "pipe", "link to /dev/zero": "/dev/zero", "broken link": "nothing"}
        option.symlink_to(targets[kind])
    refused(tmp_path, option, "No such file" if kind == "broken link" else "no regular file")


def test_an_anchor_that_is_used_elsewhere_is_yaml_as_any(option, tmp_path):
    option.write_text("# Mine.\n_target_: trainer.model.mlp.Mlp\nhidden: [&a 8, *a]\n")
    code, _, errors = command(
        tmp_path, *[word for word in SMALL if "model" not in word], "--config-dir", "mine", "model=odd"
    )
    assert code == 0, errors


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permissions_is_named(option, tmp_path):
    option.parent.chmod(0)
    try:
        code, _, errors = command(tmp_path, *SMALL, "--config-dir", "mine", "model=odd")
    finally:
        option.parent.chmod(0o755)
    assert code == 3 and str(option.parent) in errors and "Permission denied" in errors
