"""Composition of a grid's jobs: the same configurations as Hydra's own, for every kind of override."""

import re
from contextlib import contextmanager

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from trainer.cli import plugins
from trainer.config import catalog, private_api
from trainer.config.hydra_context import invocation_of, without_hydra_node
from trainer.config.synonyms import canonical
from trainer.sweep.composer import Composer


class Counting:
    """Hydra's loader, with the jobs that it composed."""

    def __init__(self, loader):
        self.loader, self.composed = loader, []

    def load_sweep_config(self, config, overrides):
        self.composed.append(overrides)
        return self.loader.load_sweep_config(config, overrides)


@contextmanager
def composer_of(*words):
    """Compose the grid of overrides: composer, loader, configuration of the sweep, overrides of every job."""
    plugins.register()
    grid = private_api.grid(OverridesParser.create().parse_overrides([*map(canonical, words)]))
    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        loader = Counting(GlobalHydra.instance().config_loader())
        fixed = [word for word in grid[0] if word in words]
        fixed += [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in catalog.extra_folders)}]"]
        config = loader.loader.load_configuration(
            "config", [*fixed, "hydra.sweep.dir=s", "hydra.mode=MULTIRUN"], RunMode.MULTIRUN
        )
        yield Composer(loader, config, grid), loader, config, grid


# Overrides of a grid, and how many jobs Hydra composes: the first, one for each other option, the last to compare.
GRIDS = [
    (("optimizer.lr=0.1,1,1e-3,5", "seed=range(3)"), 2),
    (("seed=1,true",), 1),  # values are checked elsewhere
    (("optimizer=adam,sgd", "optimizer.lr=0.1,0.2", "batch_size=8,full"), 3),
    (("data=digits,iris,diabetes", "model=mlp,linear"), 7),  # data sets choose a model
    (("model=mlp,torchvision", "init=he_normal,auto", "act=relu,tanh"), 6),
    (("model=torchvision,mlp,cnn", "act=relu,tanh"), 5),  # it sets init=torch, and they do not
    (("experiment=none,mnist_mlp", "optimizer=adam,sgd"), 5),
    (("~averaging", "optimizer=adam,sgd", "seed=0,1"), 3),
    (("+optimizer.note=1,2", "optimizer=adam,sgd"), 3),
    (("reg=[],[l2],[l2,dropout],[dropout,l2]", "act=relu,tanh"), 6),
    (("reg=[l1,l2],[l2,l1]", "reg.loss.l2.strength=1e-3,1e-2"), 3),
    (("aug=[crop,flip],[flip,crop],[]", "seed=0,1"), 4),
    (("experiment=mnist_mlp", "data=mnist,cifar10", "seed=0,1"), 3),
    (("model=mlp", "model.hidden=[8],[8,8],[]", "seed=0,1"), 2),
    (("optimizer=lookahead", "optimizer@optimizer.base=adam,sgd", "optimizer.base.lr=0.1,0.2"), 3),
    (("+sched.note=1,2", "seed=0,1"), 2),
    (("seed=3", "seed=0,1", "epochs=1,2"), 2),  # the last word counts
    (("batch_size=${seed},4", "seed=5,6"), 2),
    (("sched=cosine,step", "warmup=none,linear", "norm=batch,none"), 5),
    (("monitor='loss',\"auto\"", "data.val_fraction=0,0.1"), 2),
]


@pytest.mark.parametrize(("words", "count"), GRIDS)
def test_every_job_is_what_hydra_composes(words, count):
    with composer_of(*words) as (composer, loader, config, grid):
        for overrides in grid:
            expected = loader.loader.load_sweep_config(config, [*overrides, "hydra.job.name=x"])
            plain = OmegaConf.to_container(without_hydra_node(expected))
            assert repr(composer.values(overrides)) == repr(plain)
            found = composer.compose(overrides, "x")
            assert OmegaConf.to_yaml(found.hydra.overrides) == OmegaConf.to_yaml(expected.hydra.overrides)
            mine, hydras = invocation_of(found.hydra), invocation_of(expected.hydra)
            assert mine == hydras and mine.job == "x" and str(mine.sweep) == "s"
        assert len(loader.composed) == count, loader.composed


RECIPES = {
    "experiment/fast": "# @package _global_\n# Fast.\noptimizer:\n  lr: 0.05\nepochs: 1\n",
    "experiment/slow": "# @package _global_\n# Slow.\nepochs: 2\n",
    "act/soft": "# Soft.\ndefaults:\n  - tanh\n  - _self_\nnote: 1\n",
    "experiment/alike": "# @package _global_\n# Alike.\ndefaults:\n  - override /norm: ${pool}_norm\n",
    "norm/max_norm": "# None.\n_target_: trainer.norm.NoNorm\n",
    "norm/avg_norm": "# A batch norm.\n_target_: trainer.norm.Batch\n",
}


@pytest.mark.parametrize(
    "words",
    [
        ("experiment=fast,slow", "optimizer=momentum,adam,nesterov", "seed=0,1"),  # fast has the first one's lr
        ("act=soft,tanh,relu", "experiment=slow,fast", "optimizer=adam,sgd"),
        ("experiment=slow,alike", "pool=max,avg", "seed=0,1"),
        ("reg=[],[l2]", "experiment=none,fast", "optimizer.lr=0.1,0.05"),
    ],
)
def test_options_of_the_users_own_are_composed_as_hydra_does(words, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "extra_folders", [tmp_path])
    for name, text in RECIPES.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    with composer_of(*words) as (composer, loader, config, grid):
        for overrides in grid:
            expected = loader.loader.load_sweep_config(config, list(overrides))
            assert repr(composer.values(overrides)) == repr(OmegaConf.to_container(without_hydra_node(expected)))


def test_options_that_change_the_same_place_are_composed_by_hydra():
    words = ("optimizer=lookahead,sam", "optimizer@optimizer.base=adam,sgd")
    with composer_of(*words) as (composer, loader, config, grid):
        for overrides in grid:
            expected = loader.loader.load_sweep_config(config, list(overrides))
            assert composer.values(overrides) == OmegaConf.to_container(without_hydra_node(expected))


def test_a_key_that_an_option_lacks_is_refused_as_hydra_does():
    words = ("optimizer=momentum,adam,sgd", "optimizer.momentum=0.9,0.8", "seed=0,1")
    with pytest.raises(HydraException, match=re.escape("optimizer.momentum")), composer_of(*words) as made:
        made[0].values(made[3][4])
