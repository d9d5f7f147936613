"""task=export: files that give the model's answers without this program, and what is said beside them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from conftest import command, only_run

from trainer.base.errors import ConfigError
from trainer.export.formats import require_installed
from trainer.rundir import reader

SMALL = ("epochs=2", "threads=1", "device=cpu")
RUNS = {
    "iris": ("data=iris", "model=linear"),
    "binary": ("data=breast_cancer", "model=linear"),
    "values": ("data=diabetes", "model=linear"),
    "images": (
        "data=photos",
        "data.size=16",
        "model=cnn",
        "model.channels=[4,4]",
        "norm=batch",
        "pool=fractional",
        "tta=flip",
    ),
}
ONNX = pytest.mark.skipif(
    "not __import__('importlib.util').util.find_spec('onnxruntime')", reason="needs trainer[onnx]"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a function that trains one of RUNS, once."""
    made = {}

    def run(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            code, _, errors = command(folder, *RUNS[name], *SMALL)
            assert code == 0, errors
            made[name] = only_run(folder)
        return made[name]

    return run


def export(run: Path, folder: Path, *words: str) -> tuple[int, str, str]:
    return command(folder, "task=export", f"runs=[{run}]", "task.folder=made", "threads=1", *words)


def made_by(run: Path, folder: Path, *words: str) -> Path:
    code, out, errors = export(run, folder, *words)
    assert code == 0, out + errors
    return folder / "made"


def linear_parts(run: Path) -> tuple[np.ndarray, ...]:
    """Return mean, scale, weight and bias of a linear model from the run's own files."""
    fitted = json.loads((run / "run.json").read_text())["preprocess"]
    center, scale = (np.array(fitted[key]["tensor"]).reshape(1, -1) for key in ("center", "scale"))
    weights = safetensors.numpy.load_file(run / "weights.safetensors")
    (weight,), (bias,) = ([value for value in weights.values() if value.ndim == rank] for rank in (2, 1))
    return center, scale, weight.astype(np.float64), bias.astype(np.float64)


def samples_of(run: Path) -> np.ndarray:
    """Return rows of the fitted mean and deviation."""
    center, scale, *_ = linear_parts(run)
    return (np.random.default_rng(0).standard_normal((300, center.shape[1])) / scale + center).astype(np.float32)


def expected(run: Path, rows: np.ndarray) -> np.ndarray:
    """Return what a linear model gives, by hand in float64."""
    center, scale, weight, bias = linear_parts(run)
    outputs = ((rows - center) * scale) @ weight.T + bias
    told = json.loads((run / "run.json").read_text())
    if told["task"] == "regression":
        return outputs * told["predicted"]["deviation"] + told["predicted"]["mean"]
    if told["task"] == "binary":
        yes = 1 / (1 + np.exp(-outputs))
        return np.concatenate([1 - yes, yes], 1)
    grown = np.exp(outputs - outputs.max(1, keepdims=True))
    return grown / grown.sum(1, keepdims=True)


def session_of(path: Path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@ONNX
@pytest.mark.parametrize("name", ["iris", "binary", "values"])
def test_onnx_gives_the_answers_that_follow_by_hand_from_raw_rows(name, runs, tmp_path):
    run = runs(name)
    session, rows = session_of(made_by(run, tmp_path, "task.format=onnx") / "model.onnx"), samples_of(run)
    output = "values" if name == "values" else "probabilities"
    assert [given.name for given in session.get_inputs()] == ["rows"]
    assert session.get_inputs()[0].shape == ["batch", rows.shape[1]]
    assert [given.name for given in session.get_outputs()] == [output]
    wanted = expected(run, rows)
    for size in (1, 3, 300):
        found = session.run(None, {"rows": rows[:size]})[0]
        assert found.shape == wanted[:size].shape
        np.testing.assert_allclose(found, wanted[:size], rtol=1e-5, atol=1e-5)  # float32 against float64


def test_a_pt2_file_runs_where_this_program_is_not(runs, tmp_path):
    run, rows = runs("iris"), samples_of(runs("iris"))
    folder = made_by(run, tmp_path, "task.format=pt2")
    np.save(tmp_path / "rows.npy", rows)
    script = """
import json, sys, numpy, torch
class Barred:
    def find_spec(self, name, *rest):
        if name.split(".")[0] == "trainer":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Barred())
texts = {"classes.json": "", "trainer.json": ""}
model = torch.export.load(sys.argv[1], extra_files=texts).module()
rows = torch.from_numpy(numpy.load("rows.npy"))
one = torch.cat([model(row[None]) for row in rows[:2]])
assert torch.allclose(one, model(rows)[:2], atol=1e-6)
numpy.save("found.npy", model(rows).numpy())
print(json.loads(texts["classes.json"])[1], json.loads(texts["trainer.json"])["inputs"]["columns"][0]["name"])
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, str(folder / "model.pt2")], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["versicolor", "sepal", "length", "(cm)"]
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected(run, rows), rtol=1e-5, atol=1e-6)


@ONNX
def test_a_graph_of_images_takes_bytes_or_floats_and_has_no_batch_norm(runs, tmp_path):
    import onnx

    run, found = runs("images"), {}
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    for kind, images in (("uint8", pixels), ("float32", (pixels / 255).astype(np.float32))):
        folder = tmp_path / kind
        folder.mkdir()
        path = made_by(run, folder, "task.format=onnx", f"task.input_type={kind}") / "model.onnx"
        session = session_of(path)
        assert session.get_inputs()[0].type == {"uint8": "tensor(uint8)", "float32": "tensor(float)"}[kind]
        found[kind] = session.run(None, {"images": images})[0]
    np.testing.assert_allclose(found["uint8"], found["float32"], atol=1e-6)
    np.testing.assert_allclose(found["uint8"].sum(1), 1, atol=1e-6)
    model = onnx.load(path)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    texts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(texts["classes"]) == json.loads((run / "run.json").read_text())["classes"]
    assert json.loads(texts["trainer"])["inputs"]["shape"] == [3, 16, 16]
    assert json.loads(texts["input"])["values"] == "0 ... 1"
    assert str(Path(__file__).parent.parent.parent) not in path.read_bytes().decode("latin-1")  # paths of this machine
    notes = json.loads((path.parent / "export.json").read_text())["notes"]
    assert "2 batch norms fused" in notes[0] and notes[1] == "tta=flip is left out: the file has the plain model"


@ONNX
def test_weights_beyond_the_format_s_two_gigabytes_go_into_a_second_file(runs, tmp_path, monkeypatch):
    from trainer.export import onnx

    monkeypatch.setattr(onnx, "LARGEST", 0)
    path, rows = made_by(runs("iris"), tmp_path, "task.format=onnx") / "model.onnx", samples_of(runs("iris"))
    assert (path.parent / "model.onnx.data").is_file()
    found = session_of(path).run(None, {"rows": rows})[0]
    np.testing.assert_allclose(found, expected(runs("iris"), rows), atol=1e-6)


def test_batch_norms_are_fused_before_a_program_is_traced(runs, tmp_path):
    import torch

    program = torch.export.load(made_by(runs("images"), tmp_path) / "model.pt2")
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert any("conv2d" in name for name in operators) and not any("norm" in name for name in operators)


def test_the_type_of_a_graph_is_that_of_the_training_images(runs, tmp_path):
    out = export(runs("images"), tmp_path, "task.format=safetensors")[1]
    stored = json.loads((runs("images") / "run.json").read_text())["inputs"]["dtype"]
    assert f"images ({stored}, batch x 3 x 16 x 16)" in out


def test_weights_are_copied_with_their_description(runs, tmp_path):
    from trainer import load

    folder = made_by(runs("iris"), tmp_path, "task.format=safetensors")
    rows = samples_of(runs("iris"))
    found = load(folder / "weights.safetensors")(rows).numpy()
    np.testing.assert_allclose(found, expected(runs("iris"), rows), atol=1e-6)
    assert "The file has no graph" in (folder / "MODEL.md").read_text()


def test_the_record_and_the_card_say_what_was_compared(runs, tmp_path):
    folder = made_by(runs("iris"), tmp_path)
    told = json.loads((folder / "export.json").read_text())
    assert told["equality"]["holds"] and told["equality"]["largest"] <= 1e-5
    assert [*told["equality"]["by_batch"]] == ["1", "2", "64", "256"]
    assert [speed["macs"] for speed in told["speed"]] == [4 * 3, 64 * 4 * 3]  # rows x columns of the only matrix
    assert (folder / "curves.png").is_file()
    card = (folder / "MODEL.md").read_text()
    summary = reader.read_summary(runs("iris"))
    assert f"| test | {summary['test']['loss']:.4f} | {summary['test']['accuracy']:.4f} |" in card
    sizes = [summary["samples"][split] for split in ("train", "val", "test")]
    counts = [line.split(" | ")[1:] for line in card.splitlines() if line.startswith("| setosa |")]
    assert [int(cell.strip(" |")) * 3 for cell in counts[0]] == pytest.approx(sizes, abs=4)  # stratified thirds
    assert "train data=iris model=linear epochs=2" in card and "task.folder=made" in card
    for heading in ("Data", "Decisions", "Scores", "Limits", "Use", "Commands"):
        assert f"\n## {heading}\n" in card
    (block,) = (part.removeprefix("python\n") for part in card.split("```") if part.startswith("python"))
    ran = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr  # what the card shows can be pasted


def test_without_the_data_other_samples_are_compared_and_said(tmp_path):
    rows = [f"{number},{number % 7},{'ab'[number % 2]}\n" for number in range(60)]
    (tmp_path / "table.csv").write_text("".join(["x,y,label\n", *rows]))
    words = ("data=csv", "data.path=table.csv", "data.target=label", "model=linear")
    assert command(tmp_path, *words, *SMALL)[0] == 0
    run = only_run(tmp_path)
    shutil.move(tmp_path / "table.csv", tmp_path / "new.csv")
    folder = made_by(run, tmp_path)
    source = json.loads((folder / "export.json").read_text())["equality"]["source"]
    assert source.startswith("256 made-up samples (the data set of the run cannot be read: ")
    assert "Source: `table.csv`" in (folder / "MODEL.md").read_text()
    shutil.rmtree(folder)
    folder = made_by(run, tmp_path, "task.samples=new.csv")
    told = json.loads((folder / "export.json").read_text())["equality"]
    assert told["source"] == "60 samples of new.csv" and told["samples"] == 60
    shutil.rmtree(folder)
    code, _, errors = export(run, tmp_path, "task.samples=nothing.csv")
    assert code == 3 and "nothing.csv: no such file" in errors and not folder.exists()


def test_nothing_is_overwritten(runs, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine.txt").write_text("kept")
    code, _, errors = export(runs("iris"), tmp_path)
    assert code == 2 and "task.folder=made: is not empty" in errors and len(errors.splitlines()) == 1
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["mine.txt"]


def test_several_runs_are_several_exports(runs, tmp_path):
    places = f"runs=[{runs('iris')},{runs('values')}]"
    code, out, errors = command(tmp_path, "task=export", places, "task.folder=made", "threads=1")
    assert code == 0, out + errors
    assert {path.parent.name for path in tmp_path.glob("made/*/model.pt2")} == {
        runs("iris").name,
        runs("values").name,
    }


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("task.format=torchscript",), 2, "task.format=torchscript: must be one of pt2, onnx, safetensors"),
        (("task.opset=17",), 2, "format=pt2 has none; it is for format=onnx"),
        (("task.input_type=uint8",), 2, "the model takes rows, which are float32"),
        (("task.input_type=uint8", "task.format=safetensors"), 2, "format=safetensors has no graph"),
        (("tta=flip",), 2, "tta: task=export has no use for it"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(words, code, text, runs, tmp_path):
    found, _, errors = export(runs("iris"), tmp_path, *words)
    assert found == code and text in errors and len(errors.splitlines()) == 1, errors
    assert not any(tmp_path.iterdir())


def test_a_run_is_needed(tmp_path):
    for words, number, text in (
        ((), 2, "task=export needs a run; write runs=[outputs/DATE/TIME-NAME]"),
        (("runs=[nowhere]",), 3, "runs=[nowhere]: no such directory"),
    ):
        code, _, errors = command(tmp_path, "task=export", *words)
        assert code == number and text in errors and len(errors.splitlines()) == 1, errors
    assert not any(tmp_path.iterdir())


def test_a_missing_extra_is_named_with_its_command(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # bars its import
    with pytest.raises(ConfigError, match=r"format=onnx: needs (.* and )?onnxruntime; pip install 'trainer\[onnx\]'"):
        require_installed("onnx")
    code, _, errors = export(runs("iris"), tmp_path, "task.format=onnx")
    assert code == 2 and "pip install 'trainer[onnx]'" in errors and not any(tmp_path.iterdir())


def test_half_a_run_and_a_strangers_run_are_refused(runs, tmp_path):
    for change in ("cut", "stranger"):
        run = tmp_path / change
        shutil.copytree(runs("iris"), run)
        shutil.rmtree(run / "checkpoints")
        weights = run / "weights.safetensors"
        content = weights.read_bytes()
        if change == "cut":
            weights.write_bytes(content[: len(content) // 2])
        else:
            old, new = b"trainer.model.linear.Linear", b"subprocess.check_output...."
            assert old in content
            weights.write_bytes(content.replace(old, new))
        code, _, errors = export(weights, tmp_path)
        assert code == 3 and len(errors.splitlines()) <= 2 and not (tmp_path / "made").exists(), errors


OWN = """
import torch
from torch import nn
from trainer.base.layer_factory import LayerFactory

class Layer(nn.Module):
    def forward(self, x):
        return BODY

class Net(nn.Module):
    def __init__(self, input_shape, outputs, kit: LayerFactory):
        super().__init__()
        self.dense, self.mine = nn.Linear(input_shape[0], outputs), Layer()
    def forward(self, x):
        return self.mine(self.dense(x))
"""


@pytest.mark.parametrize(
    ("body", "words", "code", "texts"),
    [
        ("x * 1.001 if torch.compiler.is_exporting() else x", (), 6, ["the file's answers differ from the model's by"]),
        ("x if x.sum() > 0 else -x", (), 2, ["format=pt2: mine (Layer) cannot be traced", "without conditions"]),
        ("x.view(len(x), -1)", (), 2, ["works for one number of samples only", "write x.shape[0] in place of len(x)"]),
        pytest.param(
            "torch.special.i0e(x)", ("task.format=onnx",), 2,
            ["i0e of mine (Layer) has no equivalent in ONNX; write format=pt2"], marks=ONNX,
        ),
        pytest.param(
            "nn.functional.mish(x)", ("task.format=onnx", "task.opset=17"), 2,
            ["task.opset=17: the operator Mish of mine (Layer) does not exist in ONNX's opset 17; try task.opset=18"],
            marks=ONNX,
        ),
        pytest.param(
            "x", ("task.format=onnx", "task.opset=99"), 2, ["task.opset=99: the exporter of torch"], marks=ONNX
        ),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_exported_is_told_with_its_layer(body, words, code, texts, package, tmp_path):
    name = package(OWN.replace("BODY", body))
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(f"# A net.\n_target_: {name}.Net\n")
    allow = (f"--config-dir={tmp_path / 'conf'}", f"allow=[{name}]")
    trained, _, errors = command(tmp_path, *allow, "data=iris", "model=mine", *SMALL)
    assert trained == 0, errors
    found, out, errors = export(only_run(tmp_path), tmp_path, f"allow=[{name}]", *words)
    assert found == code and all(text in errors for text in texts), out + errors
    assert len(errors.splitlines()) == 1 and (tmp_path / "made").exists() == (code == 6)


@ONNX
def test_an_older_opset_that_has_all_operators_is_written(runs, tmp_path):
    path = made_by(runs("iris"), tmp_path, "task.format=onnx", "task.opset=15") / "model.onnx"
    rows = samples_of(runs("iris"))
    assert json.loads((path.parent / "export.json").read_text())["facts"]["opset"] == 15
    assert '"versicolor"' in session_of(path).get_modelmeta().custom_metadata_map["classes"]
    found = session_of(path).run(None, {"rows": rows})[0]
    np.testing.assert_allclose(found, expected(runs("iris"), rows), atol=1e-6)
