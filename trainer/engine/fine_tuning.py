"""Fine-tuning: a fresh run that begins with the weights of another, frozen layers, and learning rates by layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from trainer.base.depth import depths_of, head_of
from trainer.base.errors import ConfigError
from trainer.base.freezing import freeze
from trainer.base.module_protocols import KnowsLayers, Pretrained
from trainer.base.protocols import CopiesLayers
from trainer.base.text import as_typed, nearest, printable
from trainer.config import catalog, classifiers, schema
from trainer.config.hydra_context import Invocation
from trainer.data.splits import Splits
from trainer.engine.contracts import as_config_error
from trainer.engine.start_weights import Start, compare, listed, load, only, plain_name
from trainer.rundir.description import Description
from trainer.rundir.weights_file import read_weights

NONE, ALL_BUT_HEAD = "none", "all_but_head"
PRETRAINED = "pretrained"  # key that decides what a model begins with, and not what it is
NETWORK = ("model", "norm", "act", "pool")  # groups that decide what a network is


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Start and training of the layers of a model.

    Args:
        start: what was taken from model.weights; None without it, and of a resumed run.
        frozen: names of the parameters and modules that do not train.
        factors: on the learning rate, by the name of each parameter; empty where all are 1.
        notes: for the user, one line each.
    """

    start: Start | None = None
    frozen: frozenset[str] = frozenset()
    factors: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def summary(self) -> dict | None:
        """Summary of the weights that the run begins with, for summary.json."""
        return self.start and self.start.to_summary()


def prepare(
    cfg: DictConfig,
    model: nn.Module,
    images: Tensor,
    data: Splits,
    invocation: Invocation,
    begins: bool,
    pretraining: object = None,
) -> FineTuning:
    """Load, freeze and rank the layers of an initialised model, as the configuration says.

    Args:
        images: some of the training split.
        pretraining: of the run, which may copy layers.
        begins: whether the run begins here; else its own weights are loaded later.
    Errors: ConfigError, DataError.
    """
    few = images[:2]
    start = start_of(cfg, model, few, data, invocation) if begins and cfg.model.get("weights") else None
    if isinstance(pretraining, CopiesLayers):
        copied = layers_to_copy(pretraining, cfg, model, few, invocation)
        start = first_layers(pretraining, copied, cfg, model, few, data, invocation) if begins else None
    factors = rate_factors(cfg, model, few)
    frozen = freeze_layers(cfg, model, few, invocation)
    if isinstance(pretraining, CopiesLayers) and pretraining.freezes_always:
        frozen |= frozenset(freeze(model, copied.__contains__))
    notes = [*notes_on(cfg, model, tuple(images.shape[2:]), start, frozen, invocation)] if begins else []
    return FineTuning(start=start, frozen=frozen, factors=factors, notes=notes)


def start_of(cfg: DictConfig, model: nn.Module, images: Tensor, data: Splits, invocation: Invocation) -> Start:
    """Load model.weights into the model. Errors: ConfigError where hardly anything fits, DataError."""
    if is_pretrained(model):
        what = f"{invocation.describe('model')} brings weights of its own along"
        raise ConfigError(f"model.weights={printable(cfg.model.weights)}: {what}; write model.pretrained=false")
    start = compare(read_weights(cfg.model.weights), model, images, data)
    if not start.fits:
        there, fitting = start.layers
        what = f"{fitting} of the {there} layers before the last one" if there else "no layer"
        raise ConfigError(
            f"{start.key}: {what} of {invocation.describe('model')} fit it; {hint(start, cfg, invocation)}"
        )
    load(start, model)
    return start


def layers_to_copy(
    pretraining: CopiesLayers, cfg: DictConfig, model: nn.Module, images: Tensor, invocation: Invocation
) -> frozenset[str]:
    """Return the names of the parameters and modules that pretraining copies. Errors: ConfigError."""
    if cfg.model.get("weights"):
        what = f"{invocation.describe('pretrain')} brings weights along, too; leave one of the two out"
        raise ConfigError(f"model.weights={printable(cfg.model.weights)}: {what}")
    with as_config_error("pretrain", invocation):
        return pretraining.copied(model, images)


def first_layers(
    pretraining: CopiesLayers,
    copied: frozenset[str],
    cfg: DictConfig,
    model: nn.Module,
    images: Tensor,
    data: Splits,
    invocation: Invocation,
) -> Start:
    """Load some layers of another run's network into the model. Errors: ConfigError where they do not fit, DataError.

    Args:
        copied: names of their parameters and modules.
    """
    start = only(compare(read_weights(pretraining.run, "pretrain.run"), model, images, data), copied)
    wanted = [plain_name(name) for name, _ in model.named_parameters() if name in copied]
    if lacking := [name for name in wanted if name not in start.loaded]:
        what = f"does not fit the layers to copy of {invocation.describe('model')} ({listed(lacking)})"
        raise ConfigError(f"{start.key}: {what}; {hint(start, cfg, invocation)}")
    load(start, model)
    return start


def hint(start: Start, cfg: DictConfig, invocation: Invocation) -> str:
    """Return the network that the weights are of, as far as they tell."""
    if start.file.description and (words := [*differences(start.file.description, cfg, invocation, NETWORK)]):
        return f"did you mean {' '.join(words)}?"
    named = classifiers.same(start.file.path.name.partition("-")[0].partition(".")[0])
    if named and cfg.model.get("name") != named[0][-1].partition("=")[2]:
        return f"did you mean {' '.join(named[0])}?"
    names = dict.fromkeys(name.partition(".")[0] for _, part in start.file.parts[:1] for name in part)
    return f"the names in it begin with {listed([*names])}"


def differences(
    description: Description, cfg: DictConfig, invocation: Invocation, groups: Sequence[str]
) -> Iterator[str]:
    """Yield the overrides that would make the network of a description, where they differ from the configuration."""
    for group in groups:
        option, node = description.choices.get(group), description.config.get(group)
        if option not in catalog.options(group) or not isinstance(node, Mapping):
            continue
        other = option != invocation.choice(group)
        if other:
            yield f"{group}={option}"
        for path, key in schema.keys(catalog.file(group, option), group).items():
            name = path.removeprefix(f"{group}.")
            if name == PRETRAINED:
                continue
            here = key.default if other else OmegaConf.select(cfg, path)
            here = OmegaConf.to_container(here) if OmegaConf.is_config(here) else here
            if name in node and node[name] != here and key.violation(node[name]) is None:
                yield f"{path}={as_typed(node[name])}"


def is_pretrained(model: nn.Module) -> bool:
    """Return whether a model has brought its weights along."""
    return any(isinstance(module, Pretrained) and module.pretrained for module in model.modules())


def freeze_layers(cfg: DictConfig, model: nn.Module, images: Tensor, invocation: Invocation) -> frozenset[str]:
    """Freeze the layers that model.freeze names, and return the names of all that is frozen. Errors: ConfigError."""
    words = [word.strip(".") for word in frozen_words(cfg) if word != NONE]
    if not words:
        return frozenset()
    names = [name for name, _ in model.named_parameters()]
    head = head_of(model, images) if ALL_BUT_HEAD in words else {}
    if ALL_BUT_HEAD in words and not head:
        what = f"{invocation.describe('model')} has no last layer that is dense or a convolution"
        raise ConfigError(f"model.freeze={ALL_BUT_HEAD}: {what}; name the layers to freeze, as task=stats lists them")
    starts = [full_name(word, names, invocation) for word in words if word != ALL_BUT_HEAD]

    def covers(name: str) -> bool:
        named = any(f"{name}.".startswith(f"{start}.") for start in starts)
        return named or (bool(head) and not any(meets(name, layer) for layer in head))

    frozen = frozenset(freeze(model, covers))
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ConfigError(f"model.freeze={shown(cfg)}: nothing is left to train; try model.freeze={ALL_BUT_HEAD}")
    return frozen


def split(names: Sequence[str]) -> list[list[str]]:
    """Return the parts of dotted names."""
    return [name.split(".") for name in names]


def frozen_words(cfg: DictConfig) -> list[str]:
    """Return what model.freeze names."""
    value = cfg.model.get("freeze", NONE)
    return [str(word) for word in value] if OmegaConf.is_list(value) else [str(value)]


def meets(name: str, layer: str) -> bool:
    """Return whether a module or parameter holds a layer, or is in it."""
    return f"{name}.".startswith(f"{layer}.") or f"{layer}.".startswith(f"{name}.") or not name


def full_name(word: str, names: Sequence[str], invocation: Invocation) -> str:
    """Return the beginning of parameters' names that is meant; the numbers of wrappers may be left out before it.

    Errors: ConfigError with the nearest names.
    """
    whole = dict.fromkeys(".".join(parts[:end]) for parts in split(names) for end in range(1, len(parts) + 1))
    short: dict[str, set[str]] = {}
    for parts in split(names):
        first = next((place for place, part in enumerate(parts) if not part.isdigit()), 0)
        for end in range(first + 1, len(parts) + 1):
            short.setdefault(".".join(parts[first:end]), set()).add(".".join(parts[:end]))
    known = {
        **{name: min(starts) for name, starts in short.items() if len(starts) == 1},
        **{name: name for name in whole},
    }
    if word in known:
        return known[word]
    near = nearest(word, [*known])
    first = [*dict.fromkeys(name for name in known if "." not in name)]
    hint = (
        f"did you mean model.freeze={' or model.freeze='.join(near)}?" if near else f"they begin with {listed(first)}"
    )
    raise ConfigError(
        f"model.freeze={printable(word)}: no layer of {invocation.describe('model')} has this name; {hint}"
    )


def rate_factors(cfg: DictConfig, model: nn.Module, images: Tensor) -> dict[str, float]:
    """Return the factor on the learning rate of each parameter, by name; nothing where all are 1.

    layer_decay^(L - l) at depth l of L, times head_lr in the last layer (Bao et al., 2022, arXiv:2106.08254, appendix).
    """
    decay, head_lr = factors_in(cfg)
    if decay == 1 and head_lr == 1:
        return {}
    depths = depths_of(model, images) if decay != 1 else {name: 0 for name, _ in model.named_parameters()}
    last = max(depths.values())
    factors = {name: decay ** (last - depth) for name, depth in depths.items()}
    for layer in head_of(model, images):
        for name in factors:
            factors[name] *= head_lr if f"{name}.".startswith(f"{layer}.") else 1.0
    return factors


def shown(cfg: DictConfig) -> str:
    """Return model.freeze as it is typed."""
    words = frozen_words(cfg)
    return as_typed(words if len(words) > 1 else words[0])


def factors_in(cfg: DictConfig) -> tuple[float, float]:
    """Return the factor from a layer to the one before it, and that of the last layer."""
    return cfg.optimizer.get("layer_decay", 1.0), cfg.optimizer.get("head_lr", 1.0)


def notes_on(
    cfg: DictConfig,
    model: nn.Module,
    shape: tuple[int, ...],
    start: Start | None,
    frozen: frozenset[str],
    invocation: Invocation,
) -> Iterator[str]:
    """Yield what was loaded, and what does not mean what it seems to: sizes of images, and settings of fine-tuning."""
    decay, head_lr = factors_in(cfg)
    for module in model.modules():
        if isinstance(module, KnowsLayers) and module.made_for != shape:
            made, here = ("x".join(map(str, size)) for size in (module.made_for, shape))
            fix = f"; data.size={module.made_for[0]} makes them so" if "size" in cfg.data else ""
            name = cfg.model.get("name", invocation.choice("model"))
            yield f"model.name={name}: is made for images of {made}, and those of the data have {here}{fix}"
    if start:
        yield f"{start.key}: {start.describe()}"
        described = start.file.description
        if described and (words := [*differences(described, cfg, invocation, NETWORK)]):
            yield f"{start.key}: was trained with {' '.join(words)}, which make another network; type them to keep it"
        if drawn := [name for name in start.fresh if name in frozen]:
            yield f"model.freeze={shown(cfg)}: freezes what is freshly drawn: {listed(drawn)}"
    elif not is_pretrained(model):
        typed = [f"model.freeze={shown(cfg)}"] if frozen else []
        typed += [f"optimizer.layer_decay={as_typed(decay)}"] if decay != 1 else []
        for word in typed[:1]:
            what = "is for weights that are trained already, and here all are freshly drawn"
            yield f"{word}: {what}; give model.weights=RUN or FILE"
    if head_lr < 1:
        what = f"is a factor: the last layer learns at {as_typed(head_lr)} times optimizer.lr"
        yield f"optimizer.head_lr={as_typed(head_lr)}: {what}"
