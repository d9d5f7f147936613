"""Imports that most runs do without."""

import subprocess
import sys

import pytest

RUN = """
import sys
from trainer.cli.main import main
code = main()
print(*[name for name in ("torch._dynamo", "sympy", "sklearn.datasets") if name in sys.modules], code, file=sys.stderr)
"""


@pytest.mark.parametrize("optimizer, found", [("momentum", []), ("adamw", []), ("rmsprop", ["torch._dynamo", "sympy"])])
def test_a_run_imports_no_compiler_unless_its_optimizer_steps_by_torchs_own_step(optimizer, found, tmp_path):
    words = ["model=mlp", "epochs=1st", "threads=1", "device=cpu", f"optimizer={optimizer}"]
    command = [sys.executable, "-c", RUN, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert [*done.stderr.split()[:-1]] == found, done.stderr


def test_torchvision_is_imported_without_the_compiler_and_works_with_it_afterwards():
    code = """
import sys
import torch
from trainer.base.compiler import import_torchvision
torchvision = import_torchvision()
assert "torch._dynamo" not in sys.modules
boxes, images = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]), torch.arange(16.0).view(1, 1, 4, 4)
pooled = torchvision.ops.roi_align(images, boxes, 1, sampling_ratio=2)  # 4 r + c at (1, 1)
assert pooled.item() == 5, pooled
import torch._dynamo
assert torch._dynamo.utils.is_compile_supported("cpu") in (True, False)
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item() == 2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
