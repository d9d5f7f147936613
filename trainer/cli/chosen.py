"""Options that a command chooses, and their keys: what an answer to a mistake has to go with. No torch here.

They are read from the files of conf/, not composed: an answer comes at once. What runs is composed by Hydra.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from trainer.base.paths import expanded
from trainer.cli import vocabulary
from trainer.cli.spelling import good_spellings, keeps_rule, refusal
from trainer.cli.sweep_overrides import is_for_sweeps, values
from trainer.config import catalog, schema, synonyms, untrusted
from trainer.config.quoting import as_value, quote, unquote

WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".h5", ".keras")
LATER = ("resume", "resume.run", "runs")  # name directories, which are looked for later


class Unfit(Exception):
    """Overrides do not go with a command; the text, if any, is why a value of theirs is refused."""


@dataclass(frozen=True)
class Chosen:
    """Options that a command types, and all that it chooses with them.

    Args:
        typed: options by group, or by the key that holds one, as `optimizer.base`.
        sweep: whether the command is a sweep.
        given: keys that the command gives a value, with the first value of each.
    """

    typed: Mapping[str, Sequence[str]]
    sweep: bool = False
    given: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def options(self) -> dict[str, Sequence[str]]:
        """All options: those typed, those that they choose in turn, and the defaults."""
        found = dict(self.typed)
        defaults = {group: named(option) for group, option in catalog.defaults().items()}
        for place in ("experiment", "data", *defaults):  # a recipe chooses data, which chooses a loss
            for option in found.get(place, defaults.get(place, ())):
                for text in catalog.overrides(catalog.file(place.partition(".")[0], option)):
                    group, _, other = text.partition("=")
                    found.setdefault(group, named(other.strip("[]").split(",")))
        return defaults | found

    @cached_property
    def keys(self) -> dict[str, schema.Key]:
        """The keys of the run and of all chosen options."""
        places = ((place, option) for place, options in self.options.items() for option in options)
        found = dict(vocabulary.run_keys())
        for place, option in places:
            own = self.keys_of(place, option)
            if place == "experiment":  # what it sets for options that are typed is theirs to have
                own = {path: key for path, key in own.items() if path.partition(".")[0] not in self.typed}
            found = own | found
        return found

    def keys_of(self, place: str, option: str) -> dict[str, schema.Key]:
        """Return the keys of an option, where it stands, with those of the class that one of them names."""
        found = keys_of(place, option)
        for key in [key for key in found.values() if key.classes_of]:
            found = schema.class_keys(key, self.given.get(key.path, key.default)) | found
        return found

    def adds(self, key: str) -> bool:
        """Return whether a key is beside one that names a class, and in no file: Hydra has to add it."""
        found = dict(vocabulary.run_keys())
        for place, options in self.options.items():
            if key.startswith(f"{place}."):
                for option in options:
                    found |= keys_of(place, option)
        beside = {name.path.rpartition(".")[0] for name in found.values() if name.classes_of}
        return key not in found and key.rpartition(".")[0] in beside

    def fit(self, overrides: Iterable[str], replacing: bool = False) -> list[str]:
        """Return overrides as they go with the command, so that it is accepted with them in place of a mistake.

        An option that is chosen already is left out, one of several is added to the others, one that needs a value has
        it behind it, and a value is spelled as the rule of its key wants it.

        Args:
            replacing: an option may replace another one that is typed.
        Errors: Unfit.
        """
        keys, fitted, needed = dict(self.keys), [], []
        for text in overrides:
            path, _, value = text.partition("=")
            if group := vocabulary.group_at(path):
                names = self._options_of(path, group, value, replacing)
                for name in names:
                    keys = keys_of(path, name) | keys
                if self.sweep and re.search(r",(?![^\[]*\])", value):  # a run of each
                    fitted.append(text)
                elif not names or any(name not in self.options.get(path, ()) for name in names):
                    fitted.append(f"{path}={self._merged(path, names)}")
                    needed += [key for name in names for key in needed_keys(path, name)]
            elif path in keys:
                fitted.append(f"{path}={self._value_of(keys[path], value)}")
            elif path in LATER:
                fitted.append(self._directory(path, value))
            elif path in untrusted.HYDRA_KEYS and (self.sweep or not is_for_sweeps(path)):
                fitted.append(one_text(path, value))
            else:
                raise Unfit
        given = {*self.given, *(text.partition("=")[0] for text in overrides)}
        return [*fitted, *(f"{path}=VALUE" for path in needed if path not in given)] or list(overrides)

    def _options_of(self, place: str, group: str, value: str, replacing: bool) -> list[str]:
        """Return the names of options in a value. Errors: Unfit where one is none, or another one is typed."""
        if is_placeholder(value):
            return []
        if place in catalog.MULTI_SELECT and value.lower() in ("none", "[]"):
            return []
        names = []
        for name in value.strip("[]").split(","):
            if name not in catalog.options(group):
                respelled = vocabulary.respelled_option(group, name)
                if respelled is None:
                    raise Unfit
                name = respelled
            names.append(name)
        several = place in catalog.MULTI_SELECT or self.sweep
        if not several and (len(names) > 1 or not (replacing or [*self.typed.get(place, names)] == names)):
            raise Unfit
        return names

    def _directory(self, path: str, value: str) -> str:
        """Return the override that names the directory of a run. Errors: Unfit where it is a file."""
        if Path(value).suffix in WEIGHTS:
            raise Unfit(f"{path} takes the directory of a run, not a file")
        return [*synonyms.meant_key(path, value), [f"{path}={value}"]][0][0]

    def _merged(self, place: str, names: Sequence[str]) -> str:
        """Return the value that adds options to those chosen, where a run takes several."""
        if place not in catalog.MULTI_SELECT:
            return ",".join(names) or "VALUE"
        listed = list(dict.fromkeys([*self.options.get(place, ()), *names])) if names else []
        return f"[{','.join(listed)}]" if len(listed) > 1 else (*listed, "none")[0]

    def _value_of(self, key: schema.Key, text: str) -> str:
        """Return a value as the rule of its key wants it. Errors: Unfit where it is none."""
        if is_placeholder(text):
            return text
        if is_for_sweeps(key.path) and not self.sweep:
            raise Unfit
        try:
            given = [*values(OverridesParser.create().parse_override(f"{key.path}={text}"))]
        except HydraException:
            if key.violation(text) is None:
                return quote(expanded(text))
            given = [text]
        broken = next((why for value in given if (why := refusal(key, value))), None)
        if broken is None and (len(given) == 1 or self.sweep):
            return text
        if len(given) > 1 and not self.sweep and not (key.rule and key.rule.words) and key.violation(text) is None:
            return quote(text)  # one text with commas
        bare = text.strip("[]")  # the values of a sweep, in brackets
        if self.sweep and bare != text and all(keeps_rule(key, part) for part in bare.split(",")):
            return bare
        if good := good_spellings(key, text):
            return good[0]
        raise Unfit(f"{key.path} {broken or 'takes one value'}")


def chosen_by(texts: Iterable[str], sweep: bool = False) -> Chosen:
    """Return what the arguments of a command choose; those that are no options are passed over."""
    typed, given = {}, {}
    for text in texts:
        key, _, value = text.partition("=")
        given[key.lstrip("+")] = value.partition(",")[0]
        place = key.lstrip("+").rpartition("@")[2]
        if group := vocabulary.group_at(place):
            first = re.match(r"\[[^\]]*\]|[^,]*", value)[0]  # of several values in a sweep
            options = [name for name in first.strip("[]").split(",") if name in catalog.options(group)]
            if options or first == "[]":
                typed[place] = options
    return Chosen(typed, sweep, given)


def keys_of(place: str, option: str) -> dict[str, schema.Key]:
    """Return the keys of an option, where it stands."""
    path = catalog.file(place.partition(".")[0], option)
    return schema.keys(path, place) if path.is_file() else {}


def needed_keys(place: str, option: str) -> list[str]:
    """Return the keys of an option that have no default: `data.root`."""
    return [path for path, key in keys_of(place, option).items() if key.default == "???"]


def named(option: str | Sequence[str] | None) -> Sequence[str]:
    """Return options as a list."""
    return [option] if isinstance(option, str) else list(option or ())


def one_text(key: str, value: str) -> str:
    """Return an override whose value is one text, in quotes where Hydra's grammar does not read it as that."""
    try:
        several = OverridesParser.create().parse_override(f"{key}={value}").is_sweep_override()
    except HydraException:
        several = True
    return f"{key}={as_value(unquote(value))}" if several else f"{key}={value}"


def is_placeholder(value: str) -> bool:
    """Return whether a value stands for one that only the user knows."""
    return value in ("VALUE", "DIR", "COLUMN")
