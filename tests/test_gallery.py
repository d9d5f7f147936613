"""Every experiment opens with its commands, and they run; the gallery's page is made of its record."""

import json
import re
import shlex
import sys
from pathlib import Path
from statistics import stdev

import pytest

from trainer.config import catalog

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from exhibits.exhibits import EXHIBITS  # noqa: E402
from exhibits.page import PAGE, RECORD, measured_line, page  # noqa: E402
from exhibits.results import spread  # noqa: E402
from exhibits.runs import Job, Measured, commands, grouped, measured, order_in  # noqa: E402

UNMEASURED = ("cifar10_94", "cifar10_96")  # they take a GPU
NAMES = [name for name in catalog.options("experiment") if name not in UNMEASURED]
ENTRIES = json.loads(RECORD.read_text())
RUNS = {"digits_99": 12}  # of a setting: three seeds on four splits
FIRST = re.compile(r"(\[[^\]]*\]|[^,]+)(,.*)?")  # of the choices of a sweep
FOLDER = ("data.root=.", "data.train_samples=all", "data.val_fraction=0.3")  # for data=image_folder
SHORT = ("epochs=1st", "eval_every=1ep", "threads=1", "device=cpu")


def text(name: str) -> str:
    return catalog.file("experiment", name).read_text()


def words_of(command: str) -> list[str]:
    """The words of the first run of a command, on data that are there."""
    values = dict(word.split("=", 1) for word in shlex.split(command) if word not in ("-m", "data.root=DIR"))
    if "image_preprocess" in command:
        values |= dict(word.split("=", 1) for word in FOLDER)
    elif "data.root=DIR" in command:
        values["data"] = "digits"
        values.pop("data.train_samples", None)  # of MNIST
    choices = {key: FIRST.fullmatch(value)[1] for key, value in values.items()}
    return [f"{key}={value}" for key, value in choices.items()]


def shortened(command: str) -> list[str]:
    """Those words for one step."""
    lengths = ("epochs=", "pretrain.length=", "eval_every=", "rounds=", "seeds=")
    words = [word for word in words_of(command) if not word.startswith(lengths)]
    if "task=lottery" in words:
        words += ["rounds=1", "seeds=1"]
    if "pretrain=greedy" in words or "pretrain=fitnet" in words:
        words.append("pretrain.length=1st")
    return [*words, *SHORT]


def test_there_are_enough_experiments():
    assert len(EXHIBITS) >= 24
    assert {exhibit.name for exhibit in EXHIBITS} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_opens_with_its_commands_and_what_was_measured(name):
    first, headline, *rest = text(name).splitlines()
    assert first == "# @package _global_" and headline.startswith("# ")
    found = commands(name)
    assert found and rest[: len(found)] == [f"#     train {command}" for command in found]
    assert rest[len(found)] == measured_line(ENTRIES[name]), "run python scripts/gallery.py"
    assert all(f"experiment={name}" in command.split() for command in found)


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_an_experiment_compose(name, composed):
    for command in commands(name):
        words = [word for word in words_of(command) if not word.startswith("hydra.")]
        of_task = ("rounds=", "fraction=", "seeds=")  # which the command line takes without `task.`
        cfg = composed(*(f"task.{word}" if word.startswith(of_task) else word for word in words))
        assert cfg.seed == 0


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_runs(name, root, run_in_process):
    """Its first sweep, one run of one step, behind the runs that it needs."""
    for command in commands(name):
        code, _, errors = run_in_process(*shortened(command))
        assert code == 0, f"{command}\n{errors}"
        if command.startswith("-m"):
            return


@pytest.mark.parametrize("name", UNMEASURED)
def test_the_words_of_an_experiment_that_takes_a_gpu_train_here(name, run_in_process):
    """On the digits, a step; the opening names what was not measured."""
    (command,) = commands(name)
    assert "\n# Not measured: " in text(name) and "precision=bf16" in command.split()
    words = [word for word in words_of(command) if not word.startswith("precision=")]
    code, out, errors = run_in_process(*words, "model.channels=[8,8,8]", *SHORT)
    assert code == 0 and "finished after 1 step" in out, errors


def test_the_record_has_every_experiment_with_three_seeds():
    assert {*ENTRIES} == {*NAMES}
    for name, entry in ENTRIES.items():
        assert entry["commands"] == commands(name), f"{name}: run python scripts/gallery.py --only {name}"
        assert all(row["runs"] == RUNS.get(name, 3) for row in entry["rows"]), name


def test_the_page_is_made_of_the_record():
    assert PAGE.read_text() == page(EXHIBITS, ENTRIES), "run python scripts/gallery.py"


def test_every_figure_of_the_page_is_there_and_small():
    figures = re.findall(r"!\[\w+\]\((gallery/\w+\.png)\)", PAGE.read_text())
    assert len(figures) == len(EXHIBITS)
    assert all((PAGE.parent / figure).stat().st_size < 60_000 for figure in figures)


def test_mean_and_deviation_leave_out_runs_without_a_value():
    found = measured([1.0, None, 4.0])
    assert (found.mean, found.deviation) == (2.5, stdev([1.0, 4.0]))
    assert measured([None]).mean is None


@pytest.mark.parametrize(
    ("mean", "deviation", "shown"),
    [
        (76.66, 7.638, "76.7 ± 7.6"),
        (118.2, 16.1, "118 ± 16"),
        (0.9809, 0.000351, "0.9809 ± 0.0004"),
        (0.9123, 0.02345, "0.912 ± 0.023"),
        (81090.4, 15051.2, "81,090 ± 15,051"),
        (1.0, 0.0, "1.000 ± 0"),
        (None, 0.0, "none"),
    ],
)
def test_a_mean_and_its_deviation_have_the_same_digits(mean, deviation, shown):
    assert spread(Measured(mean, deviation)) == shown


def test_an_experiment_that_compares_nothing_neither_holds_nor_fails():
    """Of three experiments one held; the page counts the two that compare."""
    chosen = [exhibit for exhibit in EXHIBITS if exhibit.name in ("bowl", "saddle", "practice")]
    found = {each.name: ENTRIES[each.name] | {"held": held} for each, held in zip(chosen, (True, False, None))}
    text = page(chosen, found)
    assert "1 of 2 statements held; 1 experiments compare nothing." in text
    assert "| [practice](#practice) | - |" in text and "**Nothing is compared:**" in text
    assert "; nothing is compared. " in measured_line(found["practice"])


def test_settings_are_in_the_order_of_the_command_without_the_words_of_all():
    command = "-m experiment=some reg=[l2,dropout],[] act=tanh,relu model=mlp seed=0,1"
    jobs = [
        Job(Path(), {"reg": reg, "act": act, "model": "mlp"}, 0)
        for act in ("relu", "tanh")
        for reg in ("[]", "[l2,dropout]")
        for _ in range(2)
    ]
    jobs.sort(key=lambda job: order_in(command, job))
    found = grouped(jobs)
    labels = [f"reg={reg} act={act}" for reg in ("[l2,dropout]", "[]") for act in ("tanh", "relu")]
    assert [group.label for group in found] == labels
    assert all(len(group.jobs) == 2 for group in found)
