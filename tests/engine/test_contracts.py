"""Classes of the user's own: each works, or gets one line with its class, its file and the call of its group."""

import pytest
from conftest import only_run

from trainer.rundir.reader import read_summary

SMALL = ("data=iris", "model=linear", "epochs=1", "threads=1", "device=cpu")
HEAD = """
import numpy as np
import torch
from torch import nn
from trainer.data.splits import Split, Splits

def splits(targets, images=None):
    split = Split(torch.rand(40, 4) if images is None else images, targets)
    return split
"""
OPTIMIZER = """
class Mine(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})
"""
NET = """
class Mine(nn.Module):
    def __init__({}):
        super().__init__()
        self.layer = nn.Linear({}, {})
    def forward(self, x):
        return self.layer(x)
"""

WRONG = {
    "optimizer that ignores the closure": (
        "optimizer",
        OPTIMIZER
        + """\
    def step(self, closure=None):
        return None
""",
        ["does not call the closure in its step", "step(closure)", "torch.enable_grad()"],
    ),
    "optimizer without closure": (
        "optimizer",
        OPTIMIZER
        + """\
    def step(self):
        return None
""",
        ["TypeError", "step(closure)"],
    ),
    "optimizer that calls it without gradients": (
        "optimizer",
        OPTIMIZER
        + """\
    @torch.no_grad()
    def step(self, closure):
        return closure()
""",
        ["without gradients", "with torch.enable_grad(): loss = closure()"],
    ),
    "optimizer without lr": (
        "optimizer",
        """
class Mine(torch.optim.Optimizer):
    def __init__(self, params, rate=0.1):
        super().__init__(params, {"rate": rate})
""",
        ["without lr", "super().__init__(params, {'lr': lr})"],
    ),
    "optimizer without params": (
        "optimizer",
        """
class Mine(torch.optim.Optimizer):
    def __init__(self, *, lr=0.1):
        super().__init__([], {"lr": lr})
""",
        ["takes (*, lr=0.1)", "def __init__(self, params)"],
    ),
    "model of num_classes without layers": (
        "model",
        "class Mine(nn.Module):\n    def __init__(self, num_classes):\n        super().__init__()\n",
        ["raises NotImplementedError", "forward(images) -> outputs (B, K)"],
    ),
    "model of nothing, for other classes": (
        "model",
        NET.format("self", 4, 10),
        ["gives outputs of shape (2, 10) where the targets are (2, 3)"],
    ),
    "model of unknown names": (
        "model",
        "class Mine(nn.Module):\n    def __init__(self, a, b):\n        super().__init__()\n",
        ["takes (a, b)", "def __init__(self, input_shape, outputs, kit)"],
    ),
    "model with a known name and an unknown one": (
        "model",
        NET.format("self, num_classes, depth", 4, "num_classes"),
        ["missing a required argument: 'depth'", "give it in its YAML"],
    ),
    "model with a width": (
        "model",
        "class Mine(nn.Module):\n    def __init__(self, input_shape, outputs, kit, width):\n        pass\n",
        ["missing a required argument: 'width'", "give it in its YAML"],
    ),
    "act with a slope": (
        "act",
        "class Mine(nn.Module):\n    def __init__(self, slope):\n        super().__init__()\n",
        ["missing a required argument: 'slope'", "give it in its YAML"],
    ),
    "model of anything": (
        "model",
        """
class Mine(nn.Module):
    def __init__(self, *args):
        super().__init__()
        self.layer = nn.Linear(*args)
    def forward(self, x):
        return self.layer(x)
""",
        ["raises ", "Error"],
    ),
    "model without forward": (
        "model",
        "class Mine(nn.Module):\n    def __init__(self, *args):\n        super().__init__()\n",
        ["forward(images) -> outputs (B, K)"],
    ),
    "model that returns a tuple": (
        "model",
        """
class Mine(nn.Module):
    def __init__(self, input_shape, outputs, kit):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], outputs)
    def forward(self, x):
        return self.layer(x), x
""",
        ["returns a tuple", "forward(images) -> outputs (B, K), a tensor"],
    ),
    "model that returns a dict": (
        "model",
        """
class Mine(nn.Module):
    def __init__(self, input_shape, outputs, kit):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], outputs)
    def forward(self, x):
        return {"logits": self.layer(x)}
""",
        ["returns a dict", "forward(images) -> outputs (B, K), a tensor"],
    ),
    "model with other outputs": (
        "model",
        """
class Mine(nn.Module):
    def __init__(self, input_shape, outputs, kit):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], 7)
    def forward(self, x):
        return self.layer(x)
""",
        ["gives outputs of shape (2, 7) where the targets are (2, 3)"],
    ),
    "model for other inputs": (
        "model",
        """
class Mine(nn.Module):
    def __init__(self, input_shape, outputs, kit):
        super().__init__()
        self.layer = nn.Linear(784, outputs)
    def forward(self, x):
        return self.layer(x)
""",
        ["raises RuntimeError", "forward(images)"],
    ),
    "loss of a batch": (
        "loss",
        "class Mine:\n    def __call__(self, outputs, targets):\n        return (outputs - targets).square().mean()\n",
        ["returns a tensor of shape () for 2 samples", "losses (B,)"],
    ),
    "loss of each output": (
        "loss",
        "class Mine:\n    def __call__(self, outputs, targets):\n        return (outputs - targets).square()\n",
        ["returns a tensor of shape (2, 3) for 2 samples", "losses (B,)"],
    ),
    "loss of class indices": (
        "loss",
        "class Mine:\n    def __call__(self, outputs, targets):\n"
        "        return nn.functional.cross_entropy(outputs, targets.long()[:, :1], reduction='none')\n",
        ["RuntimeError", "losses (B,)"],
    ),
    "schedule that returns several numbers": (
        "sched",
        "class Mine:\n    def __call__(self, now):\n        return torch.ones(2)\n",
        ["returns a tensor of shape (2,)", "(now) -> multiplier"],
    ),
    "schedule that returns nothing": (
        "sched",
        "class Mine:\n    def __call__(self, now):\n        pass\n",
        ["returns a NoneType", "(now) -> multiplier"],
    ),
    "schedule of steps": (
        "sched",
        "class Mine:\n    def __call__(self, step, total):\n        return 1.0\n",
        ["TypeError", "missing 1 required positional argument: 'total'", "(now) -> multiplier"],
    ),
    "schedule with a mistake": (
        "sched",
        "class Mine:\n    def __call__(self, now):\n        return 1 - now.fraction\n",
        ["raises AttributeError: 'Clock' object has no attribute 'fraction'", "(now) -> multiplier"],
    ),
    "data that loads a tuple": (
        "data",
        "class Mine:\n    def load(self):\n        return torch.rand(9, 4), torch.ones(9)\n",
        ["loads a tuple", "load() -> Splits("],
    ),
    "data that loads a torch Dataset": (
        "data",
        "class Mine:\n    def load(self):\n"
        "        return torch.utils.data.TensorDataset(torch.rand(9, 4), torch.ones(9))\n",
        ["loads a TensorDataset", "load() -> Splits("],
    ),
    "data without load": ("data", "class Mine:\n    pass\n", ["AttributeError", "load() -> Splits("]),
    "data with class numbers": (
        "data",
        "class Mine:\n    def load(self):\n        split = splits(torch.arange(40) % 2)\n"
        "        return Splits(train=split, val=split, test=split, task='classification')\n",
        ["has a tensor of shape (40,) of int64 as targets of train", "one-hot"],
    ),
    "data with tensors as splits": (
        "data",
        "class Mine:\n    def load(self):\n        pair = torch.rand(40, 4), torch.ones(40, 1)\n"
        "        return Splits(train=pair, val=pair, test=pair, task='regression')\n",
        ["has a tuple as train", "Split(images, targets)"],
    ),
    "data of another task": (
        "data",
        "class Mine:\n    def load(self):\n        split = splits(torch.ones(40, 1))\n"
        "        return Splits(train=split, val=split, test=split, task='ranking')\n",
        ["task='ranking'", "classification, binary, regression"],
    ),
    "sampler of a list": (
        "sampler",
        "class Mine:\n    def __call__(self, epoch, targets, losses, rng):\n        return list(range(len(targets)))\n",
        ["returns a list", "indices (N,)"],
    ),
    "init of three": (
        "init",
        "class Mine:\n    def __call__(self, model):\n        pass\n",
        ["TypeError", "(model, images, targets, act) -> None"],
    ),
    "averaging without update": (
        "averaging",
        "class Mine:\n    def __init__(self, model):\n        pass\n",
        ["AttributeError", "update(model, now)"],
    ),
    "test-time views": (
        "tta",
        "class Mine:\n    def __call__(self, images):\n        return images\n",
        ["TypeError", "(model, images) -> outputs (V, B, K)"],
    ),
    "preprocess that does not fit": (
        "preprocess",
        "class Mine:\n    def fit(self, images):\n        return images / 255\n",
        ["returns a tensor", "fit(images) -> apply"],
    ),
}
WRONG |= {
    "augmentation that returns only images": (
        "aug",
        "class Mine:\n    def __call__(self, images, targets, rng):\n        return images + 0.1\n",
        ["returns a tensor of shape (2, 4)", "(images, targets, rng) -> (images, targets)"],
    ),
    "augmentation of images": (
        "aug",
        "class Mine:\n    def __call__(self, images):\n        return images + 0.1\n",
        ["TypeError", "(images, targets, rng) -> (images, targets)"],
    ),
    "augmentation that drops the batch": (
        "aug",
        "class Mine:\n    def __call__(self, images, targets, rng):\n        return images[0], targets\n",
        ["as images, where they were (2, 4)", "(images, targets, rng) -> (images, targets)"],
    ),
    "penalty of each sample": (
        "reg.loss",
        "class Mine:\n    def __call__(self, model, images, outputs, targets):\n        return outputs.sum(1)\n",
        ["returns a tensor of shape (2,)", "(model, images, outputs, targets) -> penalty"],
    ),
    "gradient edit of tensors": (
        "reg.gradient",
        "class Mine:\n    def __call__(self, gradients):\n        pass\n",
        ["TypeError", "(model, now) -> None"],
    ),
    "edit of weights": (
        "reg.weights",
        "class Mine:\n    def __call__(self, model):\n        pass\n",
        ["TypeError", "(model, optimizer, now) -> None"],
    ),
}


WORKING = {
    "optimizer that calls the closure twice": (
        "optimizer",
        OPTIMIZER
        + """\
    @torch.no_grad()
    def step(self, closure):
        for _ in range(2):
            with torch.enable_grad():
                loss = closure()
            for group in self.param_groups:
                for weight in group["params"]:
                    weight -= group["lr"] * weight.grad
        return loss
""",
    ),
    "model with lazy layers": (
        "model",
        """
class Mine(nn.Module):
    def __init__(self, input_shape, outputs, kit):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, 4)), nn.LazyConv1d(5, 2), nn.LazyBatchNorm1d(), nn.ReLU(), nn.Flatten(),
            nn.LazyLinear(outputs),
        )
    def forward(self, x):
        return self.layers(x)
""",
    ),
    "schedule of torch": (
        "sched",
        "class Mine:\n    def __call__(self, now):\n        return torch.tensor(1 - now.progress)\n",
    ),
    "schedule of numpy": ("sched", "class Mine:\n    def __call__(self, now):\n        return np.float32(0.5)\n"),
}


def chosen(group, name, tmp_path):
    """Write the option `mine` of a group, with the class `Mine` of a module; the words that choose it."""
    file = tmp_path / "options" / group.partition(".")[0] / "mine.yaml"
    file.parent.mkdir(parents=True)
    target = f"_target_: {name}.Mine\n"
    slot = group.partition(".")[2]
    nested = f"{slot}:\n  mine:\n    {target}" if slot else f"mine:\n  {target}" if group == "aug" else target
    file.write_text(f"# Of one's own.\n{nested}")
    value = "[mine]" if group == "aug" or slot else "mine"
    words = [word for word in SMALL if not word.startswith(f"{group}=")]
    return [*words, "--config-dir", "options", f"{group.partition('.')[0]}={value}", f"allow=[{name}]"]


@pytest.mark.parametrize("kind", WRONG)
def test_a_class_that_breaks_the_contract_of_its_group_is_told_in_one_line(kind, package, run_in_process, tmp_path):
    group, source, said = WRONG[kind]
    name = package(HEAD + source)
    code, _, errors = run_in_process(*chosen(group, name, tmp_path))
    assert code == 2 and "Traceback" not in errors and len(errors.strip().splitlines()) == 1, errors
    assert f"={'mine'}: " in errors and f"Mine ({name}.py" in errors, errors
    for words in said:
        assert words in errors, errors
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("kind", "wrapper"),
    [
        ("optimizer that ignores the closure", "lookahead"),
        ("optimizer that ignores the closure", "sam"),
        ("optimizer that calls it without gradients", "lookahead"),  # SAM gives it gradients that are known
    ],
)
def test_an_optimizer_within_another_one_is_the_culprit(kind, wrapper, package, run_in_process, tmp_path):
    group, source, said = WRONG[kind]
    name = package(HEAD + source)
    words = [word.replace("optimizer=mine", "optimizer.base=mine") for word in chosen(group, name, tmp_path)]
    code, _, errors = run_in_process(*words, f"optimizer={wrapper}")
    assert code == 2 and f"optimizer={wrapper}: Mine ({name}.py" in errors and said[0] in errors, errors


@pytest.mark.parametrize("kind", WORKING)
def test_a_class_that_keeps_it_trains(kind, package, run_in_process, tmp_path):
    group, source = WORKING[kind]
    code, _, errors = run_in_process(*chosen(group, package(HEAD + source), tmp_path))
    assert code == 0, errors
    assert read_summary(only_run(tmp_path))["status"] == "finished"


SIGNATURES = {  # of a model for iris, 4 numbers and 3 classes: its parameters, inputs and outputs
    "outputs": ("self, outputs", 4, "outputs"),
    "num_classes": ("self, num_classes=10", 4, "num_classes"),
    "num_classes by keyword": ("self, *, num_classes", 4, "num_classes"),
    "num_classes by place": ("self, num_classes, /", 4, "num_classes"),
    "input_shape and outputs": ("self, input_shape, outputs", "input_shape[0]", "outputs"),
    "outputs and input_shape": ("self, outputs, input_shape", "input_shape[0]", "outputs"),
    "kit first": ("self, kit, num_classes", 4, "num_classes"),
    "in_channels and num_classes": ("self, in_channels=1, num_classes=10", "in_channels", "num_classes"),
    "in_features and out_features": ("self, in_features, out_features", "in_features", "out_features"),
    "a tutorial's": ("self, input_size, num_classes, hidden_size=5", "input_size", "num_classes"),
    "channels, required": ("self, channels, classes", "channels", "classes"),
    "channels that are a width": ("self, num_classes, channels=4", "channels", "num_classes"),
    "nothing": ("self", 4, 3),
    "places alone": ("self, shape_of_it, number, layers", "shape_of_it[0]", "number"),
    "anything": ("self, *parts", "parts[0][0]", "parts[1]"),
    "keywords": ("self, num_classes, **others", 4, "num_classes"),
}


@pytest.mark.parametrize("parameters", SIGNATURES)
def test_a_model_takes_what_it_names(parameters, package, run_in_process, tmp_path):
    name = package(HEAD + NET.format(*SIGNATURES[parameters]))
    code, _, errors = run_in_process(*chosen("model", name, tmp_path))
    assert code == 0 and not errors, errors
    summary = read_summary(only_run(tmp_path))
    assert summary["status"] == "finished" and summary["parameters"] == 4 * 3 + 3


def test_keywords_reach_the_class_that_a_model_inherits_from(package, run_in_process, tmp_path):
    base = NET.format("self, features, *, in_channels, num_classes=1000", "in_channels", "num_classes")
    own = "class Mine(Base):\n    def __init__(self, **settings):\n        super().__init__(4, **settings)\n"
    name = package(HEAD + base.replace("Mine", "Base") + own)
    code, _, errors = run_in_process(*chosen("model", name, tmp_path))
    assert code == 0 and read_summary(only_run(tmp_path))["parameters"] == 4 * 3 + 3, errors


def test_a_key_of_the_yaml_wins_over_what_a_model_is_given(package, run_in_process, tmp_path):
    name = package(HEAD + NET.format("self, in_channels, num_classes", "in_channels", "num_classes"))
    words = chosen("model", name, tmp_path)
    with (tmp_path / "options/model/mine.yaml").open("a") as file:
        file.write("num_classes: 7\n")
    code, _, errors = run_in_process(*words)
    assert code == 2 and "gives outputs of shape (2, 7) where the targets are (2, 3)" in errors, errors
    code, _, errors = run_in_process(*words, "model.num_classes=3")
    assert code == 0, errors


@pytest.mark.parametrize(
    ("word", "said"), [("act=tanh", "Tanh"), ("norm=batch", "BatchNorm"), ("reg=dropout", "Dropout")]
)
def test_an_option_that_a_model_without_kit_cannot_take_is_refused(word, said, package, run_in_process, tmp_path):
    name = package(HEAD + NET.format("self, num_classes", 4, "num_classes"))
    code, _, errors = run_in_process(*chosen("model", name, tmp_path), word)
    assert code == 2 and said in errors and f"Mine ({name}.py) takes no kit; leave it out" in errors, errors


IMAGES = """
class Mine(nn.Module):
    def __init__(self, img_size, in_chans, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(in_chans, 2, img_size), nn.Flatten(), nn.LazyLinear(num_classes))
    def forward(self, x):
        return self.layers(x)
"""


def test_a_model_for_images_takes_their_side_and_channels(package, run_in_process, tmp_path):
    words = [word for word in chosen("model", package(HEAD + IMAGES), tmp_path) if word not in SMALL[::2]]
    code, _, errors = run_in_process(*words, "data=digits", "epochs=1st")
    assert code == 0, errors
    parameters = 2 * 8 * 8 + 2 + 2 * 10 + 10  # a kernel as large as the image leaves 2 numbers
    assert read_summary(only_run(tmp_path))["parameters"] == parameters


def test_a_function_in_place_of_a_class_is_named(package, run_in_process, tmp_path):
    name = package("def Mine(num_classes):\n    pass\n")
    code, _, errors = run_in_process(*chosen("model", name, tmp_path))
    assert code == 2 and "a function, where a class is needed" in errors, errors


def test_lazy_layers_are_initialised_and_trained_as_others(package, run_in_process, tmp_path):
    """The same network, with its shapes written out, ends with the same weights."""
    lazy = WORKING["model with lazy layers"][1]
    plain = lazy.replace("LazyConv1d(5", "Conv1d(1, 5").replace("LazyBatchNorm1d()", "BatchNorm1d(5)")
    plain = plain.replace("LazyLinear(outputs)", "Linear(15, outputs)")
    digests = []
    for place, source in (("lazy", lazy), ("plain", plain)):
        (tmp_path / place).mkdir()
        words = chosen("model", package(HEAD + source), tmp_path / place)
        words[words.index("--config-dir") + 1] = f"{place}/options"
        code, _, errors = run_in_process(*words, "init=he_normal", "bias=zero", f"output={place}/outputs")
        assert code == 0, errors
        digests.append(read_summary(only_run(tmp_path / place))["weights_sha256"])
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import surely_not_installed", "No module named 'surely_not_installed'); install surely_not_installed"),
        ("from math import surely_not", "cannot import name 'surely_not' from 'math'"),
        ("x = 1\n\nclass Mine\n    pass", ":3"),
        ("x = 1\ny = x.z", "AttributeError: 'int' object has no attribute 'z'); fix the error in it, "),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_in_one_line(source, said, package, run_in_process, tmp_path):
    name = package(source)
    code, _, errors = run_in_process(*chosen("sched", name, tmp_path))
    assert code == 2 and len(errors.strip().splitlines()) == 1 and "cannot be imported" in errors, errors
    assert said in errors and name in errors, errors


def test_a_class_without_allow_is_answered_with_the_words_to_add(package, run_in_process, tmp_path):
    name = package(HEAD + WORKING["schedule of numpy"][1])
    words = chosen("sched", name, tmp_path)[:-1]
    code, _, errors = run_in_process(*words)
    assert code == 2 and f"{name}.Mine" in errors and f"allow=[{name}]" in errors, errors
    assert run_in_process(*words, f"allow=[{name}]")[0] == 0
