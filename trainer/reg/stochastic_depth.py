"""Stochastic depth: dropout of residual branches."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layers import Residual


class SurvivingResidual(Residual):
    """Residual block whose branch is left out of a training step with probability 1 - survival."""

    drops_in_training = True

    def __init__(self, block: Residual, survival: float) -> None:
        super().__init__(block.branch, block.shortcut, block.after)
        self.survival = survival

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.after(self.survival * self.branch(x) + self.shortcut(x))
        if self.survival == 1 or torch.rand(()) < self.survival:  # drawn on the CPU: nothing waits for a device
            return super().forward(x)
        # The branch is not computed, but its weights get gradients of zeros: optimizers would treat None differently.
        ends = [weight.flatten()[0] for weight in self.branch.parameters()]
        return self.after(self.shortcut(x) + 0 * torch.stack(ends).sum())


@dataclass(frozen=True, kw_only=True)
class StochasticDepth:
    """Stochastic depth (Huang et al., 2016): residual branches left out at random in training, deep ones more often.

    Block l of L: after(b_l branch(x) + shortcut(x)), b_l ~ Bernoulli(s_l) once a batch, s_l = 1 - l / L (1 - survival);
    in evaluation b_l is its mean, s_l. A branch left out is not computed: at 0.5, a quarter of them.

    Args:
        survival: probability that the last block's branch is kept, in (0, 1]. Paper: 0.5.
    Errors: ValueError, also without residual blocks. Source: arXiv:1603.09382, section 3. Differs from the paper: no.
    """

    survival: float = 0.5

    def __post_init__(self) -> None:
        require("in (0, 1]", survival=self.survival)

    def __call__(self, model: nn.Module) -> nn.Module:
        blocks = [(name, module) for name, module in model.named_modules() if isinstance(module, Residual)]
        if not blocks:
            raise ValueError("needs residual blocks, but the model has none; try model=resnet20, model=wide_resnet")
        for depth, (name, block) in enumerate(blocks, start=1):
            model.set_submodule(name, SurvivingResidual(block, 1 - depth / len(blocks) * (1 - self.survival)))
        return model
