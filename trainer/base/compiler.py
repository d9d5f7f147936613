"""torch's compiler, the import of which takes a third of the time of torch's own and which few runs use."""

import sys
from contextlib import suppress
from types import ModuleType

from torch.optim import Optimizer

COMPILER, UTILITIES = "torch._dynamo", "torch._dynamo.utils"
KEPT_AWAY = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")  # methods of every optimizer


def leave_out_compiler() -> None:
    """Let optimizers be made without the import of torch's compiler, which they are there to be hidden from.

    torch hides a method at its first call, and notes so in an attribute of the function; this notes it beforehand. None
    of these methods is part of a step that may be compiled later. A torch without that attribute imports the compiler.
    """
    for name in KEPT_AWAY:
        method = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if method is not None and not hasattr(method, "__dynamo_disable"):
            method.__dynamo_disable = method


def import_torchvision() -> ModuleType:
    """Import torchvision without torch's compiler, of which it wants one function, and return it.

    The function is looked up when it is called. A torchvision that wants more of the compiler imports it.
    """
    if "torchvision" not in sys.modules and COMPILER not in sys.modules:
        package, utilities = ModuleType(COMPILER), ModuleType(UTILITIES)
        utilities.is_compile_supported = is_compile_supported
        sys.modules.update({COMPILER: package, UTILITIES: utilities})
        with suppress(ImportError, AttributeError):  # of one that wants more
            import torchvision
        del sys.modules[COMPILER], sys.modules[UTILITIES]
    import torchvision

    return torchvision


def is_compile_supported(device: str) -> bool:
    """Return whether torch's compiler works on a device."""
    from torch._dynamo import utils

    return utils.is_compile_supported(device)
