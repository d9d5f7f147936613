"""Every piece of private API is where it was, and does what this project takes it for."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf

from trainer.base.errors import ConfigError
from trainer.config import private_api


def overrides(*texts):
    return OverridesParser.create().parse_overrides(list(texts))


def test_flags_and_overrides_may_come_in_any_order():
    flags, unknown = private_api.parse_flags(["seed=1", "-m", "--config-dir", "own", "epochs=2", "--nonsense"])
    assert flags.overrides == ["seed=1", "epochs=2"] and flags.multirun and flags.config_dir == "own"
    assert unknown == ["--nonsense"]
    with pytest.raises(ConfigError, match="--config-dir"):
        private_api.parse_flags(["--config-dir"])


def test_a_grid_is_the_product_of_its_values_in_the_order_typed():
    found = private_api.grid(overrides("optimizer=sgd,adam", "epochs=2", "seed=range(2)"))
    assert found == [["optimizer=sgd", "epochs=2", "seed=0"], ["optimizer=sgd", "epochs=2", "seed=1"],
                     ["optimizer=adam", "epochs=2", "seed=0"], ["optimizer=adam", "epochs=2", "seed=1"]]  # fmt: skip
    with pytest.raises(HydraException):
        private_api.grid(overrides("optimizer.lr=interval(0,1)"))


class Recording(Sweeper):
    def setup(self, *, hydra_context, task_function, config):
        self.ready = True

    def sweep(self, arguments):
        return arguments


def test_hydra_makes_a_sweeper_by_the_name_it_was_registered_under(monkeypatch):
    plugins = Plugins.instance()
    monkeypatch.setattr(plugins, "class_name_to_class", dict(plugins.class_name_to_class))
    private_api.register_plugin("hydra_plugins.trainer.Recording", Recording)
    cfg = OmegaConf.create({"hydra": {"sweeper": {"_target_": "hydra_plugins.trainer.Recording"}}})
    assert plugins.instantiate_sweeper(hydra_context=None, task_function=None, config=cfg).ready


def test_hydra_takes_its_launcher_by_the_name_of_its_class():
    found = [plugin for plugin in Plugins.instance().discover(Launcher) if plugin.__name__ == "BasicLauncher"]
    assert [f"{plugin.__module__}.{plugin.__name__}" for plugin in found] == [private_api.BASIC_LAUNCHER]


def test_an_interpolation_is_read_as_it_is_written():
    node = OmegaConf.create({"a": "${b}", "b": [1, "${a}"]})
    assert str(private_api.unresolved(node, "a")) == "${b}" and str(private_api.unresolved(node.b, 1)) == "${a}"


def test_a_trial_is_opened_again_by_its_key(tmp_path):
    optuna = pytest.importorskip("optuna", minversion="4")
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize", pruner=pruner)
    asked = [study.ask() for _ in range(3)][-1]
    again = optuna.load_study(study_name="s", storage=storage, pruner=pruner)
    opened = private_api.open_trial(again, private_api.trial_id(asked))
    opened.report(0.5, 1)
    opened.set_user_attr("pruned", True)
    found = study.get_trials()[asked.number]
    assert opened.number == asked.number == 2 and found.intermediate_values == {1: 0.5}
    assert found.user_attrs == {"pruned": True} and private_api.trial_id(found) == private_api.trial_id(asked)


def test_yaml_is_read_as_what_omegaconf_writes():
    values = {
        "long": "word " * 60, "tab": "a\tb", "letters": "é 漢 😀", "lines": "one\ntwo\n", "space": " x ", "e": "1e5",
        "truth": "yes", "null": "null", "none": None, "small": 1e-20, "nan": float("inf"), "list": [], "map": {},
        "lists": [[1, 2.5], []], "colon": "a: b", "comment": "#x", "empty": "", "quotes": "'\"", "reference": "${seed}",
        "on": True, "hex": "0x1F", "underscore": "1_000", "control": "\x07",
    }  # fmt: skip
    text = private_api.to_yaml(values)
    assert OmegaConf.to_container(OmegaConf.create(text), resolve=False) == values
    ordinary = {name: value for name, value in values.items() if name != "letters"}
    assert private_api.to_yaml(ordinary) == OmegaConf.to_yaml(OmegaConf.create(ordinary))


@pytest.mark.parametrize(
    "values", [(1, True, 1.0, "1"), (0, False, -0.0, 0.0, None), ([1], [True], {"a": 1}, {"a": 1.0})]
)
def test_equal_values_of_a_key_are_written_each_in_its_own_way(values):
    for value in values:
        assert private_api.to_yaml({"key": value}) == OmegaConf.to_yaml(OmegaConf.create({"key": value}))
    assert private_api.to_yaml({}) == OmegaConf.to_yaml(OmegaConf.create({}))
