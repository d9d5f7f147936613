"""Payloads for the tests: each would leave a file named `marker` if it ran; and runs to hide them in."""

import io
import os
import sys
from hashlib import sha256

import torch
import yaml

from trainer.rundir import checkpoint

TOUCH = "open('marker','w').close()"


def refused(result, folder, code, *said):
    """Assert a refusal: the exit code, a message instead of a traceback, no marker and no run."""
    exit_code, _, errors = result
    assert not (folder / "marker").exists(), "the payload ran"
    assert exit_code == code, errors
    assert errors.startswith("train: ") and "Traceback" not in errors and len(errors.strip().splitlines()) <= 2, errors
    for words in said:
        assert words in errors, errors
    assert not (folder / "outputs").exists()


# Targets that run something when called with `_args_`; the group's own arguments would come behind.
TARGETS = {
    "direct": ("os.system", "touch marker"),
    "the module behind os": ("posix.system", "touch marker"),
    "aliased in the standard library": ("logging.os.system", "touch marker"),
    "aliased in torch": ("torch.os.system", "touch marker"),
    "aliased in torch, deeper": ("torch.utils.cpp_extension.subprocess.Popen", "touch marker"),
    "aliased in torchvision": ("torchvision.datasets.utils.os.system", "touch marker"),
    "aliased in this project": ("trainer.rundir.subprocess.Popen", "touch marker"),
    "aliased in the command line": ("trainer.task.execution.os.system", "touch marker"),
    "a class of another library": ("subprocess.Popen", "touch marker"),
    "an alias of that class": ("trainer.rundir.subprocess.check_call", "touch marker"),
    "evaluated": ("builtins.eval", TOUCH),
    "executed": ("builtins.exec", TOUCH),
    "imported": ("builtins.__import__", "planted"),
    "imported by a loader": ("importlib.import_module", "planted"),
    "a file run": ("runpy.run_path", "planted.py"),
    "a module run": ("runpy.run_module", "planted"),
    "code of another console": ("code.InteractiveInterpreter.runsource", TOUCH),
    "a pickle": ("pickle.load", "planted.pkl"),
    "a pickle through torch": ("torch.load", "planted.pkl"),
    "a pickle through torch's alias": ("torch.serialization.pickle.loads", "planted.pkl"),
    "a pickle through numpy": ("numpy.load", "planted.npy"),
    "torch's hub": ("torch.hub.load", "."),
    "a compiler": ("torch.utils.cpp_extension.load_inline", "planted"),
    "a partial": ("functools.partial", "os.system"),
    "a partial of torch's": ("torch.functools.partial", "os.system"),
    "hydra's own instantiate": ("hydra.utils.instantiate", "{_target_:os.system}"),
    "hydra's own locate": ("hydra.utils.get_method", "os.system"),
    "hydra's policy, first step": ("hydra._internal.target_policy.BLOCKLIST.clear", ""),
    "hydra's policy by its instantiate": ("hydra._internal.instantiate._instantiate2.instantiate", ""),
    "this program again": ("trainer.__main__.main", ""),
    "this program's job": ("trainer.task.execution.job", ""),
    "a graph with code": ("torch.fx.GraphModule", ""),
    "a private attribute": ("torch.nn.Linear.__init__.__globals__", ""),
    "a function that is no class": ("torch.nn.init.os", ""),
}  # fmt: skip


HONEST = {
    "sched": "trainer.sched.decay.Cosine",
    "model": "trainer.model.mlp.Mlp",
    "optimizer": "torch.optim.SGD",
    "task": "trainer.task.train.Train",
    "data": "trainer.data.sklearn.Digits",
}


def plant(folder):
    (folder / "planted.py").write_text(TOUCH)
    torch.save(Reduced(os.system, "touch marker"), folder / "planted.pkl")


def arranged(monkeypatch, folder):
    """Plant the files in the working directory and put it on the import path."""
    plant(folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop("planted", None)


CALL = "{_target_:os.system,_args_:['touch marker']}"
FACTORY = "{version:1,root:{handlers:[a]},handlers:{a:{'()':os.system,command:'touch marker'}}}"
HYDRA = [
    f"+hydra.callbacks.a={CALL}",
    f"hydra.callbacks={{a:{CALL}}}",
    f"++hydra.callbacks.a={CALL}",
    "+hydra.callbacks.a._target_=os.system",
    "hydra/callbacks=a",
    f"hydra.job_logging={FACTORY}",
    f"hydra.hydra_logging={FACTORY}",
    "+hydra.job_logging.handlers.a={'()':os.system,command:'touch marker'}",
    "+hydra.job_logging.handlers.a={class:subprocess.Popen,args:'touch marker'}",
    "+hydra.job_logging.formatters.a={'()':'ext://os.system',command:'touch marker'}",
    "hydra/job_logging=default",
    "hydra/hydra_logging=default",
    "hydra.launcher._target_=os.system",
    "hydra.sweeper._target_=os.system",
    f"hydra.launcher={CALL}",
    f"+hydra.launcher.deeper={CALL}",
    "+hydra.launcher.deeper=${optimizer}",
    "hydra.launcher=${optimizer}",
    "optimizer@hydra.launcher=sgd",
    "+optimizer@hydra.callbacks.a=sgd",
    "+hydra.sweeper.custom_search_space=os.system",
    "hydra.searchpath=[pkg://planted]",
    "hydra.searchpath=[file://.]",
    "+hydra.job.env_set.PYTHONPATH=.",
    "hydra.job.env_copy=[SECRET]",
    "hydra.mode=MULTIRUN",
]


class Reduced:
    """Object whose pickle calls a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def saved(state, **how):
    payload = io.BytesIO()
    torch.save(state, payload, **how)
    return payload.getvalue()


def put(path, payload):
    """Write a file and the digest that matches it, as an attacker would."""
    path.write_bytes(payload)
    checkpoint.digest_path(path).write_text(sha256(payload).hexdigest() + "\n")


def change(run, edit):
    saved = yaml.safe_load((run / "config.yaml").read_text())
    edit(saved)
    (run / "config.yaml").write_text(yaml.safe_dump(saved))
