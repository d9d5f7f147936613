"""Words that stand for true and false: of older versions, and those that YAML reads so (`compile: off` is false)."""

from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf, flag_override

WORDS = {
    "compile": {True: "model", False: "off"},
    "channels_last": {True: "on", False: "off"},
}


def in_words(settings: Mapping) -> dict[str, str]:
    """Return the settings that are true or false where words are meant, as words."""
    values = {key: settings.get(key) for key in WORDS}
    return {key: WORDS[key][value] for key, value in values.items() if isinstance(value, bool)}


def use_words(cfg: DictConfig) -> DictConfig:
    """Put the words for true and false into a composed configuration, in place, and return it."""
    with flag_override(cfg, ["struct", "readonly"], False):
        for key, word in in_words(cfg).items():
            OmegaConf.update(cfg, key, word)
    return cfg
