"""A hundred mistakes, each with the answer that a person would want; and every answer is accepted in its turn.

Each row of the table: what is typed behind `train` | what stands in the first two lines of the answer (`&`: and).
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.base.errors import ConfigError, UserError
from trainer.cli import help, overrides
from trainer.config import catalog
from trainer.sweep import launchers

TABLE = """
Misspelled, or in another form
    optimiser=adam                                 | did you mean optimizer=adam?
    optimizer=admm                                 | did you mean optimizer=adam
    optimizer=Adam                                 | did you mean optimizer=adam?
    OPTIMIZER=adam                                 | did you mean optimizer=adam?
    Optimizer.LR=0.1                               | did you mean optimizer.lr=0.1?
    epocs=3                                        | did you mean epochs=3?
    learing_rate=0.1                               | did you mean optimizer.lr=0.1?
    model=mlp model.hiden=[3]                      | did you mean model.hidden=[3]?
    reg=[l2,dropuot]                               | did you mean reg=[l2,dropout]?
    -m optimizer=sgd,addam                         | did you mean optimizer=sgd,adam?
    lr = 0.1                                       | write optimizer.lr=0.1
    optimizer adam                                 | write optimizer=adam
    optimizer adam epochs 5                        | write optimizer=adam epochs=5
    optimizer.lr:=0.1                              | write optimizer.lr=0.1
    optimizer.lr:0.1                               | write optimizer.lr=0.1
    optimizer.lr==0.1                              | write optimizer.lr=0.1
    +optimizer.lr=0.1                              | write optimizer.lr=0.1
    ~optimizer.lr                                  | leave it out
    optimizer=                                     | choose one of adadelta, adagrad, adam
    optimizer=adam,                                | did you mean optimizer=adam?
    optimizer=[adam]                               | write optimizer=adam
    optimizer=adam optimizer=sgd                   | chosen twice & write train -m optimizer=adam,sgd
    reg=l2 reg=dropout                             | write reg=[l2,dropout]
    reg=l2+dropout                                 | did you mean reg=[l2,dropout]?
    reg=(l2,dropout)                               | did you mean reg=[l2,dropout]?
    reg=[none,l2]                                  | did you mean reg=[l2]?
    optimizer.lr=0,01                              | write optimizer.lr=0.01
    optimizer.lr=1e-3f                             | did you mean optimizer.lr=0.001?
    optimizer.lr=10^-3                             | did you mean optimizer.lr=0.001?
    'optimizer.lr="0.1"'                           | did you mean optimizer.lr=0.1?
    model.channels=32,64                           | write model.channels=[32,64]
    model=mlp 'model.hidden=(128,64)'              | did you mean model.hidden=[128,64]?
    model=mlp model.hidden=64                      | write model.hidden=[64]
    batch_size=1,000                               | write batch_size=1000
    batch_size=all                                 | did you mean batch_size=full?
    data.val_fraction=20%                          | write data.val_fraction=0.2
    eval_every=3                                   | did you mean eval_every=3ep or eval_every=3st?
    sched=multistep sched.milestones=[30,60]       | did you mean sched.milestones=[30ep,60ep]
    compile=yes                                    | did you mean compile=model?
    compile=None                                   | did you mean compile=off?
    norm=None                                      | write norm=none
    sched=none                                     | write sched=constant
    act=none                                       | write act=linear

Options of another group, keys of another option
    reg=mixup                                      | did you mean aug=mixup?
    reg=batch_norm                                 | did you mean norm=batch?
    aug=dropout                                    | did you mean reg=dropout?
    aug=[flip,dropout]                             | did you mean aug=[flip] reg=dropout?
    loss=softmax                                   | did you mean loss=cross_entropy?
    act=softmax                                    | did you mean loss=cross_entropy?
    optimizer=cosine                               | did you mean sched=cosine?
    sched=warmup                                   | did you mean warmup=linear?
    dropout=0.5                                    | did you mean reg=dropout reg.layer.dropout.p=0.5?
    model.dropout=0.5                              | did you mean reg=dropout reg.layer.dropout.p=0.5?
    reg=l2 dropout=0.5                             | did you mean reg=[l2,dropout] reg.layer.dropout.p=0.5?
    reg=l2 reg.l2=1e-4                             | did you mean reg.loss.l2.strength=1e-4?
    act=leaky_relu act.alpha=0.1                   | did you mean act.negative_slope=0.1?
    sched=step sched.step_size=10                  | did you mean sched.length=10ep?
    model=mlp model.layers=6                       | model=mlp has model.hidden=[128,128]
    model=linear model.layers=6                    | model=linear has model.weights
    optimizer.betas=[0.9,0.99]                     | write optimizer=adam optimizer.betas=[0.9,0.99]
    optimizer=adam momentum=0.9                    | optimizer.momentum is a key of optimizer=momentum
    norm.momentum=0.9                              | write norm=batch norm.momentum=0.9
    launcher=joblib                                | did you mean train -m hydra/launcher=joblib ...?
    n_trials=5                                     | train -m hydra/sweeper=optuna hydra.sweeper.n_trials=5 ...?

Switched off, and what an option needs
    amp=disabled                                   | did you mean precision=fp32?
    use_bn=n                                       | did you mean norm=none?
    ema=disabled                                   | without averaging=ema there is none; leave it out
    gpu=null                                       | did you mean device=cpu?
    warmup=0                                       | write warmup=none
    scale_lr=false                                 | did you mean scale_lr=none?
    data=tabular                                   | did you mean data=csv data.path=VALUE?
    model=image_folder                             | did you mean data=image_folder data.root=VALUE?
    data=cvs data.path=x.csv                       | did you mean data=csv?
    optimizer=adam optimizer=cosine                | did you mean sched=cosine?
    task=compare runs=2026                         | write runs="['2026']"

Tables
    data.path=iris.csv                             | did you mean data=csv data.path=iris.csv data.target=COLUMN?
    data=csv data_dir=iris.csv data.target=3       | did you mean data.path=iris.csv?
    data=csv data.path=x.csv data.separator=,      | did you mean data.separator=comma?
    data=csv data.path=x.csv 'data.sep=";"'        | did you mean data.separator=semicolon?
    data=csv data.path=x.csv data.decimal=,        | did you mean data.decimal=comma?
    data=csv data.path=x.csv data.header=0         | did you mean data.header=yes?
    data=csv data.path=x.csv data.header=None      | did you mean data.header=no?
    data=csv data.path=x.csv data.missing=mean     | did you mean data.missing=impute?
    data=csv data.path=x.csv data.drop=[a]         | did you mean data.ignore=[a]?

Models, data, runs
    resnet50                                       | write model=torchvision model.name=resnet50
    model=resnet50                                 | did you mean model=torchvision model.name=resnet50?
    vit                                            | write model=vit_tiny
    model=vit                                      | did you mean model=vit_tiny?
    optimizer=AdEMAMix                             | did you mean optimizer=ademamix?
    optimizer=adema_mix                            | did you mean optimizer=ademamix?
    optimizer=c_adamw                              | did you mean optimizer=cautious optimizer.base=adamw?
    optimizer=adafactor                            | did you mean optimizer=pytorch_optimizer optimizer.name=AdaFactor?
    optimizer=lomo                                 | LOMO changes the weights before the whole gradient is known
    optimizer=ada_lomo                             | AdaLOMO changes the weights before the whole gradient is known
    optimizer=swats                                | SWATS sets its own step size
    optimizer=conda                                | Conda keeps Python objects in its state
    optimizer=gsam                                 | GSAM wraps another optimizer & write optimizer=sam
    optimizer=SAM                                  | did you mean optimizer=sam?
    optimizer=lookahead optimizer.base=lomo        | LOMO changes the weights before the whole gradient is known
    optimizer=lookahead optimizer.base=yogi        | optimizer.base=pytorch_optimizer optimizer.base.name=Yogi?
    sophia                                         | write optimizer=pytorch_optimizer optimizer.name=SophiaH
    optimizer=pytorch_optimizer optimizer.name=yogii | a class of pytorch_optimizer & did you mean optimizer.name=Yogi?
    optimizer=pytorch_optimizer optimizer.name=LOMO | LOMO changes the weights before the whole gradient is known
    optimizer=pytorch_optimizer optimizer.beta=0.9 | AdaBelief has no such key & did you mean optimizer.betas=VALUE?
    optimizer=pytorch_optimizer optimizer.ep=0.1   | AdaBelief has no such key & did you mean optimizer.eps=0.1?
    optimizer=pytorch_optimizer optimizer.eps=abc  | must be a number
    optimizer=pytorch_optimizer rectify=true       | did you mean optimizer.rectify=true?
    optimizer.rectify=true                         | no such key
    sched=wsd_s                                    | did you mean sched=wsd?
    sched=warmup_stable_decay                      | did you mean sched=wsd warmup=linear?
    sched=wsd sched.shape=1-sqrt                   | did you mean sched.shape=sqrt?
    model=densenet                                 | did you mean model=torchvision model.name=densenet121?
    resnet18 cifar10                               | write model=resnet18 data=cifar10
    data=/my/images                                | did you mean data=image_folder data.root=/my/images?
    'data=./my images'                             | data=image_folder 'data.root=my images'?
    data=imagenet                                  | did you mean data=image_folder data.root=DIR?
    data=CIFAR-10                                  | did you mean data=cifar10?
    task=compare outputs/a outputs/b               | write runs=[outputs/a,outputs/b]
    task=predict runs=[outputs/a] ./new            | write task.input=./new
    task=predict runs=[outputs/a] new/a.png new/b  | write task.input=PATH
    resume=last                                    | write resume=auto

Students, with the words of lectures
    init=glorot_normal                             | did you mean init=xavier_normal?
    init=kaiming_uniform                           | did you mean init=he_uniform?
    init=xavier                                    | init=xavier_normal or init=xavier_uniform? & init=lecun_normal
    init=random_normal                             | did you mean init=normal?
    optimizer=sgd momentum=0.9                     | did you mean optimizer=momentum optimizer.momentum=0.9?
    weight_decay=1e-4                              | reg=weight_decay reg.weights.weight_decay.strength=1e-4?
    optimizer=adamw weight_decay=1e-4              | did you mean optimizer.weight_decay=1e-4?
    steps=100                                      | did you mean epochs=100st?
    loss=l2                                        | did you mean loss=mse?
    model=softmax_regression                       | did you mean model=linear?

Keras and scikit-learn
    kernel_initializer=he_normal                   | did you mean init=he_normal?
    kernel_initializer=GlorotUniform               | did you mean init=xavier_uniform?
    model.units=128                                | did you mean model=mlp model.hidden=[128]?
    hidden_units=[64,32]                           | did you mean model=mlp model.hidden=[64,32]?
    validation_split=0.2                           | did you mean data.val_fraction=0.2?
    loss=categorical_crossentropy                  | did you mean loss=cross_entropy?
    clipnorm=1.0                                   | did you mean reg=grad_clip reg.gradient.grad_clip.limit=1.0?
    sched=ExponentialDecay                         | did you mean sched=exponential?
    callbacks=[early]                              | no callbacks & reg=early_stopping
    verbose=1                                      | run.log
    test_size=0.2                                  | did you mean data.test_fraction=0.2?
    random_state=42                                | did you mean seed=42?
    beta_1=0.9                                     | did you mean optimizer=adam optimizer.betas=[0.9,0.999]?
    nesterov=True                                  | did you mean optimizer=nesterov?

PyTorch, timm, fastai
    sched=cosine T_max=100                         | a schedule lasts as long as the run
    sched=cosine eta_min=0                         | sched.floor
    model=cnn kernel_size=5                        | pool.kernel_size is that of the pooling
    tta=fliplr                                     | did you mean tta=flip?
    --lr 0.01                                      | write optimizer.lr=0.01
    -lr 0.1                                        | write optimizer.lr=0.1
    lr 0.1                                         | write optimizer.lr=0.1
    --batch-size 32                                | write batch_size=32
    --epochs=5                                     | write epochs=5
    --wd 1e-4                                      | write reg=weight_decay reg.weights.weight_decay.strength=1e-4
    --arch resnet18 --lr 0.1 -j 4 --print-freq 10  | write model=resnet18 optimizer.lr=0.1 workers=4 log_every=10
    --betas 0.9 0.99                               | write optimizer=adam optimizer.betas=[0.9,0.99]
    --gpu                                          | write device=
    --amp                                          | write precision=bf16
    --resume DIR                                   | write resume=DIR
    --pretrained                                   | write model=timm model.pretrained=true
    label-smoothing=0.1                            | reg=label_smoothing reg.batch.label_smoothing.alpha=0.1
    drop_path=0.1                                  | reg=stochastic_depth reg.model.stochastic_depth.survival=0.9?
    mixup=0.2                                      | did you mean aug=mixup aug.mixup.alpha=0.2?
    model_ema=true                                 | did you mean averaging=ema?
    shuffle=False                                  | did you mean sampler=sequential?
    optimizer=torch.optim.AdamW                    | did you mean optimizer=adamw?
    loss=CrossEntropyLoss                          | did you mean loss=cross_entropy?
    act=nn.LeakyReLU                               | did you mean act=leaky_relu?
    sched=CosineAnnealingLR                        | did you mean sched=cosine?
    num_workers=4                                  | did you mean workers=4?

Lightning
    steps=1e3                                      | did you mean epochs=1000st?
    max_epochs=5                                   | did you mean epochs=5?
    --trainer.max_epochs 5                         | write epochs=5
    max_steps=100                                  | did you mean epochs=100st?
    accelerator=gpu                                | did you mean device=
    num_processes=2                                | did you mean devices=2?
    precision=16-mixed                             | did you mean precision=bf16?
    gradient_clip_val=0.5                          | did you mean reg=grad_clip reg.gradient.grad_clip.limit=0.5?
    accumulate_grad_batches=4                      | did you mean accumulate=4?
    check_val_every_n_epoch=2                      | did you mean eval_every=2ep?
    ckpt_path=last                                 | did you mean resume=auto?
    strategy=ddp                                   | devices=2 shares each batch among two

Hugging Face
    --learning_rate 5e-5                           | write optimizer.lr=5e-5
    num_train_epochs=3                             | did you mean epochs=3?
    per_device_train_batch_size=8                  | did you mean batch_size=8?
    gradient_accumulation_steps=4                  | did you mean accumulate=4?
    warmup_steps=500                               | did you mean warmup=linear warmup.length=500st?
    warmup_ratio=0.1                               | did you mean warmup=linear warmup.length=10%?
    lr_scheduler_type=cosine_with_restarts         | did you mean sched=cosine_restarts?
    optim=adamw_torch                              | did you mean optimizer=adamw?
    fp16=true                                      | did you mean precision=bf16?
    max_grad_norm=1.0                              | did you mean reg=grad_clip reg.gradient.grad_clip.limit=1.0?
    label_smoothing_factor=0.1                     | reg=label_smoothing reg.batch.label_smoothing.alpha=0.1?
    save_steps=500                                 | did you mean save_every=500st?
    early_stopping_patience=5                      | did you mean reg=early_stopping reg.stop.early_stopping.patience=5?
    output_dir=out                                 | did you mean output=out?
    report_to=wandb                                | tensorboard --logdir outputs

Names that no option has, and flags
    act=relu6                                      | choose one of elu, exponential
    optimizer=rprop                                | choose one of adadelta
    loss=mae                                       | choose one of auto, bce, cross_entropy
    aug=vertical_flip                              | choose one of affine
    model=unet                                     | choose one of alexnet
    xyzzy=1                                        | train --help lists the keys
    --hlp                                          | did you mean --help?
    --cfg                                          | write train --cfg job
    --shell-completion                             | train --shell-completion install=bash
    --resolve                                      | write train --cfg job --resolve
    --help optimzer                                | did you mean --help optimizer?
    --help optimizer=Adam                          | did you mean --help optimizer=adam?
    --help xyzzy                                   | train --help lists them all
"""
OTHER_TOOLS = ("Keras and scikit-learn", "PyTorch, timm, fastai", "Lightning", "Hugging Face")


def rows(section: str = "") -> list[tuple[str, str]]:
    """The rows of the table, or of one of its sections."""
    found, title = [], ""
    for line in filter(str.strip, TABLE.splitlines()):
        if " | " not in line:
            title = line
        elif section in ("", title):
            found.append(tuple(part.strip() for part in line.split(" | ")))
    return found


TYPED = [typed for typed, _ in rows()]
PROGRAM = """
import contextlib, io, json, shlex, sys, time
from trainer.cli import main
answers = []
for typed in json.loads(sys.stdin.read()):
    sys.argv, errors, code, before = ['train', *shlex.split(typed)], io.StringIO(), 0, time.process_time()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            main.main()
    except SystemExit as end:
        code = end.code
    except Exception as error:
        code = repr(error)
    heavy = sorted({'torch', 'torchvision', 'numpy', 'sklearn', 'matplotlib'} & {*sys.modules})
    answers.append([code, errors.getvalue(), time.process_time() - before, heavy])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[int, str, float, list[str]]]:
    """Answers of `train` to each row, in one process: exit code, standard error, seconds, heavy modules imported."""
    folder = tmp_path_factory.mktemp("mistakes")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(TYPED),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(overrides.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert [*folder.iterdir()] == []
    return dict(zip(TYPED, json.loads(done.stdout), strict=True))


def test_the_table_has_a_hundred_mistakes_and_forty_of_other_tools():
    assert len({*TYPED}) == len(TYPED) >= 100
    assert sum(len(rows(section)) for section in OTHER_TOOLS) >= 40


@pytest.mark.parametrize("typed, wanted", rows(), ids=TYPED)
def test_a_mistake_is_answered_with_what_was_meant(typed, wanted, answers):
    code, errors, seconds, heavy = answers[typed]
    assert code == 2 and errors.startswith("train: ") and "Traceback" not in errors
    assert len(errors.strip().splitlines()) <= 2
    said = errors.removeprefix(f"train: {' '.join(shlex.split(typed))}")  # what was typed is no answer
    assert all(part.strip() in said for part in wanted.split(" & ")), errors
    assert not heavy and seconds < 1  # of this process; Python and Hydra start in 0.3


def advised(message: str) -> list[list[str]]:
    """The command lines that an answer gives."""
    said = re.findall(r"(?:did you mean|write) (?:train )?(.+?)(?:\?|;| \(| for | in your |\n|$)", message)
    fixes = [fix for part in said for fix in part.split(" or ")]
    partial = r"\b[A-Z]{3,}\b|\.\.\.|eval"  # DIR and the like stand for something that only the user knows
    return [shlex.split(fix) for fix in fixes if not re.search(partial, fix)]


@pytest.mark.parametrize("typed", TYPED)
def test_an_answer_is_not_refused_in_its_turn(typed, answers, monkeypatch, tmp_path):
    """The suggestion for a mistake is accepted, beside the rest of the command."""
    monkeypatch.chdir(tmp_path)
    words, message = shlex.split(typed), answers[typed][1].removeprefix("train: ")
    for fix in advised(message):
        keys = {text.partition("=")[0] for text in fix}
        mistaken = {text for text in words if message.startswith(f"{text}: ") or f" {text}: " in message}
        rest = [text for text in words if re.match(r"\w[\w./]*=.", text) and text not in mistaken]
        flags = [text for text in words if text == "-m"]
        line = [*flags, *(text for text in rest if text.partition("=")[0] not in keys), *fix]
        help.show(line) if "--help" in line else overrides.check(line)


def test_most_answers_are_given_to_the_checker(answers):
    """The test above finds what to type in the answers."""
    assert sum(bool(advised(errors)) for _, errors, _, _ in answers.values()) >= 130


def refused(typed: list[str]) -> str:
    """The error that a command line ends with."""
    with pytest.raises(UserError) as error:
        overrides.check(typed)
    return str(error.value)


@pytest.mark.parametrize(
    "typed, canonical",
    [
        ("act=silu", "act=swish"),
        ("reg=none", "reg=[]"),
        ("aug=none", "aug=[]"),
        ("reg=[none]", "reg=[]"),
        ("-m reg=none,l2,[l1,dropout]", "reg=[],l2,[l1,dropout]"),
        ("-m act=relu,silu", "act=relu,swish"),
        ("experiment=none", "experiment=[]"),
        ("-m experiment=null,mnist_mlp", "experiment=[],mnist_mlp"),
    ],
)
def test_a_name_that_stands_for_another_works(typed, canonical, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert canonical in overrides.check(typed.split()).arguments


def test_the_last_of_two_values_counts_and_a_note_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert overrides.check(["epochs=3", "epochs=5", "seed=1", "seed=1"]).arguments
    assert capsys.readouterr().err == "train: note: epochs=3 is replaced by epochs=5\n"


@pytest.mark.parametrize("path, wanted", [("./new", "write data.root=new"), ("new.csv", "write data.path=new.csv")])
def test_a_path_behind_the_runs_of_an_evaluation_is_that_of_its_data(path, wanted, monkeypatch, tmp_path):
    """The run says how it is read: data=image_folder beside it would be refused."""
    monkeypatch.chdir(tmp_path)
    assert refused(["task=evaluate", "runs=[outputs/a]", path]).endswith(wanted)


def test_a_path_is_answered_with_a_data_set_that_exists(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for typed in ("data=pictures", "pictures", "--data pictures"):
        assert advised(refused(typed.split())) == [["data=image_folder", "data.root=pictures"]]
    monkeypatch.setenv("HOME", "/home/me")
    assert "data.root=/home/me/x" in refused(["data=~/x"])
    table = "data=csv data.path=x.csv data.target=COLUMN" if "csv" in catalog.options("data") else "data=image_folder"
    assert table in refused(["data=x.csv"])


def test_a_tilde_is_the_home_folder_in_every_value(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    typed = ["output=~/out", "data=image_folder", "data.root=~", "runs=[~/a,~/b]"]
    wanted = {"output=/home/me/out", "data.root=/home/me", "runs=[/home/me/a,/home/me/b]"}
    assert wanted < {*overrides.check(typed).arguments}
    swept = overrides.check(["-m", "data=image_folder", "data.root=~/a,~/b"]).arguments
    assert "data.root=/home/me/a,/home/me/b" in swept


def test_the_directory_of_a_run_is_resumed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "overrides.txt").touch()
    assert "write resume=run" in refused(["run"])


def test_a_device_without_a_driver_is_refused_before_torch_is_imported(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trainer.base.driver.has_cuda", lambda: False)
    assert "try device=auto" in refused(["device=cuda"]) and "write device=auto" in refused(["--gpu"])
    assert "try device=auto" in refused(["-m", "device=cuda", "seed=0,1"])
    monkeypatch.setattr(launchers, "LOCAL", ())  # the jobs run on another machine
    assert overrides.check(["-m", "device=cuda", "seed=0,1"]).arguments
    monkeypatch.setattr("trainer.base.driver.has_cuda", lambda: True)
    assert overrides.check(["device=cuda"]).arguments and "write device=cuda" in refused(["--gpu"])


def test_an_answer_keeps_the_case_of_a_value(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape("did you mean output=My/Runs?")):
        overrides.check(["output_dir=My/Runs"])
