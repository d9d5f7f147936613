"""L-BFGS as torch has it, over parameter groups."""

import torch

from trainer.base.checks import require
from trainer.optimizer.base import require_one_rate


class Lbfgs(torch.optim.LBFGS):
    """L-BFGS as torch has it (Liu & Nocedal, 1989), for weights that come in groups: it takes them as one.

    Args: torch.optim.LBFGS's. Errors: ValueError. Source: Nocedal & Wright, 2006, algorithm 7.5.
    Differs from torch's: no.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 10,
        line_search_fn: str | None = "strong_wolfe",
    ) -> None:
        require("> 0", lr=lr)
        require(">= 1", max_iter=max_iter, history_size=history_size)
        if max_eval is not None:
            require(">= 1", max_eval=max_eval)
        require(">= 0", tolerance_grad=tolerance_grad, tolerance_change=tolerance_change)
        if line_search_fn not in ("strong_wolfe", None):
            raise ValueError(f"line_search_fn must be strong_wolfe or null, got {line_search_fn}")
        params = list(params)
        require_one_rate(params)
        weights = [weight for group in params for weight in group["params"]] if isinstance(params[0], dict) else params
        super().__init__(
            weights, lr, max_iter, max_eval, tolerance_grad, tolerance_change, history_size, line_search_fn
        )
        # torch adds its counters before it evaluates the closure; a step that is skipped there must leave no state.
        self.state[weights[0]] |= {"func_evals": 0, "n_iter": 0}
