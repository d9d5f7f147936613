"""The pages of the course: each command, shortened, prints what its page points at; pictures and links are there."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from conftest import command
from PIL import Image

ROOT = Path(__file__).parent.parent
COURSE = ROOT / "docs" / "course"
SMALLER = {  # added to the commands of a task, which then takes seconds
    "claims": (),
    "preview": (),
    "check": ("data=iris", "task.steps=20"),
    "stats": ("model.width=8", "task.seconds=0.05", "task.samples=16"),
    "landscape": ("task.points=5", "task.samples=32", "epochs=4st"),
    "lr_find": ("data=iris", "task.probe=null"),
    "recipe": ("data=iris", "model.hidden=[8]", "task.budget=6", "task.seeds=2", "epochs=4"),
    "train": ("data.train_samples=60", "epochs=2st"),
}
SHOWN = {  # what must come, where it is more than the usual end of a command; * stands for anything
    "train -m preprocess=none,center,standardize act=sigmoid model=mlp epochs=2": "note: act=sigmoid*preprocess=none",
    "train reg=l2 reg.loss.l2.strength=0.1 model=mlp epochs=3": "outweighs the data",
    "train task=preview sched=inverse sched.rate=0.5": "Learning rate of*last 0.004556",
    "train task=preview aug=mixup aug.mixup.alpha=1": "preview-images.png",
    "train task=preview sched=cosine warmup=linear warmup.length=5000st epochs=3": "never reaches optimizer.lr",
    "train reg=dropout model=mlp tta=mc_dropout epochs=3": "acts on the test split alone",
    "train act=softmax": "did you mean loss=cross_entropy?",
    "train init=glorot_normal": "did you mean init=xavier_normal?",
    "train norm=batch norm.momentum=0.99 norm.eps=0.001 model=mlp epochs=3": "Keras's 0.99 is norm.momentum=0.01",
    "train reg=label_smoothing reg.batch.label_smoothing.alpha=0.1 model=mlp epochs=3": "that of smoothed labels",
    "train data=breast_cancer epochs=3": "bce*log 2 = 0.6931",
}
ENDS = {  # what comes at the end of other commands
    "train": "finished after",
    "sweep": "ranked by best",
    "claims": "claim*hold",
    "preview": "saved",
    "check": "20 checks passed",
    "stats": "Activations by layer",
    "landscape": "saved",
    "lr_find": "suggested optimizer.lr=",
    "recipe": "The story is in",
}
REFUSED = ("act=softmax", "init=glorot_normal")
DIVERGING = (
    "optimizer.lr=0.01,0.1,1",
    "init.std=0.001,0.1,1",
    "exponential,gelu",
)  # in some runs of a sweep, also shortened


def load_script():
    """Import scripts/figures/course.py, which knows the sections of a page."""
    spec = importlib.util.spec_from_file_location("course", ROOT / "scripts" / "figures" / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = load_script().pages()
SECTIONS = [(page.stem, section) for page in PAGES for section in load_script().sections(page)]


def task_of(words: list[str]) -> str:
    """Return the task of a command."""
    return next((word.removeprefix("task=") for word in words if word.startswith("task=")), "train")


def first_and_last(word: str) -> str:
    """Return a swept KEY=A,B,C with its first and its last value."""
    key, _, values = word.partition("=")
    values = re.split(r",(?![^\[]*\])", values)
    return f"{key}={','.join(values[:1] + values[1:][-1:])}" if len(values) > 2 else word


@pytest.mark.parametrize(("page", "section"), SECTIONS, ids=[f"{page}: {section.title}" for page, section in SECTIONS])
def test_the_commands_of_a_section_do_what_it_says(page, section, tmp_path):
    for line in section.commands:
        program, *words = shlex.split(line)
        assert program == "train"
        if words[0] == "-m":
            words = [first_and_last(word) for word in words]
        own_data = any(word.startswith("data=") for word in words)  # a group is chosen once
        smaller = [word for word in SMALLER[task_of(words)] if not (own_data and word.startswith("data="))]
        code, out, errors = command(tmp_path, *words, *smaller, "threads=1")
        said = " ".join(f"{out}\n{errors}".split())
        refused, may_diverge = (any(part in line for part in parts) for parts in (REFUSED, DIVERGING))
        assert code in ((2,) if refused else (0, 5) if may_diverge else (0,)), f"{line}\n{said}"
        text = SHOWN.get(line) or ENDS["sweep" if words[0] == "-m" else task_of(words)]
        assert re.search(".*".join(map(re.escape, text.split("*"))), said), f"{line}: {text}\n{said}"
    if code == 0:
        written = {path.name for path in tmp_path.rglob("*.png")}
        names = [part.name.split("_", 2)[2] for part in section.parts if isinstance(part, Path)]
        assert written.issuperset(names), names


def test_every_text_that_must_come_belongs_to_a_command():
    commands = {line for _, section in SECTIONS for line in section.commands}
    assert SHOWN.keys() <= commands


@pytest.mark.parametrize("page", [COURSE / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_and_pictures_of_a_page_are_there(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", text)
    assert all(description for description, _ in pictures) and len(pictures) <= 4
    for _, name in pictures:
        assert (COURSE / name).stat().st_size < load_script().largest(COURSE / name)
        Image.open(COURSE / name).verify()


def test_each_page_is_in_the_index_and_has_an_exercise_and_no_picture_is_left_over():
    index = (COURSE / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"]({page.name})" in index
        assert "<details><summary>Exercise: " in page.read_text(encoding="utf-8")
    shown = {part.name for _, section in SECTIONS for part in section.parts if isinstance(part, Path)}
    assert shown == {path.name for path in COURSE.glob("*.png")}
    assert "docs/course/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")
