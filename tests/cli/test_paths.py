"""Paths on the command line: `~`, signs of Hydra's grammar, and answers that can be pasted into a shell."""

import glob
import re
import shlex
import shutil

import pytest
from conftest import command
from hydra.core.override_parser.overrides_parser import OverridesParser

from trainer.cli.paths import expand_home
from trainer.config.quoting import as_argument, as_value

NAMES = [
    "a,b",
    "a, 2024",
    "a=b",
    "a#b",
    "[a]",
    "a b",
    "(a) b",
    "a;b",
    "{a}",
    "it's",
    "~a",
    "a&b",
    "caf\u00e9 x",
    "a!",
    "1",
    "a`b",
]
TABLE = "x,label\n" + "".join(f"{number},{'ab'[number % 2]}\n" for number in range(60))
WORDS = ["model=linear", "epochs=1", "threads=1", "device=cpu"]


@pytest.mark.parametrize("text", [*NAMES, "plain", "/a/b-1.2+3@4%", "null", "TRUE", "1e5", "1_0", "nan", "+1", "a\\"])
def test_a_text_comes_through_the_shell_and_the_grammar_as_it_was(text):
    (argument,) = shlex.split(as_argument("key", text))
    value = OverridesParser.create().parse_override(argument).value()
    assert value == text and isinstance(value, str)
    assert (as_value(text) == text) == (text in ("plain", "a b", "/a/b-1.2+3@4%"))


def command_or_its_answer(folder, words, typed):
    """Type an override; where it is refused, paste what the answer says instead. Return exit code and errors."""
    code, _, errors = command(folder, *words, typed)
    if code == 0:
        return code, errors
    found = re.search(r"(?:did you mean|write) (.*?)(?: or .*| \(\w+: .*\))?(?:\?|; .*)?$", errors.splitlines()[0])
    assert found, errors
    code, _, again = command(folder, *words, *shlex.split(found[1]))
    return code, f"{errors}{again}"


@pytest.mark.parametrize("name", NAMES[::2])
def test_the_answer_to_a_path_of_data_can_be_pasted(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "t.csv").write_text(TABLE)
    code, errors = command_or_its_answer(tmp_path, [*WORDS, "data=csv", "data.target=label"], f"data.path={name}/t.csv")
    assert code == 0, errors


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which a run was trained."""
    folder = tmp_path_factory.mktemp("trained")
    assert command(folder, *WORDS, "data=iris")[0] == 0
    return folder


@pytest.mark.parametrize("name", NAMES[1::2])
def test_the_answer_to_a_folder_of_runs_can_be_pasted(name, trained):
    shutil.copytree(trained / "outputs", trained / name, dirs_exist_ok=True)
    if "," not in name:  # of two runs
        code, errors = command_or_its_answer(trained, ["task=compare"], f"runs=[{name}]")
        assert code == 0, errors
    code, errors = command_or_its_answer(trained, ["task=compare", "runs=[outputs]"], f"output={name}-2")
    assert code == 0 and [*trained.glob(f"{glob.escape(name)}-2/*/*/ranking.csv")], errors


@pytest.mark.parametrize(
    ("typed", "expanded"),
    [
        ("data.root=~", "data.root={home}"),
        ("data.root=~/a", "data.root={home}/a"),
        ("data.root=~/a,~/b", "data.root={home}/a,{home}/b"),
        ("runs=[~/a,'~/b c',\"~/d,e\"]", "runs=[{home}/a,'{home}/b c',\"{home}/d,e\"]"),
        ("resume=~/a#b", "resume={home}/a#b"),
        ("data.root=a~/b", "data.root=a~/b"),
        ("data.root=~a", "data.root=~a"),
    ],
)
def test_a_tilde_that_begins_a_path_is_the_home_folder(typed, expanded, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home(typed) == expanded.format(home="/home/me")


def test_a_home_folder_may_have_an_odd_name(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me, too")
    assert expand_home("runs=[~/a,'~/b']") == "runs=['/home/me, too/a','/home/me, too/b']"


def test_no_sweep_over_folders_that_are_not_there_is_suggested(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    answer = command(tmp_path, "data=image_folder", "data.root=one,two")[2]
    assert "for one, write \"data.root='one,two'\"; for a run of each, write train -m data.root=one,two" in answer
    answer = command(tmp_path, "data=image_folder", "data.root=one,three")[2]
    assert "for one, write \"data.root='one,three'\"" in answer and "-m" not in answer
    answer = command(tmp_path, "data=photos", "data.root=one")[2]  # a data set of ours beside a folder of the user
    assert "did you mean data=image_folder data.root=one?" in answer
    assert "-m" not in command(tmp_path, "output=one,two")[2] + command(tmp_path, "log_every=10,20")[2]
