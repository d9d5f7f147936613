"""The YAML of an experiment does what the overrides do that it was made of."""

import pytest
from omegaconf import OmegaConf

from trainer.config import catalog
from trainer.config.hydra_context import search_path
from trainer.config.keys import is_saved
from trainer.recipe.experiment import as_yaml

KINDS = {
    "values": ("optimizer.lr=0.03", "epochs=7", "data.val_fraction=0.2"),
    "options": ("model=mlp", "model.hidden=[32,16]", "act=tanh", "data=wine", "sched=step", "sched.gamma=0.5"),
    "several": ("reg=[dropout,weight_decay]", "reg.weights.weight_decay.strength=0.002", "aug=[flip,crop]"),
    "none of several": ("reg=[]", "model=linear"),
    "of an option that sets more": ("optimizer=gd", "optimizer.lr=1.0"),
    "an option in a key": ("optimizer=lookahead", "optimizer@optimizer.base=adam", "optimizer.base.lr=0.002"),
    "texts": ("epochs=300st", "warmup=linear", "warmup.length=5%", "on_nan=rollback"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_composes_to_the_same_configuration(kind, composed, tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    text = as_yaml([*KINDS[kind], "device=cpu", "output=elsewhere", "allow=[os]"], "Found by a test.")
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    monkeypatch.setattr(catalog, "extra_folders", [tmp_path])
    typed, saved = (
        OmegaConf.to_container(composed(*words)) for words in (KINDS[kind], [*search_path(), "experiment=mine"])
    )
    assert {key: value for key, value in saved.items() if is_saved(key)} == {
        key: value for key, value in typed.items() if is_saved(key)
    }
    assert text.startswith("# @package _global_\n# Found by a test.\n")
    assert all(word not in text for word in ("device", "elsewhere", "allow"))


def test_an_experiment_of_an_experiment(composed, tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    words = ("experiment=mnist_mlp", "optimizer=sgd", "batch_size=32")
    (tmp_path / "experiment" / "mine.yaml").write_text(as_yaml(words, "Found by a test."))
    monkeypatch.setattr(catalog, "extra_folders", [tmp_path])
    assert OmegaConf.to_container(composed(*search_path(), "experiment=mine")) == OmegaConf.to_container(
        composed(*words)
    )
