"""Classifiers of timm, adapted to the data and the kit."""

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor, nn

from trainer.base.checks import require_one_of
from trainer.base.errors import ConfigError, DataError
from trainer.base.layer_factory import LayerFactory
from trainer.base.layers import is_norm
from trainer.base.origin import reason
from trainer.base.text import did_you_mean, printable
from trainer.config import classifiers
from trainer.model.blocks import Shape, require_image_shape
from trainer.model.finished import replace_parts, require_effect
from trainer.model.surgery import forward_on_meta


class Timm(nn.Module):
    """Classifier of timm, with its own activations, norms and dropouts or the kit's.

    The options act=, norm= and reg= (its layer slot) reach a network that has parts of its own only with model.act,
    model.norm and model.drop at `kit`; an option that would have no effect is an error. The kit's pooling is not used.
    A network that is made for one size of image is made for that of the data.

    Args:
        name: name in timm.list_models, with the tag of its weights behind a point or without.
        pretrained: start from timm's weights, from the hub or its cache, all but those of the last layer. Those of the
            first layer are adapted to the channels, as timm does it.
        act: the network's original activations, or the kit's.
        norm: the network's original normalisations, or the kit's.
        drop: the network's original dropouts, or the kit's.
    Shapes: (B, C, H, W) -> (B, K). Errors: ValueError; ConfigError without timm; DataError where the weights are not
    available. Source: timm (Wightman, 2019, doi:10.5281/zenodo.4414861). Differs from it: no.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kit: LayerFactory,
        *,
        name: str = "resnet18",
        pretrained: bool = False,
        act: str = "original",
        norm: str = "original",
        drop: str = "original",
    ) -> None:
        super().__init__()
        require_one_of("original", "kit", act=act, norm=norm, drop=drop)
        require_image_shape(input_shape)
        cfg = cfg_of(name)
        require_effect(kit, act, norm, drop)
        require_size(name, input_shape, outputs, cfg)
        self.network = (make_pretrained if pretrained else created)(name, input_shape, outputs, cfg)
        self.made_for = tuple(cfg.input_size[1:])
        if norm == "kit" and (fused := norms_with_activations(self.network)):
            why = f"has {len(fused)} norms that are one module with their activation, which would be lost"
            raise ValueError(f"model.name={name}: {why}; try model.norm=original")
        replace_parts(self.network, name, kit, input_shape, act, norm, drop, own_activations())
        self.pretrained = pretrained

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    @staticmethod
    def normalization(*, name: str, **others: object) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and deviation of each channel, as the network was made for. Errors: as of the class."""
        cfg = cfg_of(name)
        return cfg.mean, cfg.std

    def head_layers(self) -> list[nn.Module]:
        """Return the layers that make the outputs, two of a network that was distilled."""
        found = self.network.get_classifier() if hasattr(self.network, "get_classifier") else ()
        layers = found if isinstance(found, tuple | list) else [found]
        return [layer for layer in layers if isinstance(layer, nn.Module) and [*layer.parameters()]]

    def layer_depths(self) -> dict[str, int]:
        """Return the depth of each parameter as timm groups them for layer decay; nothing where timm does not say."""
        if not hasattr(self.network, "group_matcher"):
            return {}
        depths = library().models.group_parameters(self.network, self.network.group_matcher(coarse=False), reverse=True)
        last = max(depths.values())
        return {f"network.{name}": depths.get(name, last) for name, _ in self.network.named_parameters()}

    def converted(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return weights of the network's authors, or for images of another size, as timm itself would load them."""
        convert = getattr(sys.modules[type(self.network).__module__], "checkpoint_filter_fn", None)
        try:
            found = convert(dict(weights), self.network) if convert else dict(weights)
        except Exception:  # it is made for the weights of its network; others are taken as they are
            found = dict(weights)
        own, first = self.network.state_dict(), self.network.pretrained_cfg.get("first_conv")
        for name in [f"{layer}.weight" for layer in ([first] if isinstance(first, str) else first or ())]:
            if name in found and name in own and found[name].dim() == 4 and found[name].shape[1] == 3:
                with suppress(NotImplementedError):
                    found[name] = library().models.adapt_input_conv(own[name].shape[1], found[name])
        return found


def library() -> ModuleType:
    """Return timm, which takes seconds to import. Errors: ConfigError without it."""
    try:
        import timm
    except ImportError as error:
        what = f"timm cannot be imported ({printable(error)})"
        raise ConfigError(f"model=timm: {what}; pip install 'trainer[timm]'") from error
    return timm


def cfg_of(name: str) -> object:
    """Return what timm knows of a network: size of images, mean and deviation, weights.

    Errors: ConfigError for another name or tag, and without timm.
    """
    classifiers.require_known("timm", name)
    cfg = None
    with suppress(RuntimeError):  # of an unknown tag
        cfg = library().get_pretrained_cfg(name)
    if cfg is None:
        arch = name.partition(".")[0]
        hint = did_you_mean(name, [arch, *library().list_pretrained(f"{arch}.*")], "model.name=")
        raise ConfigError(f"model.name={name}: timm has no weights with this tag; {hint}")
    return cfg


def require_size(name: str, input_shape: Shape, outputs: int, cfg: object) -> None:
    """Check that a network can be made for the images, and takes them.

    Errors: ValueError, with the next side that fits.
    """
    channels, height, width = input_shape
    own = cfg.input_size[1]
    if takes(name, input_shape, outputs, cfg) or not takes(name, (channels, *cfg.input_size[1:]), outputs, cfg):
        return  # where it does not take its own size on the device meta, that says nothing
    larger = [side for side in range(min(height, width) + 1, own + 1) if not side % 2]
    side = next((side for side in larger if takes(name, (channels, side, side), outputs, cfg)), own)
    cannot = f"cannot take images of {height}x{width}"
    raise ValueError(f"model.name={name}: {cannot}; the next side it can take: {side}")


def takes(name: str, input_shape: Shape, outputs: int, cfg: object) -> bool:
    """Return whether a network, made for images of a shape, takes them: tried without values."""
    try:
        with torch.device("meta"):
            network = created(name, input_shape, outputs, cfg)
        return forward_on_meta(network, input_shape).shape == (2, outputs)
    except (AssertionError, ValueError, RuntimeError, ZeroDivisionError):
        return False


def created(name: str, input_shape: Shape, outputs: int, cfg: object, pretrained: bool = False) -> nn.Module:
    """Return timm's network; one that is made for one size of image is made for this one."""
    size = {"img_size": tuple(input_shape[1:])} if cfg.fixed_input_size else {}
    return library().create_model(name, pretrained=pretrained, num_classes=outputs, in_chans=input_shape[0], **size)


def make_pretrained(name: str, input_shape: Shape, outputs: int, cfg: object) -> nn.Module:
    """Return timm's network with its weights, and a last layer that is new. Errors: DataError, ValueError."""
    if not (cfg.hf_hub_id or cfg.url):
        raise ValueError(f"model.pretrained=true: timm has no weights for {name}; try model.pretrained=false")
    try:
        with without_waiting():
            network = created(name, input_shape, outputs, cfg, pretrained=True)
    except Exception as error:  # of the hub, of the network, of the file
        place = f"https://huggingface.co/{cfg.hf_hub_id}" if cfg.hf_hub_id else cfg.url
        why = printable(reason(error).partition(". ")[0])[:150]
        take = f"download it elsewhere from {place}, and write model.pretrained=false model.weights=FILE"
        raise DataError(f"model.pretrained=true: no weights for {name} ({why}); {take}") from error
    if outputs == cfg.num_classes:
        network.reset_classifier(outputs)
    return network


@contextmanager
def without_waiting() -> Iterator[None]:
    """Let the hub look into its cache alone where its host is not known: it would try again for a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        if not getproxies():
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def norms_with_activations(network: nn.Module) -> list[nn.Module]:
    """Return the norms of timm that are one module with an activation."""
    own = [module for module in network.modules() if type(module).__module__.startswith("timm.layers.")]
    return [module for module in own if hasattr(module, "act") and is_norm(module)]


def own_activations() -> tuple[type, ...]:
    """Return timm's classes of activations, without those that it uses as gates."""
    from timm.layers import activations

    kinds = [kind for kind in vars(activations).values() if isinstance(kind, type) and issubclass(kind, nn.Module)]
    return tuple(kind for kind in kinds if kind.__module__ == activations.__name__ and "Sigmoid" not in kind.__name__)
