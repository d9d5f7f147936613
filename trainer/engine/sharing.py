"""Shares of a run's batches among its ranks, and the sums that make one gradient of their parts.

Every rank makes the whole batch, augmented and mixed, and keeps its rows: so the ranks together have the samples of one
process. The parts of the loss are weighed as those of micro-batches, so that their gradients add up.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from hashlib import sha256

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from trainer.base import ranks, signals
from trainer.base.clock import Clock
from trainer.base.errors import ConfigError
from trainer.base.protocols import UsesClock
from trainer.base.rng import derive, seed_default
from trainer.engine.order import MicroBatch
from trainer.engine.probe import without_trace
from trainer.engine.run import Run
from trainer.engine.whole_batch import Draws, FindDraws, FindNorms, SharedDraws, SharedNorms

Criteria = Sequence[tuple[Callable[[Tensor, Tensor], Tensor], Tensor]]

SMALL = 5, 7  # samples of the passes in which random numbers are looked for: no multiples of one another
SEEDS = 4  # passes of each: a layer may be left out at random
MOST_COMPARED = 64  # samples of the batch on which shares are compared with the whole
TOLERANCE = 1e-3  # of the largest output; float32 differs by 1e-6, a layer that mixes samples by 1e-1
AGREE_EVERY = 16  # steps on a GPU between two looks at what the ranks have agreed on: each waits for it


class Share:
    """A rank's share of a micro-batch; as a context, that of the forward pass.

    Args:
        count: samples of the step: a sample's loss has the weight 1 / count.
        rows: of the micro-batch that this rank answers for.
        modes: make the contexts of layers that depend on the whole batch.
        split: the forward pass has these rows alone; else it has the whole micro-batch, which is too small to share.
    """

    def __init__(
        self, count: int, rows: slice | None = None, modes: Sequence[Callable] = (), split: bool = True
    ) -> None:
        self.count, self.rows, self.split, self._modes, self._entered = count, rows, split, modes, ExitStack()

    def __enter__(self) -> None:
        for mode in self._modes:
            self._entered.enter_context(mode())

    def __exit__(self, *exception: object) -> None:
        if self._modes:
            self._entered.close()

    def own(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the rows of this rank of what the forward pass has made."""
        return tensors if self.split else tuple(tensor[self.rows] for tensor in tensors)


class Sharing:
    """Shares of a run's batches, and sums over its ranks. With one process: the batches as they are, and no sums.

    Errors: ConfigError where a share of a batch has other outputs than within the batch.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.ranks, self._calls = run, ranks.joined_count(), 0
        self._known: dict[int, Share] = {}
        if self.ranks > 1:
            self._norms, self._draws = layers_of_whole_batch(run)
            self._compare()

    def __call__(self, batch: Sequence[MicroBatch], criteria: Criteria) -> tuple[list, list, list[Share]]:
        """Return the share of each micro-batch, the loss with the truth of its samples, and the shares."""
        sizes = [len(targets) for _, targets in batch]
        count = sum(sizes)
        if self.ranks == 1:
            if count not in self._known:
                self._known[count] = Share(count)
            return batch, criteria, [self._known[count]] * len(sizes)
        shares = [self.share(size, count) for size in sizes]
        rows = [share.rows if share.split else slice(None) for share in shares]
        batch = [(images[own], targets[own]) for (images, targets), own in zip(batch, rows)]
        return batch, [(criterion, truth[own]) for (criterion, truth), own in zip(criteria, rows)], shares

    def share(self, size: int, count: int) -> Share:
        """Return the share of a micro-batch; of one with fewer samples than ranks, every rank does the whole."""
        rows = ranks.share(size)
        if size < self.ranks:
            return Share(count * self.ranks, rows, split=False)
        modes = [SharedNorms] if self._norms else []
        modes += [lambda: SharedDraws(self._draws, rows, size)] if self._draws else []
        return Share(count, rows, modes)

    def total(self, loss: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Return the loss of all ranks' samples, and replace the gradients of the weights by those of it.

        In the same sum go the signals that have come to a rank, and rank 0's time.
        """
        if self.ranks == 1:
            return loss
        grads = [weight.grad for weight in weights if weight.grad is not None]
        said = torch.tensor(ranks.flags(signals.newest()), device=loss.device, dtype=loss.dtype)
        parts = [*grads, loss.reshape(1), said]
        sums = _unflatten_dense_tensors(ranks.sum_in_place(_flatten_dense_tensors(parts)), parts)
        torch._foreach_copy_(grads, [*sums[:-2]])
        self._calls += 1
        if loss.device.type == "cpu" or self._calls % AGREE_EVERY == 0:
            ranks.agree(sums[-1].tolist())  # host sync on a GPU
        return sums[-2].reshape(())

    def require_equal(self, now: Clock) -> None:
        """Check that all ranks have the same weights after a step. Errors: RanksDiffer."""
        if self.ranks == 1:
            return
        digest = sha256()
        for value in self.run.model.state_dict().values():
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())  # host sync
        own = torch.tensor([*digest.digest()], dtype=torch.int64)
        first, *others = ranks.of_all(own)
        different = [rank for rank, other in enumerate(others, start=1) if not torch.equal(first, other)]
        if different:
            what = f"rank {different[0]} has other weights than rank 0 after step {now.step + 1:,}"
            raise ranks.RanksDiffer(f"devices={self.ranks}: {what}: a part of the run computes otherwise there")

    @torch.no_grad()
    def _compare(self) -> None:
        """Compare the outputs and losses of this rank's share with those within the batch. Errors: ConfigError."""
        run = self.run
        size = max(min(run.batch_size, MOST_COMPARED), self.ranks)
        images, targets = some_samples(run, size)
        share = self.share(size, size)
        for term in run.slots.loss:
            if isinstance(term, UsesClock):
                term.begin(run.clock.at(run.progress.step))
        found = []
        for own, context in ((slice(None), Share(size)), (share.rows, share)):
            with without_trace(run):
                seed_default(run.device, derive(run.seed, "layers"))
                run.model.train()
                with run.autocast(), context:
                    outputs = run.model(images[own])
                outputs = outputs.float()
                losses = run.criterion(outputs, targets[own])
                terms = [term(run.model, images[own], outputs, targets[own]) for term in run.slots.loss]
            found.append((outputs, losses, torch.stack([outputs.new_zeros(()), *terms]) * (len(outputs) / size)))
        (whole, whole_losses, whole_terms), (outputs, losses, terms) = found
        pairs = [(outputs, whole[share.rows]), (losses, whole_losses[share.rows])]
        pairs.append((ranks.sum_in_place(terms), whole_terms))
        worst = [float((a - b).abs().max() / b.abs().max().clamp_min(1e-6)) for a, b in pairs]
        # A network may not be finite in training mode yet; all ranks must come to the same answer.
        sums = ranks.total([float(error > TOLERANCE) for error in worst])
        causes = ("a layer of the model mixes", "the loss mixes", "a term of reg.loss mixes")
        for mixed, cause in zip(sums, causes):
            if mixed:
                how = "the samples of a batch in a way that ranks cannot share"
                raise ConfigError(f"devices={self.ranks}: {cause} {how}; try devices=1")


def some_samples(run: Run, size: int) -> MicroBatch:
    """Return the first samples of the training split, anew from the beginning where it has fewer."""
    return run.train.batch(torch.arange(size, device=run.device) % len(run.train))


@torch.no_grad()
def layers_of_whole_batch(run: Run) -> tuple[bool, Draws]:
    """Return whether the model in training has batch norms, and the random numbers that it draws.

    Errors: ConfigError where these are neither for a sample nor for the batch.
    """
    passes = []
    norms = FindNorms()
    for seed in range(SEEDS):
        for size in SMALL:
            images, _ = some_samples(run, size)
            with without_trace(run):
                seed_default(run.device, derive(run.seed, "ranks", seed))
                run.model.train()
                draws = FindDraws()
                with run.autocast(), norms, draws:
                    run.model(images)
            passes.append((size, draws.found))
        if not any(found for _, found in passes):
            break
    return norms.found, Draws(passes)
