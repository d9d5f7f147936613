"""Train healthy and broken runs, and compare their first verdicts with what is known of them.

    python scripts/diagnosis.py                   # both tables, and whether the advice repairs the broken ones
    python scripts/diagnosis.py --only rate_x100,sums --verbose
    python scripts/diagnosis.py --mnist DIR --folder DIR    # with MNIST, and with a folder of photographs

    python scripts/diagnosis.py --margins         # and how far both kinds of runs are from each threshold

A healthy run must have no problem. A broken one must have one of its codes first, and the command that the verdict
gives must score higher, by two standard errors. The exit code is 0 if the numbers below are reached.
"""

import argparse
import json
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import children
from margins import keep_figures, print_margins

from trainer.engine import judgement

LIMIT = 600.0  # seconds of a run
COMMON = ("threads=1", "device=cpu", "hydra.run.dir=run")
NAMED, REPAIRED = 0.9, 0.8  # fractions of the broken runs to be reached
OPTIMIZERS = (
    "adadelta adagrad adam adam_uncorrected adamax adamw ftrl kfac lamb lars lion lookahead momentum "
    "momentum_velocity muon nadam nesterov radam ranger rmsprop sam schedule_free sgd shampoo soap"
).split()
FULL_BATCH = ("bfgs", "gd", "lbfgs", "newton")

HEALTHY = {
    "digits cnn": "epochs=10",
    "digits mlp adam": "model=mlp optimizer=adam epochs=15",
    "digits mlp batch norm": "model=mlp norm=batch epochs=10",
    "wine": "data=wine epochs=30",
    "iris": "data=iris epochs=40",
    "breast_cancer cosine": "data=breast_cancer sched=cosine epochs=20",
    "tanh xavier": "model=mlp act=tanh init=xavier_normal epochs=15",
    "dropout cosine": "model=mlp reg=dropout sched=cosine epochs=30",
    "spirals": "data=spirals epochs=60 optimizer=adam optimizer.lr=0.01",
    "deep_mlp he": "model=deep_mlp init=he_normal epochs=15",
    "cnn one_cycle": "sched=one_cycle epochs=10",
    "linear": "model=linear epochs=20",
    "diabetes": "data=diabetes model=mlp model.hidden=[16] epochs=40 optimizer.lr=0.01",
    "gaussians": "data=gaussians epochs=20",
    "regression": "data=regression epochs=40",
    "lenet": "model=lenet epochs=12",
    "resnet20 batch norm": "model=resnet20 norm=batch epochs=6",
    "label smoothing, mixup": "reg=[label_smoothing,l2] aug=[mixup] epochs=25",
    "crop, cutout, ema": "aug=[crop,cutout] averaging=ema epochs=20",
    "warm-up, clipping": "warmup=linear reg=[grad_clip] model=mlp epochs=15",
    **{f"optimizer {name}": f"model=mlp optimizer={name} epochs=20" for name in OPTIMIZERS},
    **{
        f"optimizer {name}": f"data=wine model=linear batch_size=full optimizer={name} epochs=60" for name in FULL_BATCH
    },
}
WITH_IMAGES = {
    "mnist": "data=mnist data.root=ROOT data.train_samples=6000 model=mlp epochs=6",
    "folder": "data=image_folder data.root=ROOT data.size=32 data.train_samples=2000 epochs=6",
}
MLP = "model=mlp model.hidden=[128,128]"
OWN = "allow=[faults]"


@dataclass(frozen=True)
class Broken:
    """A run with one known fault.

    Args:
        words: its overrides.
        codes: of which one must be that of the first verdict.
        repairs: whether a command can repair it.
    """

    words: str
    codes: Sequence[str]
    repairs: bool = True


BROKEN = {
    "rate_x100": Broken(f"{MLP} optimizer.lr=5 epochs=15", ("rate_too_high",)),
    "rate_thousandth": Broken(f"{MLP} optimizer.lr=5e-5 epochs=15", ("rate_too_low",)),
    "zeros": Broken(f"{MLP} init=zeros epochs=15", ("symmetric_init",)),
    "small_tanh": Broken("model=deep_mlp model.depth=8 act=tanh init=small_normal epochs=15", ("init_too_small",)),
    "unit_normal": Broken("model=deep_mlp init=normal init.std=1 epochs=10", ("init_too_large",)),
    "sorted": Broken(
        "data._target_=faults.Sorted " + OWN + " model=mlp sampler=sequential epochs=10", ("not_shuffled",)
    ),
    "early_decay": Broken(
        f"{MLP} optimizer.lr=0.01 sched=step sched.length=2ep sched.gamma=0.001 epochs=15", ("decayed_too_early",)
    ),
    "few_samples": Broken(f"{MLP} data.train_samples=200 epochs=60", ("overfitting",)),
    "l2_of_1": Broken(f"{MLP} reg=l2 reg.loss.l2.strength=1 epochs=15", ("penalty_outweighs",)),
    "linear_spirals": Broken("data=spirals model=linear epochs=40", ("underfitting",)),
    "bias_minus_10": Broken(f"{MLP} bias=constant bias.value=-10 epochs=10", ("dead_units",)),
    "shuffled_labels": Broken(
        f"data._target_=faults.Shuffled {OWN} {MLP} epochs=60", ("labels_without_signal",), repairs=False
    ),
    "long_warmup": Broken(f"{MLP} warmup=linear warmup.length=5000st epochs=5", ("warmup_never_ends",)),
    "sums": Broken(f"loss._target_=faults.Sum {OWN} {MLP} epochs=10", ("loss_depends_on_batch",), repairs=False),
    "frozen": Broken(f"model=linear model._target_=faults.Frozen {OWN} epochs=10", ("frozen_layer",), repairs=False),
    "imbalance": Broken("data=gaussians data.imbalance=50 data.separation=0.8 epochs=20", ("class_imbalance",)),
    "uncentred_sigmoid": Broken(
        f"{MLP} act=sigmoid preprocess=none epochs=3", ("uncentred_inputs", "vanishing_gradients")
    ),
    "exponential": Broken(f"{MLP} act=exponential epochs=5", ("exploding_activations",)),
    "dropout_0.9": Broken(f"{MLP} reg=dropout reg.layer.dropout.p=0.9 epochs=10", ("dropping_too_much",)),
    "full_batch": Broken(f"{MLP} batch_size=full epochs=30", ("too_few_steps",)),
    "young_averages": Broken("model=thin_deep norm=batch epochs=1", ("young_averages",)),
    "clip": Broken(f"{MLP} reg=grad_clip reg.gradient.grad_clip.limit=1e-4 epochs=10", ("clipping_most_steps",)),
    "momentum_0.999": Broken(f"{MLP} optimizer.momentum=0.999 epochs=10", ("momentum_too_high",)),
    "adam_eps_1": Broken(f"{MLP} optimizer=adam optimizer.eps=1 epochs=10", ("rate_too_low",)),
    "smoothing_0.9": Broken(
        f"{MLP} reg=label_smoothing reg.batch.label_smoothing.alpha=0.9 epochs=10", ("soft_labels",)
    ),
    "noise": Broken(f"{MLP} aug=noise aug.noise.std=10 epochs=10", ("augmentation_too_strong",)),
    "scale_1e4": Broken(f"preprocess._target_=faults.Scale {OWN} {MLP} epochs=5", ("unscaled_inputs",)),
    "constant": Broken(f"data=wine data._target_=faults.Constant {OWN} epochs=20", ("constant_features",), False),
    "duplicates": Broken(
        f"data._target_=faults.Twice {OWN} {MLP} epochs=15", ("duplicate_classes", "confused_classes"), repairs=False
    ),
    "uphill": Broken(
        f"optimizer=sgd optimizer._target_=faults.Uphill {OWN} {MLP} sched=constant epochs=10",
        ("uphill",),
        repairs=False,
    ),
    "cut": Broken(f"model=linear model._target_=faults.Cut {OWN} epochs=15", ("class_never_predicted",), repairs=False),
    "impatient": Broken(
        "model=mlp optimizer=adam reg=early_stopping reg.stop.early_stopping.patience=1 epochs=60",
        ("stopped_too_early",),
        repairs=False,
    ),
    "too_short": Broken(
        "optimizer=sgd optimizer.lr=0.01 sched=constant epochs=10", ("still_improving",), repairs=False
    ),
    "slowing": Broken(
        f"data=iris model=linear model._target_=faults.Slowing {OWN} epochs=300st log_every=5 eval_every=50st",
        ("throughput_dropped",),
        repairs=False,
    ),
    "one_unit": Broken("model=mlp model.hidden=[1] epochs=60", ("underfitting",)),
}
FAULTS = '''
import time
from dataclasses import dataclass, replace
import torch
from torch import nn
from trainer.data.sklearn import Digits, Wine
from trainer.data.splits import Split

def changed(data, train=None, classes=None, targets=None):
    return replace(data, train=train or data.train, classes=classes or data.classes)

class Sorted(Digits):
    """The digits, sorted by class."""
    def load(self):
        data = super().load()
        order = data.train.targets.argmax(1).argsort(stable=True)
        return changed(data, replace(data.train, images=data.train.images[order], targets=data.train.targets[order]))

def permuted(split, seed):
    order = torch.randperm(len(split.targets), generator=torch.Generator().manual_seed(seed))
    return replace(split, targets=split.targets[order])

class Shuffled(Digits):
    """The digits with labels that have nothing to do with them."""
    def load(self):
        data = super().load()
        return replace(data, train=permuted(data.train, 0), val=permuted(data.val, 1), test=permuted(data.test, 2))

def halved(split):
    """Half of the eights are an eleventh class."""
    targets = torch.cat([split.targets, torch.zeros(len(split.targets), 1)], 1)
    rows = (targets[:, 8] == 1).nonzero().flatten()[::2]
    targets[rows, 8], targets[rows, 10] = 0.0, 1.0
    return replace(split, targets=targets)

class Twice(Digits):
    def load(self):
        data = super().load()
        parts = {name: halved(getattr(data, name)) for name in ("train", "val", "test")}
        return replace(data, classes=(*data.classes, f" {data.classes[8]}"), **parts)

class Constant(Wine):
    """The wines with a feature of one value."""
    def load(self):
        data = super().load()
        wider = lambda split: replace(split, images=torch.cat([split.images, torch.full((len(split), 1), 7.0)], 1))
        return replace(data, train=wider(data.train), val=wider(data.val), test=wider(data.test))

class Sum:
    """The cross-entropy, summed over the batch."""
    def __call__(self, outputs, targets):
        losses = nn.functional.cross_entropy(outputs, targets, reduction="none")
        return losses * len(losses)

class Frozen(nn.Module):
    """A network whose first layer is detached."""
    def __init__(self, input_shape, outputs, kit):
        super().__init__()
        size = torch.Size(input_shape).numel()
        self.first, self.second, self.third = nn.Linear(size, 16), nn.Linear(16, 64), nn.Linear(64, outputs)
    def forward(self, x):
        return self.third(self.second(self.first(x.flatten(1)).relu().detach()).relu())

class Uphill(torch.optim.SGD):
    """Gradient ascent."""
    def __init__(self, params, lr=0.1, fused=True):
        super().__init__(params, lr=0.2 * lr, fused=fused, maximize=True)

class Cut(nn.Module):
    """A network that ends in a ReLU, and whose output for the last class begins below 0."""
    def __init__(self, input_shape, outputs, kit):
        super().__init__()
        size = torch.Size(input_shape).numel()
        self.first, self.second = nn.Linear(size, 64), nn.Linear(64, outputs)
    def forward(self, x):
        outputs = self.second(self.first(x.flatten(1)).relu())
        return torch.cat([outputs[:, :-1], outputs[:, -1:] - 9], 1).relu()

class Slowing(nn.Module):
    """A linear network that computes something beside it for 0.2 s, from its 150th step on."""
    def __init__(self, input_shape, outputs, kit):
        super().__init__()
        self.linear, self.steps = nn.Linear(torch.Size(input_shape).numel(), outputs), 0
    def forward(self, x):
        self.steps += self.training
        end = time.perf_counter() + 0.2 * (self.training and self.steps > 150)
        while time.perf_counter() < end:
            torch.mm(SQUARE, SQUARE)
        return self.linear(x.flatten(1))

SQUARE = torch.ones(64, 64)

class Scale:
    """Values in [0, 1], times ten thousand."""
    def fit(self, images):
        return lambda values: (values.float() / 255 if values.dtype == torch.uint8 else values.float()) * 1e4
'''


def prepare(folder: Path) -> None:
    """Write the module that broken runs use, and import what a run needs."""
    (folder / "faults.py").write_text(FAULTS)
    sys.path.insert(0, str(folder))
    children.prepare(folder / "imports")


def train(folder: Path, words: Sequence[str]) -> tuple[dict, str]:
    """Train in a new folder and return the summary, with the figures of its evidence, and what was printed."""
    place = Path(tempfile.mkdtemp(dir=folder))
    ended = children.run(place, *words, *COMMON, limit=LIMIT)
    path, figures = place / "run" / "summary.json", place / "figures.json"
    summary = json.loads(path.read_text()) if path.exists() else {"verdicts": [], "status": "none"}
    return {**summary, "figures": json.loads(figures.read_text()) if figures.exists() else {}}, ended.text


def score(summary: dict) -> float:
    """Return the test score of a run; 0 for one without."""
    test = summary.get("test") or {}
    return test.get("accuracy", test.get("r2", 0.0)) or 0.0


def error_of(summary: dict) -> float:
    """Return two standard errors of a test accuracy."""
    p, count = min(max(score(summary), 0.0), 1.0), (summary.get("samples") or {}).get("test", 1)
    return 2 * (max(p * (1 - p), 0.0) / max(count, 1)) ** 0.5


def healthy(folder: Path, runs: dict[str, str], verbose: bool, figures: list[dict]) -> int:
    """Train the healthy runs; print the table, and return how many are accused."""
    accused = 0
    print(f"{'healthy run':28} {'score':>7}  verdicts")
    for name, words in runs.items():
        summary, text = train(folder, words.split())
        codes = [f"{each['code']} ({each['level']})" for each in summary["verdicts"]]
        figures.append(summary["figures"])
        wrong = any(each["level"] == "problem" for each in summary["verdicts"])
        accused += wrong or summary["status"] not in ("finished", "stopped")
        print(f"{name:28} {score(summary):7.3f}  {', '.join(codes)}{'  <- ACCUSED' if wrong else ''}", flush=True)
        if verbose or summary["status"] == "none":
            print(text[-1500:])
    return accused


def broken(
    folder: Path, runs: dict[str, Broken], verbose: bool, repair: bool, figures: dict[str, list[dict]]
) -> tuple[int, int, int]:
    """Train the broken runs; print the table, and return how many are named, and repaired, of so many that can be."""
    named = repaired = possible = 0
    print(f"{'broken run':20} {'score':>7}  {'first verdict':26} {'repaired':>8}  command")
    for name, case in runs.items():
        summary, text = train(folder, case.words.split())
        codes = [each["code"] for each in summary["verdicts"]]
        right = bool(codes) and codes[0] in case.codes
        figures[codes[0] if codes else ""].append(summary["figures"])
        named += right
        possible += case.repairs
        after, command = "", summary["verdicts"][0]["command"] if codes else ""
        if repair and command and case.repairs:
            better, more = train(folder, [word for word in shlex.split(command)[1:] if word not in COMMON])
            lifted = score(better) > score(summary) + error_of(summary)
            repaired += lifted
            after = f"{score(better):.3f}{'' if lifted else ' no'}"
            text += more[-600:] if not lifted and verbose else ""
        mark = "" if right else f"  <- NOT {'/'.join(case.codes)}"
        print(f"{name:20} {score(summary):7.3f}  {', '.join(codes):26} {after:>8}  {command}{mark}", flush=True)
        if verbose:
            print(text[-1800:])
    return named, repaired, possible


def chosen(runs: dict, only: str) -> dict:
    """Return those of some runs whose names are asked for, all without."""
    return {name: run for name, run in runs.items() if not only or name in only.split(",")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of runs, separated by commas")
    parser.add_argument("--mnist", help="a folder with MNIST, as torchvision reads it")
    parser.add_argument("--folder", help="a folder of images")
    parser.add_argument("--without-repair", action="store_true", help="do not try the commands of the verdicts")
    parser.add_argument("--margins", action="store_true", help="print how far the runs are from each threshold")
    parser.add_argument("--verbose", action="store_true", help="print the end of every run")
    arguments = parser.parse_args()
    roots = {"mnist": arguments.mnist, "folder": arguments.folder}
    images = {name: run.replace("ROOT", roots[name]) for name, run in WITH_IMAGES.items() if roots[name]}
    with tempfile.TemporaryDirectory(dir=children.scratch()) as name:
        prepare(Path(name))
        judgement.judge = keep_figures  # in the forked runs
        of_ill, of_well = defaultdict(list), []
        ill = chosen(BROKEN, arguments.only)
        named, repaired, possible = broken(Path(name), ill, arguments.verbose, not arguments.without_repair, of_ill)
        print(f"named by the first verdict: {named} of {len(ill)}; repaired by its command: {repaired} of {possible}\n")
        well = chosen({**HEALTHY, **images}, arguments.only)
        accused = healthy(Path(name), well, arguments.verbose, of_well)
        print(f"accused: {accused} of {len(well)}")
        if arguments.margins:
            print_margins(of_well, of_ill)
    missed = named < NAMED * len(ill) or (not arguments.without_repair and repaired < REPAIRED * possible)
    sys.exit(bool(accused or missed))
