"""torch's compiler, the import of which takes a third of the time of torch's own and which few runs use."""

from torch.optim import Optimizer

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
