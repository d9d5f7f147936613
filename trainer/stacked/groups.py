"""Which jobs train at once: those with the same data, loss and batches, and with networks of equal shapes."""

import json
from collections.abc import Iterator, Sequence

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.optim import LBFGS

from trainer.base.layers import drops_in_training
from trainer.base.protocols import AnalyticPenalty
from trainer.base.rng import derive, preserved_generators, seed_default
from trainer.base.text import counted
from trainer.config.hydra_context import Invocation
from trainer.config.model_first import settled
from trainer.engine.run import Run
from trainer.optimizer.momentum import Momentum, Nesterov
from trainer.reg.grad_clip import GradClip
from trainer.reg.grad_noise import GradNoise
from trainer.reg.l1_proximal import L1Proximal
from trainer.reg.max_norm import MaxNorm
from trainer.reg.weight_decay import WeightDecay
from trainer.rundir.console import Console
from trainer.stacked.step import StackedUpdate
from trainer.sweep.launch import find_or_prepare, saved_config

# Keys that each job may have its own values of: they decide neither shapes nor batches.
FREE = ("act", "aug", "averaging", "base_batch", "bias", "init", "monitor", "on_nan", "optimizer", "output", "reg")
FREE += ("resume", "sampler", "save_every", "scale_lr", "sched", "seed", "sweep", "tta", "warmup")
EDITS = (GradClip, GradNoise, L1Proximal, MaxNorm, WeightDecay)  # those that change gradients and weights in place
LARGEST_CONVOLUTION = 8_000_000  # multiplications of a job's batch; larger ones gain nothing on a CPU
ALONE = "no other job has the same data, loss and batches, and a network of the same shapes"
SAME = {"rtol": 1e-3, "atol": 1e-4}  # outputs of a network alone and in the stack


def key_of(cfg: DictConfig) -> str:
    """Return what jobs that train at once have in common, from the configuration of one."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    return json.dumps({name: value for name, value in plain.items() if name not in FREE}, sort_keys=True, default=str)


def settings_of_job(cfg: DictConfig, invocation: Invocation) -> DictConfig:
    """Return the configuration that a job was given when the sweep began. Errors: UserError."""
    directory = find_or_prepare(cfg, invocation).directory
    return settled(saved_config(cfg, directory), invocation.overrides)


def refusals_of_settings(cfg: DictConfig) -> Iterator[str]:
    """Yield why a job cannot train with others, as far as its settings say."""
    if cfg.accumulate != 1:
        yield f"accumulate={cfg.accumulate}: a step of several passes is not stacked"
    if cfg.compile != "off":
        yield f"compile={cfg.compile}: a compiled model is not stacked"
    if cfg.precision != "fp32":
        yield f"precision={cfg.precision}: only fp32 gives each job the figures that it has alone"
    if cfg.on_nan == "skip":
        yield "on_nan=skip: a step that one job leaves out is not stacked"
    if cfg.on_oom == "halve":
        yield "on_oom=halve: batches that change their size are not stacked"
    if cfg.model.freeze != "none":
        yield "model.freeze: frozen layers are not stacked"


def refusals(run: Run, invocation: Invocation) -> Iterator[str]:
    """Yield why a run that is built cannot train with others."""
    optimizer = run.optimizer
    elementwise = type(optimizer).__module__.startswith("torch.optim.") and not isinstance(optimizer, LBFGS)
    if not elementwise and type(optimizer) not in (Momentum, Nesterov):
        yield f"{invocation.describe('optimizer')}: only torch's own optimizers with one gradient a step are stacked"
    for penalty in run.slots.loss:
        if not isinstance(penalty, AnalyticPenalty):
            yield f"reg.loss: {type(penalty).__name__} has no gradient in closed form"
    for edit in (*run.slots.gradient, *run.slots.weights):
        if type(edit) not in EDITS:
            yield f"reg: {type(edit).__name__} is not stacked"
    if isinstance(run.criterion, nn.Module) and any(run.criterion.parameters()):
        yield f"{invocation.describe('loss')}: a loss with weights is not stacked"
    if run.train.residency == "stream":
        yield "residency=stream: streamed samples are not stacked"
    if run.frozen or run.stages or run.taught:
        yield "the run trains a part of its weights, or in stages"
    if run.device.type != "cpu" and (run.slots.gradient or any(map(drops_in_training, run.model.modules()))):
        yield f"device={run.device.type}: random numbers of each job alone are drawn on the CPU only"
    if not run.clock.total_steps:
        yield "epochs=0: nothing to train"


def structure_of(run: Run) -> str:
    """Return what networks that train at once have in common: the places, kinds and shapes of their weights."""
    weights = [(name, str(value.dtype), *value.shape) for name, value in run.model.state_dict().items()]
    trained = [name for name, weight in run.model.named_parameters() if weight.requires_grad]
    owners = [(name, type(module).__name__) for name, module in run.model.named_modules() if module._parameters]
    parts = [name for name, _ in run.model.named_modules()]
    lengths = run.clock.total_steps, run.clock.steps_per_epoch, run.batch_size, run.eval_steps, run.log_steps
    return json.dumps([weights, trained, owners, parts, lengths, run.labels is not None, str(run.device)])


def count(refused: dict[str, int], reasons: Sequence[str], jobs: int) -> None:
    """Count jobs for each reason."""
    for reason in reasons:
        refused[reason] = refused.get(reason, 0) + jobs


def print_refusals(reasons: dict[str, int]) -> None:
    """Print each reason for which jobs run in turn, with the number of the jobs."""
    for reason, jobs in reasons.items():
        if jobs:
            Console().print(f"{counted('job', jobs)} in turn: {reason}")


@torch.no_grad()
def refusal_of_network(runs: Sequence[Run]) -> str | None:
    """Return why the network of runs cannot be stacked, from a forward pass of each alone and of all at once."""
    if runs[0].device.type == "cpu" and largest_convolution(runs[0]) > LARGEST_CONVOLUTION:
        return "convolutions as large as these are as fast in turn on a CPU"
    try:
        with preserved_generators(runs[0].device):
            return difference_of(runs)
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
        return f"the network cannot be stacked ({next(iter(str(error).splitlines()), type(error).__name__)})"


def largest_convolution(run: Run) -> int:
    """Return the multiplications of a step's largest convolution."""
    found, modules = [0], [module for module in run.model.modules() if isinstance(module, nn.Conv2d)]

    def note(module: nn.Module, inputs: tuple, outputs: Tensor) -> None:
        found.append(outputs[0, 0].numel() * module.weight.numel() * run.batch_size)

    hooks = [module.register_forward_hook(note) for module in modules]
    training = run.model.training
    run.model.eval()(run.train.batch(torch.arange(1, device=run.device))[0])
    run.model.train(training)
    for hook in hooks:
        hook.remove()
    return max(found)


def difference_of(runs: Sequence[Run]) -> str | None:
    """Return how the outputs of a stack differ from those of each run alone; None where they do not."""
    count = min(runs[0].batch_size, len(runs[0].train))
    samples = [run.random_samples("stacked", count) for run in runs]
    buffers = [{name: value.clone() for name, value in run.model.named_buffers()} for run in runs]
    alone = []
    for run, own in zip(runs, samples):
        run.model.train()
        seed_default(run.device, derive(run.seed, "layers"))
        alone.append(run.model(run.train.batch(own)[0]))
    put_back(runs, buffers)
    update = StackedUpdate(runs, [])
    try:
        update.generators.seed(0)
        before = torch.get_rng_state()
        outputs = update.network(runs[0].train.batch(torch.cat(samples))[0])
        if not torch.equal(before, torch.get_rng_state()):
            return "the network draws random numbers in a way of its own"
    finally:
        update.release()
        put_back(runs, buffers)
    for own, part in zip(alone, outputs.chunk(len(runs))):
        if own.shape != part.shape or not torch.allclose(own, part, **SAME, equal_nan=True):
            return "the network gives other outputs in a stack: its samples are not computed one by one"
    return None


def put_back(runs: Sequence[Run], buffers: Sequence[dict]) -> None:
    """Give the models their buffers back."""
    for run, before in zip(runs, buffers):
        for name, value in run.model.named_buffers():
            value.copy_(before[name])
