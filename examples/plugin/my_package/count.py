"""Tasks of one's own."""

from dataclasses import dataclass

from omegaconf import DictConfig

from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run


@dataclass(frozen=True, kw_only=True)
class Count:
    """Print the number of parameters of the model that a command builds, and of its largest tensors."""

    largest: int = 3

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        model = build_run(cfg, invocation).model
        sizes = sorted(((weight.numel(), name) for name, weight in model.named_parameters()), reverse=True)
        print(f"{sum(size for size, _ in sizes):,} parameters")
        for size, name in sizes[: self.largest]:
            print(f"  {name} {size:,}")
