"""precision=auto and channels_last=auto: decided with a reason, recorded, and kept by a resumed run."""

import json

import pytest
import torch
from conftest import command, only_run
from omegaconf import OmegaConf

from trainer.base import device
from trainer.base.device import bf16_is_native
from trainer.engine import precision
from trainer.engine.build import build_run
from trainer.engine.decision import Decision, recorded, with_decisions
from trainer.engine.memory_format import channels_last, choose_channels_last, set_channels_last
from trainer.engine.precision import choose_precision, faster
from trainer.rundir import checkpoint

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
TINY = ("data.train_samples=64", "threads=1", "device=cpu", "epochs=1")
KERNEL = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3))


@pytest.mark.parametrize(
    ("bf16", "fp32", "chosen"),
    [(0.001, 0.002, "bf16"), (0.001, 0.00125, "bf16"), (0.001, 0.0012, "fp32"), (0.002, 0.001, "fp32")],
)
def test_bf16_has_to_be_clearly_faster_on_a_cpu(bf16, fp32, chosen):
    decided = faster({"bf16": bf16, "fp32": fp32})
    assert decided.value == chosen
    why = ", not 1.25 times as fast" if bf16 < fp32 and chosen == "fp32" else ""
    assert decided.reason == f"a pass takes {bf16 * 1e3:g} ms in bf16, {fp32 * 1e3:g} ms in fp32{why}"


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, False),
        ({}, False),  # torch 2.10 does not say
    ],
)
def test_a_cpu_without_instructions_for_bf16_gets_fp32_unmeasured(capabilities, native, composed, monkeypatch):
    monkeypatch.setattr(device, "cpu_capabilities", lambda: capabilities)
    assert bf16_is_native(CPU) == native
    monkeypatch.setattr(precision, "_chosen", {})
    run = build_run(composed("model=linear", *TINY))
    decided = choose_precision(run)
    assert ("no AVX512-BF16 or AMX" in decided.reason) != native
    assert native or decided.value == "fp32"


@pytest.mark.parametrize(
    ("settings", "where", "decided"),
    [
        ({}, CPU, "on"),
        ({"precision": "bf16"}, GPU, "on"),
        ({"precision": "fp32"}, GPU, "off"),
        ({"compile": "step"}, CPU, "off"),
        ({"compile": "model", "precision": "bf16"}, GPU, "off"),
        ({}, torch.device("mps"), "off"),
    ],
)
def test_channels_last_is_decided_by_device_precision_and_compile(settings, where, decided):
    assert choose_channels_last(settings, KERNEL, where).value == decided
    assert choose_channels_last(settings, torch.nn.Linear(2, 2), where) is None  # nothing to decide


def test_large_kernels_keep_the_usual_format_and_the_reason_has_their_size():
    decided = choose_channels_last({}, torch.nn.Conv2d(512, 512, 3), CPU)
    assert decided == Decision("off", f"the largest kernel has {512 * 512 * 9:,} weights, more than 500,000")


def hooked(model):
    return [hook for hook in model._forward_pre_hooks.values() if hook is channels_last]


@pytest.mark.parametrize(("asked", "times"), [("on", 1), ("off", 0), ("auto", 1)])
def test_the_key_decides_where_it_is_typed(asked, times, composed):
    run = build_run(composed("model=cnn", *TINY, f"channels_last={asked}"))
    assert len(hooked(run.model)) == times and ("channels_last" in run.decisions) == (asked == "auto")
    set_channels_last(run.model, True)
    set_channels_last(run.model, True)
    assert len(hooked(run.model)) == 1
    set_channels_last(run.model, False)
    assert not hooked(run.model)


def test_only_what_is_auto_is_replaced_by_what_a_run_has_recorded():
    cfg = OmegaConf.create({"precision": "auto"})
    assert recorded(cfg, {"precision": "bf16"})["precision"].value == "bf16"
    assert recorded(cfg, {"precision": "auto"}) == recorded(cfg, {}) == {}
    assert recorded({"precision": "fp32"}, {"precision": "bf16"}) == {}
    decisions = {"precision": Decision("bf16", ""), "channels_last": Decision("on", "")}
    assert with_decisions(cfg, decisions) == {"precision": "bf16"} and cfg == {"precision": "auto"}
    assert with_decisions(OmegaConf.create({"precision": "fp32"}), decisions) == {"precision": "fp32"}


def test_decisions_are_printed_and_recorded_and_a_resumed_run_keeps_them(tmp_path, monkeypatch):
    """Whatever the machine would decide now."""
    monkeypatch.setattr(precision, "seconds_of", lambda work: {"bf16": 0.001, "fp32": 0.002})
    monkeypatch.setattr(precision, "bf16_is_native", lambda where: True)
    monkeypatch.setattr(precision, "_chosen", {})
    code, printed, errors = command(tmp_path, "model=cnn", "model.channels=[4]", *TINY, "precision=auto")
    assert code == 0, errors
    said = " ".join(printed.split())
    assert "precision bf16 (auto: a pass takes 1 ms in bf16, 2 ms in fp32)" in said
    assert "channels_last on (auto: the largest kernel has 36 weights, at most 500,000)" in said
    run = only_run(tmp_path)
    decided = json.loads((run / "summary.json").read_text())["decided"]
    assert {key: row["value"] for key, row in decided.items()} == {"precision": "bf16", "channels_last": "on"}
    config = OmegaConf.load(run / "config.yaml")
    assert (config.precision, config.channels_last) == ("bf16", "auto")
    newest = next(iter(checkpoint.newest_first(run / "checkpoints")))
    assert checkpoint.load(newest, CPU)["channels_last"] == "on"

    monkeypatch.setattr(precision, "seconds_of", lambda work: {"bf16": 0.002, "fp32": 0.001})
    monkeypatch.setattr(precision, "_chosen", {})
    monkeypatch.setattr("trainer.engine.memory_format.LARGEST", 1)
    code, printed, errors = command(tmp_path, f"resume={run}", "epochs=+1")
    assert code == 0, errors
    said = " ".join(printed.split())
    assert "precision bf16 (auto: as the run began)" in said and "channels_last on (auto: as the run began)" in said
    decided = json.loads((run / "summary.json").read_text())["decided"]
    assert {key: row["value"] for key, row in decided.items()} == {"precision": "bf16", "channels_last": "on"}


def test_the_table_at_the_start_has_the_number_of_threads_with_its_reason(run_in_process, tmp_path):
    code, printed, errors = run_in_process("data=iris", "model=linear", "epochs=1", "device=cpu")
    decided = json.loads(next(tmp_path.rglob("summary.json")).read_text())["decided"]["threads"]
    assert code == 0, errors
    assert decided["reason"] and f"threads     {decided['value']} (auto: {decided['reason']})" in printed
