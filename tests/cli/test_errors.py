"""Mistakes on the command line: one or two lines with key, value, rule and what to type; nothing is written."""

import re
import subprocess
import sys

import pytest
from PIL import Image

from trainer.base.checks import require, satisfies
from trainer.base.errors import ConfigError
from trainer.base.text import nearest
from trainer.cli import overrides

TYPOS = [
    ("optimiser=adam", ["optimiser", "did you mean optimizer=adam?"]),
    ("+optimiser=adam", ["optimiser", "did you mean optimizer=adam?"]),
    ("optimiser.lr=1", ["optimiser.lr=1", "did you mean optimizer.lr=1?"]),
    ("optimizer=admm", ["optimizer=admm", "did you mean optimizer=adam"]),
    ("optimizer=Adam", ["optimizer=Adam", "did you mean optimizer=adam?"]),
    ("optimizer.lrr=1", ["optimizer.lrr=1", "did you mean optimizer.lr"]),
    ("optimizer.lr=abc", ["optimizer.lr=abc", "must be a number > 0", "learning rate"]),
    ("optimizer.lr=-1", ["optimizer.lr=-1", "must be > 0", "learning rate"]),
    ("optimizer.lr=nan", ["optimizer.lr", "must be a number > 0"]),
    ("optimizer.betas=[0.9,0.99]", ["optimizer.betas", "optimizer.betas is a key of optimizer=adam"]),
    ("epochs=-1", ["epochs=-1", "must be a whole number >= 0, or steps (100st)"]),
    ("epochs=abc", ["epochs=abc", "must be a whole number >= 0"]),
    ("epochs=1.5", ["epochs=1.5", "must be a whole number >= 0"]),
    ("epochs.x=1", ["epochs.x=1", "epochs has no keys"]),
    ("sched=null", ["sched=null", "to go without, write sched=constant"]),
    ("reg=null", ["reg=null", "to go without, write reg=none"]),
    ("loss=[mse]", ["loss=[mse]", "one option, not a list"]),
    ("reg=dropuot", ["reg=dropuot", "did you mean reg=dropout"]),
    ("reg=[l2,dropuot]", ["reg has no option dropuot", "did you mean reg=[l2,dropout]?"]),
    ("reg.max_norm.limit=2", ["no such key", "write reg=max_norm reg.weights.max_norm.limit=2"]),
    ("reg=l2 reg.max_norm.limit=2", ["no such key", "write reg=[l2,max_norm] reg.weights.max_norm.limit=2"]),
    ("epochs 5", ["epochs", "write epochs=5"]),
    ("--epochs 5", ["--epochs", "write epochs=5"]),
    ("--epochs=5", ["--epochs", "write epochs=5"]),
    ("-momentum=0.9", ["-momentum=0.9", "write optimizer.momentum=0.9"]),
    ("--config-dir", ["--config-dir", "needs a folder"]),
    ("--config-dir seed=1", ["--config-dir", "write --config-dir DIR"]),
    ("--nonsense", ["--nonsense", "no such flag"]),
    ("optimizer=sgd,adam", ["several values", "train -m optimizer=sgd,adam"]),
    ("reg=l2,dropout", ["write reg=[l2,dropout]", "train -m reg=l2,dropout"]),
    ("epochs= 3", ["epochs= 3", "write epochs=3"]),
    ("epochs = 3 seed=1", ["epochs = 3:", "write epochs=3"]),
    ("reg=[l2, dropout]", ["must not have spaces", "write reg=[l2,dropout]"]),
    ("epochs=1e1", ["epochs=10.0", "must be a whole number >= 0"]),
    ("runs=outputs/a", ["runs=outputs/a", "write runs=[outputs/a]"]),
    ("--help optimizer=admm", ["--help optimizer=admm", "did you mean --help optimizer=adam"]),
    ("-m optimizer=sgd,admm", ["optimizer=sgd,admm", "did you mean optimizer=sgd,adam"]),
    ("-m optimizer=sgd,adam epochs=3,-1", ["epochs=-1", "must be a whole number >= 0"]),
    ("-m optimizer=null,adam", ["no option null", "did you mean optimizer=adam?"]),
    ("-m optimizer=none,sgd,adam", ["no option none", "did you mean optimizer=sgd,adam?"]),
    ("~optimizer", ["~optimizer", "train --help optimizer"]),
    ("epochs=", ["epochs=", "must be a whole number >= 0"]),
    ("x=[", ["x=[", "KEY=VALUE"]),
    ("batch_size=0", ["batch_size=0", ">= 1, or full"]),
    ("batch_size=half", ["batch_size=half", ">= 1, or full"]),
    ("eval_every=3", ["eval_every=3", "must be a length (2ep, 500st, 5%)"]),
    ("compile=1", ["compile=1", "must be one of off, model, step"]),
    ("device=foo", ["device=foo", "auto, cpu, cuda, mps"]),
    ("data=image_folder", ["data.root", "data.root=VALUE"]),
    ("model=mlp model.hidden=3", ["model.hidden=3", "must be a list"]),
    ("model=mlp model.hidden=[3,0]", ["model.hidden=[3,0]", ">= 1"]),
    ("model.hiden=[3]", ["did you mean model=mlp model.hidden=[3]?"]),
    ("-m seed=0,1 --cfg job", ["--multirun and --cfg", "without -m"]),
    ("n_trials=5", ["did you mean train -m hydra/sweeper=optuna hydra.sweeper.n_trials=5 ...?"]),
    ("-m seed=0,1 hydra.sweep.dir=", ["hydra.sweep.dir=", "name of a folder"]),
    ("-m optimizer=sgd,", ["a value is missing at a comma", "did you mean optimizer=sgd?"]),
    ("-m optimizer.lr=log(1e-3,1)", ["'optimizer.lr=tag(log,interval(LOW,HIGH))'"]),
    (
        "-m hydra/launcher=joblib hydra.launcher.njobs=2 seed=0,1",
        ["hydra.launcher.njobs", "did you mean hydra.launcher.n_jobs"],
    ),
    ("help", ["train --help"]),
    ("=adam", ["the key is missing", "write optimizer=adam"]),
    ("=nonsense", ["the key is missing"]),
    ("x.y=1", ["no such key", "train --help lists the keys"]),
    ("epochs==3", ["epochs==3", "write epochs=3"]),
    ("resume=", ["resume=", "auto"]),
    ("sched=none", ["sched=none", "to go without, write sched=constant"]),
    ("init=none", ["init=none", "init=torch"]),
    ("bias=none", ["bias=none", "choose one of constant, marginal, zero"]),
    ("norm=constant", ["norm=constant", "to go without, write norm=none"]),
    ("--help optimiser", ["optimiser", "did you mean --help optimizer"]),
]
RENAMED = [
    ("data.val_share=0.1", "renamed; write data.val_fraction=0.1"),
    ("optimizer.scale_lr=linear", "renamed; write scale_lr=linear"),
]


@pytest.mark.parametrize("typed, parts", TYPOS, ids=[typed for typed, _ in TYPOS])
def test_a_typing_error_is_explained(typed, parts, run_in_process, tmp_path):
    ended(run_in_process(*typed.split()), 2, parts, tmp_path)


@pytest.mark.parametrize("typed, answer", RENAMED)
def test_a_key_of_an_older_version_is_answered_with_its_new_name(typed, answer):
    with pytest.raises(ConfigError, match=re.escape(answer)):
        overrides.check(typed.split())


FITS = [
    ("model=cnn data=iris", 2, ["model=cnn", "needs images", "(4,)", "model=mlp"]),
    ("data=iris aug=crop", 2, ["aug=crop", "needs images"]),
    (
        "data=diabetes loss=cross_entropy",
        2,
        ["loss=cross_entropy", "data=diabetes is regression", "try loss=mse"],
    ),
    ("data=diabetes reg=label_smoothing", 2, ["reg=label_smoothing", "data=diabetes is regression"]),
    ("batch_size=5000", 2, ["batch_size=5000", "1259 training samples", "batch_size=full"]),
    ("accumulate=500", 2, ["accumulate=500", "1259 training samples", "accumulate=19"]),
    ("batch_size=629 model=mlp norm=batch", 2, ["batch_size=629", "one sample", "norm=batch", "drop_last=true"]),
    ("batch_size=1 model=mlp norm=batch", 2, ["batch_size=1", "one sample", "norm=batch"]),
    ("data.val_fraction=0.9 data.test_fraction=0.3", 2, ["val_fraction + test_fraction must be < 1"]),
    ("data.val_fraction=0 sched=plateau", 2, ["data.val_fraction=0", "validation"]),
    ("monitor=r2", 2, ["monitor=r2", "monitor=accuracy"]),
    ("device=mps", 4, ["device=mps", "device=cpu"]),
    ("device=cuda:99", 4, ["device=cuda:99", "device=cpu"]),
    ("output=/dev/null/x epochs=1", 4, ["output=/dev/null/x", "Not a directory"]),
    ("data=mnist data.root=/nowhere", 3, ["data.root=/nowhere", "data.download=true"]),
    ("data=cifar10 data.root=/nowhere", 3, ["data.root=/nowhere", "data.download=true"]),
    ("data=image_folder data.root=/nowhere", 3, ["data.root=/nowhere", "no such folder"]),
    ("optimizer._target_=torch.nn.Linear", 2, ["optimizer._target_=torch.nn.Linear", "Optimizer"]),
    ("optimizer._target_=torch.os.system", 2, ["no class of that name"]),
    ("optimizer._target_=os.system", 2, ["outside the allowed libraries"]),
    ("sched._target_=subprocess.Popen", 2, ["outside the allowed libraries"]),
    ("sched._target_=trainer.reg.max_norm.MaxNorm", 2, ["must be a class of trainer.sched"]),
    ("+optimizer.foo=3", 2, ["optimizer.foo", "no field foo"]),
    ("task=evaluate", 2, ["runs=[]", "runs=[outputs"]),
    ("task=evaluate runs=[nowhere]", 3, ["runs=[nowhere]", "no such directory"]),
]


@pytest.mark.parametrize("typed, code, parts", FITS, ids=[typed for typed, _, _ in FITS])
def test_options_that_do_not_fit_are_explained(typed, code, parts, run_in_process, tmp_path):
    ended(run_in_process(*typed.split()), code, parts, tmp_path)


def ended(result: tuple[int, str, str], code: int, parts: list[str], folder) -> None:
    exit_code, _, errors = result
    assert exit_code == code, errors
    assert "Traceback" not in errors and errors.startswith("train: ") and len(errors.strip().splitlines()) <= 2
    assert all(part in errors for part in parts), errors
    assert list(folder.iterdir()) == []


def image(path, color=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (color, 0, 0)).save(path)


def test_image_folders_that_cannot_be_used_are_explained(run_in_process, tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    typed = ("data=image_folder", f"data.root={root}", "output=out")

    def says(*parts):
        code, _, errors = run_in_process(*typed)
        assert code == 3 and all(part in errors for part in parts), errors
        assert not (tmp_path / "out").exists()

    says("the folder is empty", "train/CLASS/*")
    (root / "train").mkdir()
    says("train: contains no class folders")
    for number, name in enumerate(("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")):
        image(root / name, number)
    (root / "train" / "cow").mkdir()
    says("cow: contains no images")
    (root / "train" / "cow" / "1.png").write_bytes(b"not a picture")
    says("cow/1.png: not a readable image")
    image(root / "train" / "cow" / "1.png")
    image(root / "test" / "cwo" / "1.png")
    says("cwo: no such class in train/", "did you mean cow?")


PROGRAM = """
import sys
from trainer.cli import main
for typed in TYPED:
    sys.argv = ['train', *typed.split()]
    try:
        main.main()
    except SystemExit:
        pass
    found = {'torch', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules)
    assert not found, (typed, found)
"""


def test_torch_is_not_imported_for_help_and_errors():
    typed = ["optimizer.lr=-1", "--help", "--help optimizer=adam", "--cfg job", "--version", "optimiser=adam"]
    program = PROGRAM.replace("TYPED", repr([*typed, "-m optimizer=sgd,addam"]))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_full_traceback_is_printed_on_request(run_in_process, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    code, _, errors = run_in_process("optimizer.lr=-1")
    assert code == 2 and "Traceback" in errors and "train: optimizer.lr=-1" in errors


def test_a_users_package_counts_only_with_allow_on_the_command_line(run_in_process, package, tmp_path):
    name = package("import torch\nopen('marker', 'w').close()\nclass Slow(torch.optim.SGD): pass\n")
    typed = ("model=mlp", "optimizer=sgd", f"optimizer._target_={name}.Slow", "epochs=1", "threads=1")
    code, _, errors = run_in_process(*typed)
    assert code == 2 and f"allow=[{name}] on the command line adds it" in errors and not (tmp_path / "marker").exists()
    code, _, errors = run_in_process(*typed, f"allow=[{name}]")
    assert code == 0 and (tmp_path / "marker").exists(), errors


@pytest.mark.parametrize(
    "rule, good, bad", [("> 0", 0.1, 0), (">= 1", 1, 0), ("in [0, 1)", 0, 1), ("in (0, 1]", 1, 0), ("< 1", 0, 1)]
)
def test_rules(rule, good, bad):
    assert satisfies(rule, good) and not satisfies(rule, bad) and not satisfies(rule, float("nan"))
    with pytest.raises(ValueError, match=re.escape(f"p must be {rule}, got {bad}")):
        require(rule, p=bad)


def test_nearest_ignores_case_and_finds_parts():
    assert nearest("ADAM", ["sgd", "adam"]) == ["adam"]
    assert nearest("norm", ["max_norm", "l2"]) == ["max_norm"]
    assert nearest("zzz", ["max_norm", "l2"]) == []


def test_a_message_cannot_steer_the_terminal(capsys):
    """Names of files and overrides of runs come from anywhere."""
    from trainer.base.errors import DataError, print_error
    from trainer.rundir.console import Console

    print_error(DataError("bad \x1b[31mname\r\n2 lines"))
    Console().print("note: \x1b]0;title\x07name")
    printed = capsys.readouterr()
    assert printed.err == "train: bad ?[31mname?\n2 lines\n" and printed.out == "note: ?]0;title?name\n"
