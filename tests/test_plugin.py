"""Techniques from outside the project: examples/plugin in a copy elsewhere, and the files of task=new."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import only_run

from trainer.config import catalog, schema
from trainer.rundir.reader import read_summary
from trainer.task import new

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "examples" / "plugin"
KINDS = sorted(path.name for path in (PLUGIN / "conf").iterdir())
OPTIONS = {kind: next((PLUGIN / "conf" / kind).glob("*.yaml")).stem for kind in KINDS}
SHORT = ("epochs=2st", "threads=1", "device=cpu")
COMMAND = re.compile(r"^ *(train --config-dir .*)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def own_modules():
    """Forget the package of a test, and the folder where it was found."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


@pytest.fixture
def copied(tmp_path):
    """A copy of examples/plugin, outside the project."""
    folder = tmp_path / "elsewhere" / "plugin"
    shutil.copytree(PLUGIN, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def chosen(kind: str) -> str:
    return f"{kind}=[{OPTIONS[kind]}]" if kind in catalog.MULTI_SELECT else f"{kind}={OPTIONS[kind]}"


def words(command: str) -> list[str]:
    """Words to type behind `train`."""
    program, *typed = shlex.split(command)
    assert program == "train"
    return typed


def test_there_is_an_example_of_each_group_with_classes():
    assert [kind for kind in catalog.groups() if kind != "experiment"] == KINDS
    rule = schema.keys(catalog.file("task", "new"), "task")["task.kind"].rule
    assert list(rule.words) == KINDS
    assert len(list((PLUGIN / "my_package").glob("*.py"))) == len(KINDS) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_trains_from_another_folder(kind, copied, run_in_process, tmp_path):
    code, out, errors = run_in_process("--config-dir", str(copied / "conf"), "allow=[my_package]", chosen(kind), *SHORT)
    assert code == 0 and not errors, errors
    if kind == "task":
        assert re.search(r"^[\d,]+ parameters$", out, re.MULTILINE)
    else:
        assert read_summary(only_run(tmp_path))["status"] == "finished"
        assert re.search(rf"^\* +{kind} +{OPTIONS[kind]}\b", out, re.MULTILINE), out


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_lists_every_key_with_a_meaning_and_the_class_s_default(kind):
    path = next((PLUGIN / "conf" / kind).glob("*.yaml"))
    assert len(catalog.headline(path)) > 10
    keys = schema.keys(path, kind)
    assert keys and all(key.rule and key.meaning for key in keys.values())


@pytest.mark.parametrize("last", ["model", "pool"])  # the model has no pooling layer
def test_all_examples_work_together(last, copied, run_in_process, tmp_path):
    together = [chosen(kind) for kind in KINDS if kind not in ("task", "model", "pool")]
    call = ("--config-dir", str(copied / "conf"), "allow=[my_package]", *together, chosen(last), *SHORT)
    code, _, errors = run_in_process(*call)
    assert code == 0 and not errors, errors
    assert read_summary(only_run(tmp_path))["status"] == "finished"


def test_the_commands_of_its_readme_run_as_a_process_of_their_own(copied):
    text = (copied / "README.md").read_text()
    commands = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(commands) >= 2
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}  # as the installed `train`
    for command in commands:
        call = [sys.executable, "-m", "trainer", *words(command), *SHORT]
        done = subprocess.run(call, cwd=copied, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0 and not done.stderr, done.stderr


def test_its_readme_names_every_example():
    text = (PLUGIN / "README.md").read_text()
    for kind in KINDS:
        module = yaml.safe_load((PLUGIN / "conf" / kind / f"{OPTIONS[kind]}.yaml").read_text())
        name = new.target_in(module).split(".")[1]
        assert f"| `{kind}` | [{name}.py](my_package/{name}.py) |" in text, kind


# task=new


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_technique_works_as_printed(kind, run_in_process, tmp_path):
    code, out, errors = run_in_process("task=new", f"kind={kind}", "name=mynet")
    assert code == 0 and not errors, errors
    (command,) = COMMAND.findall(out)
    files = re.findall(r"^wrote (.+)$", out, re.MULTILINE)
    assert files == ["plugin/my_package/mynet.py", f"plugin/conf/{kind}/mynet.yaml"]
    assert (
        "Mynet" in (tmp_path / files[0]).read_text() and "my_package.mynet.Mynet" in (tmp_path / files[1]).read_text()
    )
    code, out, errors = run_in_process(*words(command), *SHORT)
    assert code == 0 and not errors, errors
    code, out, errors = run_in_process("--config-dir", "plugin/conf", "--help", f"{kind}=mynet")
    assert code == 0 and not errors


def test_a_new_technique_is_the_example_under_another_name(run_in_process, tmp_path):
    for kind in KINDS:
        assert run_in_process("task=new", f"kind={kind}", "name=zebra", f"folder={kind}")[0] == 0
        example = new.example_of(kind)
        module = (tmp_path / kind / "my_package" / "zebra.py").read_text()
        assert module == re.sub(rf"\b{example.kind}\b", "Zebra", example.source) != example.source
        option = (tmp_path / kind / "conf" / kind / "zebra.yaml").read_text()
        assert len(option.splitlines()) == len(example.option.splitlines())
        assert example.name not in yaml.safe_dump(yaml.safe_load(option)) and "zebra.Zebra" in option


def test_nothing_is_overwritten(run_in_process, tmp_path):
    assert run_in_process("task=new", "kind=model", "name=mine")[0] == 0
    file = tmp_path / "plugin" / "my_package" / "mine.py"
    option = tmp_path / "plugin" / "conf" / "model" / "mine.yaml"
    file.write_text("mine\n")
    code, out, errors = run_in_process("task=new", "kind=model", "name=mine")
    assert (
        code == 2
        and not out
        and errors.splitlines()
        == ["train: task.name=mine: plugin/my_package/mine.py is there already; choose another name or task.folder=DIR"]
    )
    file.unlink()
    option.write_text("# Mine.\n")
    code, out, errors = run_in_process("task=new", "kind=model", "name=mine")
    assert code == 2 and "plugin/conf/model/mine.yaml is there already" in errors
    assert not file.exists() and option.read_text() == "# Mine.\n"
    file.symlink_to(tmp_path / "nowhere")
    option.unlink()
    code, out, errors = run_in_process("task=new", "kind=model", "name=mine")
    assert code == 2 and "is there already" in errors and not (tmp_path / "nowhere").exists()


def test_one_name_serves_several_groups(run_in_process, tmp_path):
    chosen = []
    for kind in ("model", "loss", "aug"):
        code, out, errors = run_in_process("task=new", f"kind={kind}", "name=mine")
        assert code == 0, errors
        chosen.append(words(COMMAND.findall(out)[0])[-1])
    assert chosen == ["model=mine", "loss=mine", "aug=[mine]"]
    code, _, errors = run_in_process("--config-dir", "plugin/conf", "allow=[my_package]", *chosen, *SHORT)
    assert code == 0 and not errors, errors


@pytest.mark.parametrize("name", ["dataset", "tensor", "MyNet", "torch", "random"])
def test_a_name_that_the_module_uses_works_all_the_same(name, run_in_process, tmp_path):
    for kind in ("data", "model"):
        code, out, errors = run_in_process("task=new", f"kind={kind}", f"name={name}", f"folder={kind}")
        assert code == 0, errors
        if (kind, name) == ("data", "dataset"):
            assert "class MyDataset(Dataset):" in (tmp_path / "data" / "my_package" / "dataset.py").read_text()
        code, _, errors = run_in_process(*words(COMMAND.findall(out)[0]), *SHORT)
        assert code == 0 and not errors, errors
        own_modules_of_a_test = [module for module in sys.modules if module.partition(".")[0] == "my_package"]
        for module in own_modules_of_a_test:
            del sys.modules[module]
        sys.path.remove(str(tmp_path / kind))


@pytest.mark.parametrize(
    "typed, said",
    [
        (["kind=model"], "task.name: needs a value"),
        (["name=mine"], "task.kind: needs a value"),
        (["kind=dataset", "name=mine"], "did you mean task.kind=data?"),
        (["kind=Model", "name=mine"], "did you mean task.kind=model?"),
        (["kind=model", "name=my-net"], "did you mean task.name=my_net?"),
        (["kind=model", "name=class"], "must be a word of letters"),
        (["kind=model", "name=3d"], "must be"),
        (["kind=model", "name=../../x"], "must be"),
        (["kind=model", "name=mlp"], "model=mlp has a meaning already; choose another name"),
        (["kind=reg", "name=none"], "reg=none has a meaning already"),
        (["kind=model", "name=mine", "folder=file"], "task.folder=file: the files cannot be written"),
        (["kind=model", "nmae=mine"], "nmae"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(typed, said, run_in_process, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, errors = run_in_process("task=new", *typed)
    assert code in (2, 4) and not out and said in errors and len(errors.splitlines()) == 1, errors
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_keys_of_a_task_need_no_group(run_in_process, tmp_path):
    """`points` of task=landscape is task.points; a key of the run stays one, and another task has no such key."""
    code, _, errors = run_in_process("task=landscape", "points=7.5")
    assert code == 2 and errors.startswith("train: task.points=7.5: must be"), errors
    code, _, errors = run_in_process("task=train", "points=7")
    assert code == 2 and "points=7: no such key" in errors, errors


def test_a_package_is_found_beside_its_options_or_in_the_current_folder_and_nowhere_else(run_in_process, tmp_path):
    source = (PLUGIN / "my_package" / "root.py").read_text()
    option = (PLUGIN / "conf" / "sched" / "root.yaml").read_text().replace("my_package", "found_here")
    (tmp_path / "options" / "conf" / "sched").mkdir(parents=True)
    (tmp_path / "options" / "conf" / "sched" / "root.yaml").write_text(option)
    call = ("--config-dir", "options/conf", "sched=root", "data=iris", "model=linear", *SHORT)
    for place in (tmp_path, tmp_path / "options"):
        (place / "found_here").mkdir()
        (place / "found_here" / "root.py").write_text(source)
        code, _, errors = run_in_process(*call)
        assert code == 2 and "allow=[found_here] on the command line adds it" in errors
        assert "found_here" not in sys.modules and str(place) not in sys.path
        code, _, errors = run_in_process(*call, "allow=[found_here]")
        assert code == 0 and not errors, errors
        sys.path.remove(str(place))
        for module in [name for name in sys.modules if name.partition(".")[0] == "found_here"]:
            del sys.modules[module]
        shutil.rmtree(place / "found_here")
    code, _, errors = run_in_process(*call, "allow=[found_here]")
    assert (
        code == 2 and "found_here cannot be imported" in errors and "put it beside the folder of --config-dir" in errors
    )


# Mistakes in code of one's own


BLOCK = """
import torch
from torch import nn

class Block(nn.Module):
    def forward(self, x):
        return x.view(-1, 7)
"""
NET = """
from torch import nn
from my_package.block import Block

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layers = nn.Sequential(Block(), nn.Linear(4, num_classes))

    def forward(self, x):
        return self.layers(x)

class Late:
    def __call__(self, now):
        return 1.0 if now.step != 7 else {}[now.step]

class LateNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer, self.calls = nn.Linear(4, num_classes), 0

    def forward(self, x):
        self.calls += self.training
        assert self.calls < 12, "enough"
        return self.layer(x)

class Wide(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Linear(4, num_classes + 1)

    def forward(self, x):
        return self.layer(x)
"""
MISTAKES = {
    "in another file of the package": (
        "model",
        "Net",
        "model=mine: Net (my_package/net.py:11, in my_package/block.py:7) raises RuntimeError: shape",
    ),
    "in a later step of a schedule": ("sched", "Late", "my_package/net.py:15: raises KeyError: 7"),
    "in a later step of a model": ("model", "LateNet", "my_package/net.py:24: raises AssertionError: enough"),
    "a shape": (
        "model",
        "Wide",
        "model=mine: Wide (my_package/net.py:32) gives outputs of shape (2, 4) where the targets are (2, 3)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_code_of_one_s_own_is_one_line_with_its_file_and_line(name, run_in_process, tmp_path):
    group, kind, said = MISTAKES[name]
    for path, text in (("__init__", ""), ("block", BLOCK), ("net", NET)):
        (tmp_path / "my_package").mkdir(exist_ok=True)
        (tmp_path / "my_package" / f"{path}.py").write_text(text)
    option = tmp_path / "conf" / group / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text(f"# Mine.\n_target_: my_package.net.{kind}\n")
    model = () if group == "model" else ("model=linear",)
    words = ("--config-dir", "conf", "allow=[my_package]", f"{group}=mine", *model, "data=iris", "batch_size=30")
    code, _, errors = run_in_process(*words, "epochs=30", "threads=1", "device=cpu")
    assert code == 2 and len(errors.splitlines()) == 1 and errors.startswith(f"train: {said}"), errors
    for log in (tmp_path / "outputs").glob("*/*/run.log"):  # the run has begun: how it came to that is kept
        assert "Traceback" in log.read_text()
    code, _, errors = run_in_process(*words[:3], "task=check", *words[3:], "threads=1", "device=cpu")
    assert code in (2, 6) and "Traceback" not in errors, errors
