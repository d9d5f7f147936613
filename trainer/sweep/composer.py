"""Composition of a grid's jobs, in a tenth of the time that Hydra takes for each. No torch here."""

import copy
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from trainer.config import catalog
from trainer.config.hydra_context import without_hydra_node
from trainer.config.keys import key_of

KeyPath = tuple[str, ...]  # the parts of a key
REMOVED = ...  # in place of an option that another one does without
CHOICES = "hydra"  # place of the chosen options in a tree, which has none of Hydra's other settings


class Composer:
    """Compose the jobs of a grid.

    Hydra composes the first job, and once for each option that replaces one of it; options that can set the same keys
    are replaced together. All other jobs get the changes that these options make, and then their own values. Hydra
    composes a job where two changes meet in one place all the same.

    Args:
        loader: Hydra's.
        config: the configuration of the sweep.
        grid: the overrides of every job; those of one place have one key.
    """

    def __init__(self, loader, config: DictConfig, grid: Sequence[Sequence[str]]) -> None:
        self.loader, self.config, self.first = loader, config, list(grid[0])
        self._base = loader.load_sweep_config(config, self.first)
        self._tree = tree_of(self._base)
        self._changes: dict[tuple[tuple[int, str], ...], dict[KeyPath, object] | None] = {}
        self._values: dict[str, object] = {}
        self._plain = {place for place in range(len(self.first)) if self._is_plain(place)}
        self._together = related(
            {
                place: set().union(*(reach(text) for text in dict.fromkeys(column)))
                for place, column in enumerate(zip(*grid))
                if place not in self._plain and len({*column}) > 1
            }
        )
        self._exact = True
        last = list(grid[-1])
        if sum(text != before for text, before in zip(last, self.first)) > 1 and (tree := self._tree_of(last)):
            self._exact = tree == tree_of(loader.load_sweep_config(config, last))

    def values(self, overrides: Sequence[str]) -> dict:
        """Return the configuration of a job as plain values, interpolations as they are written."""
        tree = self._tree_of(overrides) or tree_of(self.loader.load_sweep_config(self.config, list(overrides)))
        return {key: value for key, value in tree.items() if key != CHOICES}

    def compose(self, overrides: Sequence[str], name: str) -> DictConfig:
        """Return the configuration of a job as Hydra gives it to a launcher; `name` is that of its directory."""
        if (tree := self._tree_of(overrides)) is None:
            return self.loader.load_sweep_config(self.config, [*overrides, f"hydra.job.name={name}"])
        settings = copy.deepcopy(self._base.hydra)
        with open_dict(settings):
            settings.runtime.choices = tree.pop(CHOICES)
            settings.overrides.task = list(overrides)
            settings.overrides.hydra.append(f"hydra.job.name={name}")
            settings.job.name = name
        cfg = OmegaConf.create({"hydra": settings, **tree})
        OmegaConf.set_struct(cfg, True)
        OmegaConf.set_readonly(cfg.hydra, False)
        OmegaConf.copy_cache(from_config=self.config, to_config=cfg)
        return cfg

    def _is_plain(self, place: int) -> bool:
        """Return whether the override at a place only sets the value of a key that the first job has.

        Of the others only the option that the key belongs to may concern the same key.
        """
        key = key_of(self.first[place])
        others = [key_of(text) for number, text in enumerate(self.first) if number != place]
        same = [other for other in others if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")]
        groups = catalog.groups()
        return key not in groups and {*groups} >= {*same} and holds_value(self._tree, key.split("."))

    def _tree_of(self, overrides: Sequence[str]) -> dict | None:
        """Return a job's tree; None where Hydra has to compose it."""
        if not self._exact or len(overrides) != len(self.first):
            return None
        differing = {place: text for place, text in enumerate(overrides) if text != self.first[place]}
        replaced = [[(place, differing[place]) for place in places if place in differing] for places in self._together]
        options = [self._changes_by(tuple(texts)) for texts in replaced if texts]
        if None in options or overlap(options):
            return None
        tree = dict(self._tree)
        for changes in options:
            for path, value in changes.items():
                put(tree, path, value)
        # Hydra sets values after all options, so that those of the first job are in place by now.
        for text in (text for place, text in differing.items() if place in self._plain):
            path, value = key_of(text).split("."), self._value(text)
            if isinstance(value, dict) or not holds_value(tree, path):
                return None
            put(tree, path, value)
        return tree

    def _value(self, text: str) -> object:
        if text not in self._values:
            self._values[text] = OverridesParser.create().parse_override(text).value()
        return self._values[text]

    def _changes_by(self, replaced: tuple[tuple[int, str], ...]) -> dict[KeyPath, object] | None:
        """Return what overrides in place of the first job's change in that job; None where keys come or go."""
        if replaced not in self._changes:
            texts = dict(replaced)
            overrides = [texts.get(place, text) for place, text in enumerate(self.first)]
            other = tree_of(self.loader.load_sweep_config(self.config, overrides))
            alike = list(other) == list(self._tree)
            self._changes[replaced] = dict(changes(self._tree, other)) if alike else None
        return self._changes[replaced]


def related(reaches: Mapping[int, set[str]]) -> list[list[int]]:
    """Return places in groups: those of two groups reach no key in common."""
    groups: list[tuple[list[int], set[str]]] = []
    for place, keys in reaches.items():
        meeting = [group for group in groups if group[1] & keys]
        groups = [group for group in groups if group not in meeting]
        places = sorted([place, *(other for group in meeting for other in group[0])])
        groups.append((places, keys.union(*(group[1] for group in meeting))))
    return [places for places, _ in groups]


def reach(override: str) -> frozenset[str]:
    """Return the groups, and the other top-level keys, that an override can set."""
    group, _, package = key_of(override).lstrip("+").partition("@")
    found = {re.split("[./]", name)[0] for name in (group, package) if name}
    options = re.findall(r"[^\[\],\s'\"]+", override.partition("=")[2]) if catalog.options(group) else []
    return frozenset(found).union(*(catalog.reach(group, option) for option in options))


def tree_of(cfg: DictConfig) -> dict:
    """Return a composed configuration as plain values, interpolations as they are written, with its choices."""
    choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
    return {**OmegaConf.to_container(without_hydra_node(cfg)), CHOICES: choices}


def changes(before: Mapping, after: Mapping) -> Iterator[tuple[KeyPath, object]]:
    """Yield the places at which two trees with the same keys differ, with the new value."""
    for key in (key for key in after if key != CHOICES):
        yield from different(before[key], after[key], (key,))
    for group in {**before[CHOICES], **after[CHOICES]}:
        chosen = after[CHOICES].get(group, REMOVED)
        if before[CHOICES].get(group, REMOVED) != chosen:
            yield (CHOICES, group), chosen


def different(before: object, after: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    """Yield the places at which two nodes differ: the node itself where its keys differ, or their order."""
    if isinstance(before, dict) and isinstance(after, dict) and list(before) == list(after):
        for key, value in after.items():
            yield from different(before[key], value, (*path, key))
    elif repr(before) != repr(after):  # 1, 1.0 and True are equal
        yield path, after


def overlap(options: Sequence[Mapping[KeyPath, object]]) -> bool:
    """Return whether two options change the same place, or one a place within the other's."""
    pairs = ((one, other) for first, second in itertools.permutations(options, 2) for one in first for other in second)
    return any(one[: len(other)] == other for one, other in pairs)


def holds_value(tree: Mapping, path: Sequence[str]) -> bool:
    """Return whether a tree has a value at a path, which is no mapping."""
    node: object = tree
    for key in path:
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return not isinstance(node, dict)


def put(tree: dict, path: Sequence[str], value: object) -> None:
    """Set the value at a path whose parents exist, or remove it, in a tree that may share what is below its top."""
    for key in path[:-1]:
        tree[key] = dict(tree[key])
        tree = tree[key]
    if value is REMOVED:
        tree.pop(path[-1], None)
    else:
        tree[path[-1]] = value
