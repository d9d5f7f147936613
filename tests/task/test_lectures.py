"""Commands of students who follow the lectures, shortened, and what must come. A row has its course and number."""

import json
import re
import shlex

import pytest
from conftest import command

FEW = "data.train_samples=128 epochs=1"
ROWS = [  # row, command line, exit code, texts that must come; * stands for anything
    ("CSP 1", f"optimizer=gd batch_size=64 {FEW}", 0, ["make it stochastic (SGD)*batch_size=full"]),
    (
        "CSP 1",
        "-m optimizer=gd,sgd batch_size=full,64 data.train_samples=128 epochs=1",
        0,
        ["final val accuracy steps seeds", "make it stochastic (SGD)*(optimizer=gd batch_size=64)"],
    ),
    ("CSP 2", f"optimizer=momentum optimizer.anneal=20 {FEW}", 0, ["val loss"]),
    ("CSP 3", f"-m optimizer=sgd,momentum,rmsprop,adam {FEW}", 0, ["ranking"]),
    ("CSP 4", f"-m optimizer=lookahead,radam,ranger {FEW}", 0, ["ranking"]),
    (
        "CSP 5",
        f"-m preprocess=none,center,standardize act=sigmoid model=mlp optimizer.lr=1e-9 init=zeros {FEW}",
        0,
        ["none has learnt: no val accuracy is better than always the same class", "note: act=sigmoid*(all 3 runs)"],
    ),
    ("CSP 6", f"norm=batch {FEW}", 0, ["val loss"]),
    (
        "CSP 7",
        f"-m 'reg=[],[l2],[l1],[dropout]' model=mlp {FEW}",
        0,
        ["[1/4] reg-none: finished*[2/4] reg-l2: finished"],
    ),
    (
        "CSP 8",
        f"reg=l2 reg.loss.l2.strength=0.1 model=mlp {FEW}",
        0,
        ["outweighs the data; try reg.loss.l2.strength=1e-4"],
    ),
    ("CSP 9", "reg=early_stopping reg.stop.early_stopping.patience=2 epochs=60 model=mlp", 0, ["stopped after"]),
    ("CSP 10", "task=preview sched=inverse sched.rate=0.5", 0, ["Learning rate of"]),
    ("CSP 10", f"-m sched=constant,step,inverse,exponential {FEW}", 0, ["ranking"]),
    ("CSP 11", "-m optimizer.lr=1e-1,1e-3 data.train_samples=200 epochs=1", 0, ["ranking"]),
    ("CSP 12", "task=preview aug=mixup", 0, ["preview-images.png"]),
    ("CSP 13", "init=zeros model=mlp epochs=3", 0, ["Units that begin alike stay alike"]),
    ("CSP 14", "task=check data=iris", 0, ["gradients against differences*20 checks passed"]),
    ("CSP 14", "task=gradcheck data=iris", 2, ["did you mean task=check?"]),
    ("cs231n 3", "task=stats model=deep_mlp model.width=64 act=tanh init=small_normal", 0, ["activations*saved"]),
    ("CSP 14", "task=ensemble", 2, ["task=ensemble needs runs; write runs="]),
    ("cs231n 2", f"-m preprocess=none,center,whiten_zca model=mlp {FEW}", 0, ["ranking"]),
    ("cs231n 4", f"-m norm=none,batch,layer,instance,group {FEW}", 0, ["ranking"]),
    (
        "cs231n 6",
        "sched=multistep sched.milestones=[30ep,60ep,90ep] data.train_samples=128 epochs=2",
        0,
        ["30ep, 60ep, 90ep never come; try sched.milestones=[50%,75%], epochs=91"],
    ),
    (
        "cs231n 7",
        "sched=cosine warmup=linear warmup.length=5000st data.train_samples=128 epochs=2",
        0,
        ["never reaches optimizer.lr; try warmup.length=5%"],
    ),
    (
        "cs231n 7",
        "task=preview sched=cosine warmup=linear warmup.length=5000st epochs=3",
        0,
        ["never reaches optimizer.lr"],
    ),
    ("cs231n 8", f"batch_size=128 scale_lr=linear {FEW}", 0, ["lr 0.025"]),
    (
        "cs231n 9",
        f"optimizer=lbfgs model=linear {FEW}",
        0,
        ["training loss is that before its step, its validation loss"],
    ),
    ("cs231n 9", "optimizer=newton data=gaussians model=linear epochs=1", 0, ["val loss"]),
    ("cs231n 9", "optimizer=bfgs data=iris model=linear epochs=1", 0, ["val loss"]),
    ("cs231n 10", f"reg=dropout model=mlp tta=mc_dropout {FEW}", 0, ["acts on the test split alone"]),
    ("cs231n 10", f"pool=fractional tta=fractional {FEW}", 0, ["acts on the test split alone"]),
    ("cs231n 12", "epochs=0", 0, ["step 0  val loss *(log 10 = 2.3026)"]),
    ("cs231n 13", "data.train_samples=64 epochs=3 model=mlp", 0, ["train_samples=64"]),
    ("cs231n 14", "epochs=100st model=linear", 0, ["after 100 steps"]),
    ("cs231n 14", "steps=100", 2, ["epochs=100st"]),
    ("cs231n 14", "max_steps=100", 2, ["epochs=100st"]),
    ("cs231n 15", f"-m optimizer.lr=1e-1,1e-3 reg=l2 reg.loss.l2.strength=1e-4,0 model=mlp {FEW}", 0, ["ranking"]),
    (
        "cs231n 12",
        "task=check model=mlp task.steps=100",
        0,
        ["pass initial loss*outputs of 0: 2.3026 = log 10", "pass overfit small sample*accuracy on 320"],
    ),
    ("cs231n 17", f"loss=hinge reg=l2 model=linear {FEW}", 0, ["val loss"]),
    (
        "SDU 2",
        "bias=marginal data=gaussians data.imbalance=50 epochs=1",
        0,
        ["step 0  val loss *entropy of the labels"],
    ),
    (
        "SDU 2",
        "-m bias=zero,marginal data=gaussians data.imbalance=50 epochs=1",
        0,
        ["step 0 val loss", "val loss of the best constant answer: *(entropy of the labels)"],
    ),
    (
        "SDU 3",
        "init=normal init.std=1 model=deep_mlp data.train_samples=128 epochs=2",
        5,
        ["not finite*first in layer"],
    ),
    ("SDU 5", "norm=batch model=linear_chain model.width=1 model.depth=5 data=polynomial epochs=2", 0, ["r2"]),
    ("SDU 6", f"norm=batch norm.eps=1e-8 {FEW}", 0, ["val loss"]),
    (
        "SDU 4",
        "init=torch model=linear_chain model.width=1 model.depth=10 data=polynomial epochs=3",
        0,
        ["signals fade to"],
    ),
    ("SDU 8", f"pretrain=greedy model=mlp pretrain.length=1ep {FEW}", 0, ["pretrain 2 of 2*best val loss"]),
    ("SDU 8", f"pretrain=transfer {FEW}", 2, ["pretrain.run"]),
    ("SDU 9", f"data.half=a model=cnn {FEW}", 0, ["val loss"]),
    ("SDU 11", "model=thin_deep norm=batch epochs=1", 0, ["running averages, which hold 12% of their initial values"]),
    ("SDU 12", "model=torchvision model.name=resnet18 model.pretrained=true", 3, ["resnet18"]),
    ("SDU 13", f"bias=constant bias.value=0.1 model=mlp {FEW}", 0, ["val loss"]),
    ("PST 7", "init=normal init.std=0.01 act=tanh model=deep_mlp model.width=64 epochs=3", 0, ["signals fade to"]),
    (
        "PST 11",
        "bias=constant bias.value=-10 model=mlp init=he_normal epochs=3",
        0,
        ["100% of the units of activation 1*off"],
    ),
    ("PST 1", "model.hidden=[1] model=mlp data=spirals epochs=2", 0, ["val loss"]),
    ("PST 2", f"act=exponential model=mlp {FEW}", None, []),
    ("PST 3", "act=softmax", 2, ["loss=cross_entropy"]),
    ("PST 4", f"act=silu model=mlp {FEW}", 0, ["swish"]),
    (
        "PST 6",
        f"norm=batch norm.momentum=0.99 norm.eps=0.001 model=mlp {FEW}",
        0,
        ["Keras's 0.99 is norm.momentum=0.01"],
    ),
    ("PST 8", "init=glorot_normal", 2, ["init=xavier_normal"]),
    ("PST 8", "init=glorot_uniform", 2, ["init=xavier_uniform"]),
    ("PST 8", "init=kaiming_normal", 2, ["init=he_normal"]),
    ("PST 8", "init=random_normal", 2, ["init=normal"]),
    ("PST 9", f"init=he_normal act=tanh model=deep_mlp {FEW}", 0, ["init=xavier_normal"]),
    ("PST 10", f"-m optimizer=adadelta,ftrl,nadam model=mlp {FEW}", 0, ["ranking"]),
    ("PST 14", "kernel_initializer=he_normal", 2, ["init=he_normal"]),
    ("PST 14", f"optimizer=SGD {FEW}", 2, ["optimizer=sgd"]),
    ("PST 14", "model.units=128 model=mlp", 2, ["model.hidden=[128]"]),
    ("PST 14", "model=mlp model.layers=6", 2, ["model.hidden"]),
    ("CU 1", "optimizer=gd optimizer.lr=0.1 data=polynomial model=linear epochs=5", 0, ["val loss"]),
    (
        "CU 2",
        "batch_size=1 optimizer=sgd optimizer.lr=1 data=gaussians data.classes=2 model=linear loss=hinge "
        "loss.margin=0 data.train_samples=64 epochs=1",
        0,
        ["val loss"],
    ),
    ("CU 3", "-m batch_size=1,32,full data=iris epochs=1", 0, [" steps *val has * samples: differences under"]),
    ("CU 4", "task=preview sched=exponential warmup=linear warmup.length=3ep", 0, ["Learning rate of"]),
    ("CU 6", "data=breast_cancer epochs=1", 0, ["bce"]),
    ("CU 8", f"optimizer=lamb batch_size=128 {FEW}", 0, ["val loss"]),
    (
        "CU 9",
        "data=polynomial data.samples=100 data.noise=0.5 model=mlp optimizer=adam reg=early_stopping epochs=200",
        0,
        ["stopped after"],
    ),
    ("CU 10", "data=polynomial preprocess=polynomial preprocess.degree=15 model=linear reg=l1 epochs=2", 0, ["r2"]),
    ("CU 14", "task=claims task.only=[Y12,Y19]", 0, ["2 of 2 claims hold"]),
    (
        "CU 12",
        f"reg=label_smoothing model=mlp {FEW}",
        0,
        ["that of smoothed labels, the validation loss that of plain"],
    ),
]


@pytest.mark.parametrize(("row", "line", "code", "texts"), ROWS, ids=[f"{row}: {line}" for row, line, _, _ in ROWS])
def test_a_command_of_the_lectures_does_what_it_must(row, line, code, texts, tmp_path):
    found, out, errors = command(tmp_path, *shlex.split(line), *(() if "=" not in line else ("threads=1",)))
    said = " ".join(f"{out}\n{errors}".split())
    assert found in ((code,) if code is not None else (0, 5)), said
    for text in texts:
        pattern = ".*".join(re.escape(part) for part in " ".join(text.split()).split("*"))
        assert re.search(pattern, said), f"{text}\n{out}{errors}"


def best_accuracies(folder):
    """Return the best validation accuracy of each job of the only sweep, by the name of its directory."""
    summaries = folder.glob("outputs/sweeps/*/*/*/summary.json")
    best = {path.parent.name: json.loads(path.read_text())["best"] for path in summaries}
    return {name: found["accuracy"] if found else 0.0 for name, found in best.items()}  # one that diverged has none


def test_relu_and_its_kin_train_deep_nets_and_sigmoid_does_not(tmp_path):
    """cs231n 1 and CU 7: what was against the slides with torch's own initialisation."""
    code, _, errors = command(
        tmp_path, "-m", "act=sigmoid,relu,leaky_relu,swish", "model=deep_mlp", "epochs=3", "threads=1"
    )
    assert code == 0, errors
    found = best_accuracies(tmp_path)
    (sigmoid,) = (value for name, value in found.items() if "sigmoid" in name)
    assert sigmoid < 0.5 and sum(value > 0.8 for value in found.values()) == 3, found


def test_sum_and_mean_differ_by_the_number_of_outputs(tmp_path):
    """CU 5."""
    words = ("data=regression", "data.features=3", "data.outputs=2", "epochs=0", "threads=1")
    losses = []
    for reduction in ("mean", "sum"):
        _, out, _ = command(tmp_path, *words, f"loss.reduction={reduction}")
        losses.append(float(re.search(r"step 0  val loss ([\d.]+)", out)[1]))
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-3)  # four decimals


def test_batch_norm_trains_with_rates_and_weights_that_fail_without_it(tmp_path):
    """cs231n and PST: higher learning rates, and less care with the initialisation."""
    words = ("-m", "norm=none,batch", "model=deep_mlp", "model.width=64", "epochs=3", "threads=1")
    for folder, changed in (("rate", "optimizer.lr=1"), ("init", "init=small_normal")):
        (tmp_path / folder).mkdir()
        command(tmp_path / folder, *words, changed)
        found = best_accuracies(tmp_path / folder)
        (with_norm,) = (value for name, value in found.items() if "batch" in name)
        assert with_norm > 0.6, found
        assert all(value < 0.3 for name, value in found.items() if "batch" not in name), found
