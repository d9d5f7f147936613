"""compile=true and false, of older versions and of YAML, which reads `off` so."""

import pytest
import yaml
from conftest import command, only_run
from omegaconf import OmegaConf

from trainer.config.truth_words import in_words, use_words
from trainer.rundir.reader import read_config

TINY = ("model=linear", "data=iris", "epochs=1", "device=cpu", "threads=1")


def test_truth_values_are_words_and_words_stay():
    assert in_words({"compile": True, "channels_last": False, "seed": 1}) == {
        "compile": "model",
        "channels_last": "off",
    }
    assert in_words({"compile": "step", "channels_last": "auto"}) == in_words({}) == {}
    cfg = OmegaConf.create({"compile": False, "seed": 0})
    OmegaConf.set_struct(cfg, True)
    assert use_words(cfg) == {"compile": "off", "seed": 0}


@pytest.mark.parametrize("text", ["compile: off", "compile: false", "channels_last: no"])
def test_a_recipe_may_write_them_as_yaml_reads_them(text, tmp_path):
    assert list(yaml.safe_load(text).values()) == [False]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(f"# @package _global_\n# One of my own.\n{text}\n")
    code, _, errors = command(tmp_path, *TINY, "--config-dir", str(tmp_path), "experiment=own")
    assert code == 0, errors
    config = OmegaConf.load(only_run(tmp_path) / "config.yaml")
    assert (config.compile, config.channels_last) == ("off", "off" if "channels" in text else "auto")


def test_a_run_of_an_older_version_is_resumed(tmp_path):
    """Its config.yaml has `compile: false`, its checkpoints too, and none of the keys that came later."""
    assert command(tmp_path, *TINY, "compile=false")[0] == 0
    run = only_run(tmp_path)
    config = OmegaConf.load(run / "config.yaml")
    assert config.compile == "off"
    older = {key: value for key, value in OmegaConf.to_container(config).items() if key != "compile_mode"}
    (run / "config.yaml").write_text(yaml.safe_dump({**older, "compile": False}))
    overrides = (run / "overrides.txt").read_text()
    (run / "overrides.txt").write_text(overrides.replace("compile=off", "compile=false"))
    assert read_config(run)["compile"] == "off"
    code, printed, errors = command(tmp_path, f"resume={run}", "epochs=+1")
    assert code == 0 and "compile was" not in printed, errors
