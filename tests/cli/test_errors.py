"""Bad input: each ends with one or two lines that name the key, the value, the rule and the nearest words, and leaves nothing behind."""

import re
import sys

import pytest
from PIL import Image

from trainer.base.checks import require, satisfies
from trainer.base.text import nearest

TYPOS = [
    ("optimiser=adam", ["optimiser", "did you mean optimizer"]),
    ("+optimiser=adam", ["optimiser", "did you mean optimizer"]),
    ("optimizer=admm", ["optimizer=admm", "did you mean adam"]),
    ("optimizer=ADAM", ["optimizer=ADAM", "did you mean adam"]),
    ("optimizer.lrr=1", ["optimizer.lrr=1", "did you mean optimizer.lr"]),
    ("optimizer.lr=abc", ["optimizer.lr=abc", "must be a number > 0", "learning rate"]),
    ("optimizer.lr=-1", ["optimizer.lr=-1", "must be > 0", "learning rate"]),
    ("optimizer.lr=nan", ["optimizer.lr", "must be a number > 0"]),
    ("optimizer.betas=[0.9,0.99]", ["optimizer.betas", "betas is a key of optimizer=adam"]),
    ("epochs=0", ["epochs=0", "must be >= 1"]),
    ("epochs=abc", ["epochs=abc", "must be a whole number >= 1"]),
    ("epochs=1.5", ["epochs=1.5", "must be a whole number >= 1"]),
    ("sched=null", ["sched=null", "constant, cosine, cosine_restarts", "sched=constant"]),
    ("reg=null", ["reg=null", "to go without write reg=[]"]),
    ("loss=[mse]", ["loss=[mse]", "one option, not a list"]),
    ("reg=dropuot", ["reg=dropuot", "did you mean dropout"]),
    ("reg.max_norm.limit=2", ["reg.max_norm.limit=2", "no such key", "reg=["]),
    ("epochs 5", ["epochs", "write epochs=5"]),
    ("--epochs 5", ["--epochs", "write epochs=5"]),
    ("--epochs=5", ["--epochs", "write epochs=5"]),
    ("--nonsense", ["--nonsense", "no such flag"]),
    ("optimizer=sgd,adam", ["several values", "train -m optimizer=sgd,adam"]),
    ("reg=l2,dropout", ["write reg=[l2,dropout]", "train -m reg=l2,dropout"]),
    ("epochs= 3", ["epochs= 3", "write epochs=3"]),
    ("epochs = 3 seed=1", ["epochs = 3:", "write epochs=3"]),
    ("reg=[l2, dropout]", ["one word", "write reg=[l2,dropout]"]),
    ("lr=0.1", ["no such key as lr", "did you mean optimizer.lr"]),
    ("epochs=1e1", ["epochs=10.0", "must be a whole number >= 1"]),
    ("runs=outputs/a", ["runs=outputs/a", "write runs=[outputs/a]"]),
    ("--help optimizer=admm", ["--help optimizer=admm", "did you mean adam"]),
    ("-m optimizer=sgd,admm", ["optimizer=sgd,admm", "did you mean adam"]),
    ("-m optimizer=sgd,adam epochs=3,0", ["epochs=0", "must be >= 1"]),
    ("~optimizer", ["~optimizer", "train --help optimizer"]),
    ("epochs=", ["epochs=", "must be a whole number >= 1"]),
    ("x=[", ["x=[", "KEY=VALUE"]),
    ("batch_size=0", ["batch_size=0", ">= 1, or full"]),
    ("batch_size=half", ["batch_size=half", ">= 1, or full"]),
    ("eval_every=3", ["eval_every=3", "30ep, 5000st or 5%"]),
    ("compile=1", ["compile=1", "must be true or false"]),
    ("device=foo", ["device=foo", "auto, cpu, cuda, mps"]),
    ("data=image_folder", ["data.root", "data.root=VALUE"]),
    ("model=mlp model.hidden=3", ["model.hidden=3", "must be a list"]),
    ("model=mlp model.hidden=[3,0]", ["model.hidden=[3,0]", ">= 1"]),
    ("-m seed=0,1 --cfg job", ["--multirun and --cfg", "without -m"]),
    ("n_trials=5", ["did you mean hydra.sweeper.n_trials"]),
    ("-m seed=0,1 hydra.sweep.dir=", ["hydra.sweep.dir=", "name of a folder"]),
    ("-m optimizer=sgd,", ["a value is missing at a comma", "optimizer=A,B"]),
    ("-m optimizer.lr=log(1e-3,1)", ["'optimizer.lr=tag(log,interval(LOW,HIGH))'"]),
    (
        "-m hydra/launcher=joblib hydra.launcher.njobs=2 seed=0,1",
        ["hydra.launcher.njobs", "did you mean hydra.launcher.n_jobs"],
    ),
    ("help", ["train --help"]),
    ("=adam", ["the key is missing", "write optimizer=adam"]),
    ("=nonsense", ["no such key"]),
    ("epochs==3", ["epochs==3", "write epochs=3"]),
    ("resume=", ["resume=", "auto"]),
    ("sched=none", ["sched=none", "to go without write sched=constant"]),
    ("norm=constant", ["norm=constant", "to go without write norm=none"]),
    ("--help optimiser", ["optimiser", "did you mean optimizer"]),
]


@pytest.mark.parametrize("typed, said", TYPOS, ids=[typed for typed, _ in TYPOS])
def test_a_typing_error_is_explained(typed, said, run_in_process, tmp_path):
    ended(run_in_process(*typed.split()), 2, said, tmp_path)


FITS = [
    ("model=cnn data=iris", 2, ["model=cnn", "needs images", "(4,)", "model=mlp"]),
    ("data=iris aug=crop", 2, ["aug=crop", "needs images"]),
    (
        "data=diabetes loss=cross_entropy",
        2,
        ["loss=cross_entropy", "data=diabetes is regression", "did you mean loss=mse"],
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
    ("task=evaluate runs=[nowhere]", 3, ["runs=[nowhere]", "nothing is there"]),
]


@pytest.mark.parametrize("typed, code, said", FITS, ids=[typed for typed, _, _ in FITS])
def test_what_does_not_fit_is_explained(typed, code, said, run_in_process, tmp_path):
    ended(run_in_process(*typed.split()), code, said, tmp_path)


def ended(result: tuple[int, str, str], code: int, said: list[str], folder) -> None:
    exit_code, _, errors = result
    assert exit_code == code, errors
    assert "Traceback" not in errors and errors.startswith("train: ") and len(errors.strip().splitlines()) <= 2
    for words in said:
        assert words in errors
    assert list(folder.iterdir()) == []


def image(path, color=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (color, 0, 0)).save(path)


def test_image_folders_that_cannot_be_used_are_explained(run_in_process, tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    typed = ("data=image_folder", f"data.root={root}", "output=out")

    def says(*words):
        code, _, errors = run_in_process(*typed)
        assert code == 3 and all(word in errors for word in words), errors
        assert not (tmp_path / "out").exists()

    says("train: no such folder")
    (root / "train").mkdir()
    says("no class folders")
    for number, name in enumerate(("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")):
        image(root / name, number)
    (root / "train" / "cow").mkdir()
    says("cow: no images")
    (root / "train" / "cow" / "1.png").write_bytes(b"not a picture")
    says("cow/1.png: not an image")
    image(root / "train" / "cow" / "1.png")
    image(root / "test" / "cwo" / "1.png")
    says("cwo: a class that train/ does not have", "cow")


@pytest.mark.parametrize(
    "typed", ["optimizer.lr=-1", "--help", "--help optimizer=adam", "--cfg job", "--version", "optimiser=adam"]
)
def test_torch_is_not_imported_to_say_so(typed, train):
    code = f"import sys; sys.argv = ['train', *{typed.split()!r}]\nfrom trainer.cli import main\ntry: main.main()\nexcept SystemExit: pass\nassert not {{'torch', 'numpy', 'sklearn', 'matplotlib'}} & set(sys.modules), sorted(sys.modules)"
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_full_tracebacks_are_there_for_who_asks(train):
    done = train("optimizer.lr=-1", HYDRA_FULL_ERROR="1")
    assert done.returncode == 2 and "Traceback" in done.stderr and "train: optimizer.lr=-1" in done.stderr


def test_a_user_package_needs_the_word_on_the_command_line(train, tmp_path):
    (tmp_path / "mine.py").write_text("import torch\nopen('marker', 'w').close()\nclass Slow(torch.optim.SGD): pass\n")
    refused = train("optimizer=sgd", "optimizer._target_=mine.Slow", "epochs=1", PYTHONPATH=str(tmp_path))
    assert refused.returncode == 2 and "allow=[PACKAGE]" in refused.stderr and not (tmp_path / "marker").exists()
    taken = train("optimizer=sgd", "optimizer._target_=mine.Slow", "epochs=1", "allow=[mine]", PYTHONPATH=str(tmp_path))
    assert taken.returncode == 0, taken.stderr


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


def test_what_is_told_cannot_steer_the_terminal(capsys):
    """Names of files and words of runs come from anywhere."""
    from trainer.base.errors import DataError, print_error
    from trainer.rundir.console import Console

    print_error(DataError("bad \x1b[31mname\r\n2 lines"))
    Console().print("note: \x1b]0;title\x07name")
    told = capsys.readouterr()
    assert told.err == "train: bad ?[31mname?\n2 lines\n" and told.out == "note: ?]0;title?name\n"
