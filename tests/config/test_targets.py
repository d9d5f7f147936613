"""Classes that a `_target_` may name: a module that cannot be imported is not taken for a class that is not in it."""

import sys

import pytest

from trainer.base.errors import ConfigError
from trainer.config.targets import LIBRARIES, locate

FILES = {
    "__init__.py": "",
    "good.py": "class Sched:\n    pass\n",
    "needs.py": "import surely_not_installed\n\nclass Sched:\n    pass\n",
    "broken.py": "from .good import Missing\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the user's, beside a module that is not there."""
    folder = tmp_path / "homemade"
    folder.mkdir()
    for name, source in FILES.items():
        (folder / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield "homemade"
    for name in [name for name in sys.modules if name.partition(".")[0] == "homemade"]:
        del sys.modules[name]


def find(target):
    return locate(target, "sched", "sched", (*LIBRARIES, "homemade", "surely_not_installed"))


def test_a_class_of_a_module_that_nobody_has_imported_is_found(package):
    assert find("homemade.good.Sched").__name__ == "Sched"


@pytest.mark.parametrize(
    "target, message",
    [
        ("homemade.good.Other", "no class of that name"),
        ("homemade.other.Sched", "no class of that name"),
        ("homemade.good.Sched.inner.Deep", "no class of that name"),
        ("torch.nn.modules.linear.Other", "no class of that name"),
        (
            "homemade.needs.Sched",
            r"homemade.needs cannot be imported \(No module named 'surely.*'\); install surely_not_installed$",
        ),
        (
            "homemade.broken.Sched",
            r"homemade.broken cannot be imported \(cannot import name 'Missing'.*; fix the error in it",
        ),
        (
            "surely_not_installed.Sched",
            "surely_not_installed cannot be imported.*install it, or put its folder on PYTHON",
        ),
    ],
)
def test_the_message_names_the_module_at_fault(package, target, message):
    with pytest.raises(ConfigError, match=rf"^sched\._target_={target}: {message}"):
        find(target)
