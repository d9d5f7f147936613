"""torch's compiler, the import of which takes a third of the time of torch's own and which few runs use."""

import importlib
import sys
from types import ModuleType

from torch.optim import Optimizer

COMPILER, UTILITIES, WANTED = "torch._dynamo", "torch._dynamo.utils", "is_compile_supported"
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

    The function is found when it is called. A torchvision that wants more of the compiler imports it.
    """
    if "torchvision" not in sys.modules and COMPILER not in sys.modules:
        package, utilities = ModuleType(COMPILER), ModuleType(UTILITIES)
        setattr(utilities, WANTED, lambda device: getattr(importlib.import_module(UTILITIES), WANTED)(device))
        sys.modules.update({COMPILER: package, UTILITIES: utilities})
        try:
            return importlib.import_module("torchvision")
        except (ImportError, AttributeError):  # wants more
            pass
        finally:
            del sys.modules[COMPILER], sys.modules[UTILITIES]
    return importlib.import_module("torchvision")
