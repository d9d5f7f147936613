"""Memory format of images: with the channels last, some convolutions take less time."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.base.device import bf16_is_native
from trainer.engine.contracts import is_own
from trainer.engine.decision import AUTO, Decision

LARGEST = 500_000  # weights of a kernel; with larger ones the format costs time (scripts/bench/memory_format.py)


def choose_channels_last(cfg: Mapping, model: nn.Module, where: torch.device) -> Decision | None:
    """Return whether a model gets its images with the channels last, `on` or `off`; None without convolutions.

    On a CPU where none of its kernels is large, on a GPU where it computes in bf16. Not where a class of the user's own
    takes part, whose `view` may want the usual format, and not in compiled code, which chooses formats by itself.
    """
    kernels = [module.weight.numel() for module in model.modules() if isinstance(module, nn.Conv2d)]
    if not kernels:
        return None
    if any(map(is_own, model.modules())):
        return Decision("off", "a class of your own takes part, which may want the usual format")
    if cfg.get("compile", "off") != "off":
        return Decision("off", "compiled code chooses the formats itself")
    if where.type == "cuda":
        precision = cfg.get("precision", "fp32")
        native = precision == "bf16" or (precision == AUTO and bf16_is_native(where))
        why = "GPUs convolve bf16 faster so" if native else "GPUs convolve fp32 faster in the usual format"
        return Decision("on" if native else "off", why)
    if where.type != "cpu":
        return Decision("off", f"not measured on {where.type}")
    small = max(kernels) <= LARGEST
    why = f"the largest kernel has {max(kernels):,} weights, {'at most' if small else 'more than'} {LARGEST:,}"
    return Decision("on" if small else "off", why)


def use_channels_last(cfg: Mapping, model: nn.Module, where: torch.device) -> None:
    """Let a model take its images with the channels last, where that is asked for or decided."""
    asked = cfg.get("channels_last", AUTO)
    decided = choose_channels_last(cfg, model, where) if asked == AUTO else None
    set_channels_last(model, asked == "on" or (decided is not None and decided.value == "on"))


def set_channels_last(model: nn.Module, on: bool) -> None:
    """Let a model take its images with the channels last, or as they are."""
    for key in [key for key, hook in model._forward_pre_hooks.items() if hook is channels_last]:
        del model._forward_pre_hooks[key]
    if on:
        model.register_forward_pre_hook(channels_last)


def channels_last(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the images (B, C, H, W) of a call in that format: a forward pre-hook."""
    images, *others = inputs
    return (images.to(memory_format=torch.channels_last) if images.dim() == 4 else images, *others)
