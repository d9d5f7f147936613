"""Exhibits on penalties and capacity."""

import numpy as np
from matplotlib.figure import Figure

from exhibits import figures
from exhibits.results import ACCURACY, LABEL, Exhibit, Finding, Results, epochs, of_summary, short, spread
from exhibits.runs import Group, Job


def weights_below(limit: float):
    """Return the fraction of the weights (not biases) of the best evaluation that are smaller than a limit."""

    def fraction(job: Job) -> float:
        from safetensors.numpy import load_file

        weights = [value for value in load_file(job.place / "weights.safetensors").values() if value.ndim > 1]
        return sum(int((np.abs(value) <= limit).sum()) for value in weights) / sum(value.size for value in weights)

    return fraction


def find_sparsity(results: Results) -> Finding:
    strongest = {
        reg: [results.of(name, f"{key}.strength=1e-2").mean for name in ("zeros", "below 0.001")]
        for reg, key in (("l2", "reg.loss.l2"), ("l1", "reg.loss.l1"), ("l1_proximal", "reg.weights.l1_proximal"))
    }
    exact = strongest["l1_proximal"][0]
    return Finding(
        exact > 0.5 and strongest["l1"][1] > 2 * strongest["l2"][1],
        f"at a strength of 0.01 {exact:.0%} of the weights are exactly 0 with `reg=l1_proximal`, none with the "
        f"other two; {strongest['l1'][1]:.0%} are below 0.001 with `reg=l1`, {strongest['l2'][1]:.0%} with `reg=l2`",
    )


def strength_of(group: Group) -> str:
    """Return the strength of the penalty."""
    return next(value for key, value in group.words.items() if key.endswith(".strength"))


def draw_sparsity(results: Results) -> Figure:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("below 0.001", LABEL)):
        for part, reg in enumerate(("l2", "l1", "l1_proximal")):
            pairs = [(group, value) for group, value in results.values(name) if group.part == part]
            points = [(float(strength_of(group)), value) for group, value in pairs]
            points = [(x, value) for x, value in points if x]
            axes.errorbar(
                [x for x, _ in points], [value.mean for _, value in points],
                yerr=[value.deviation for _, value in points], marker="o", capsize=3, label=reg,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="strength", ylabel=f"fraction of weights {name}" if name != LABEL else name)
        axes.grid(alpha=0.3)
    axes.legend()
    return figure


def find_polynomials(results: Results) -> Finding:
    plain = {degree: results.mean("test r2", f"preprocess.degree={degree}", part=0) for degree in (1, 3, 15)}
    ridge, lasso = (results.mean("test r2", part=part) for part in (1, 2))
    return Finding(
        plain[3] > max(plain[1], plain[15]) and min(ridge, lasso) > plain[15],
        f"r2 on the test split {short(plain[1])} with degree 1, {short(plain[3])} with 3, {short(plain[15])} with 15; "
        f"degree 15 with ridge {short(ridge)}, with lasso {short(lasso)}",
    )


def draw_polynomials(results: Results) -> Figure:
    """Draw the fits of the first draw of samples."""
    from trainer import load
    from trainer.data.splits import keep_train_samples
    from trainer.data.synthetic import Polynomial

    seed = 0
    data = keep_train_samples(
        Polynomial(noise=0.2, samples=1000, val_fraction=0.0, test_fraction=0.2, split_seed=seed).load(), 20, seed
    )
    x = np.linspace(-1, 1, 200)[:, None]
    titles = {0: "degree {}", 1: "degree 15, ridge", 2: "degree 15, lasso"}
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    for axes, group in zip(figure.subplots(1, 5, sharey=True), results.groups):
        job = next(job for job in group.jobs if f"data.split_seed={seed}" in (job.place / "overrides.txt").read_text())
        axes.plot(x, 4 * x**3 - 3 * x, color="0.7", label="without noise")
        axes.plot(data.train.images, own_unit(data), "k.", markersize=4)
        axes.plot(x, load(job.place)(x.astype("float32")).numpy(), color="C1", label="fit")
        axes.set(ylim=(-2, 2), title=titles[group.part].format(group.words.get("preprocess.degree", "")))
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def own_unit(data):
    """Return the targets of the training split, which a regression may have standardised, in their own unit."""
    return data.train.targets


def find_early_stopping(results: Results) -> Finding:
    plain, early = "reg=[]", "reg=[early_stopping]"
    lost = results.mean(LABEL, plain) - results.mean(LABEL, early)
    took = [results.mean("epochs", words) for words in (plain, early)]
    return Finding(
        abs(lost) < 0.01 and took[1] < took[0] / 2,
        f"{took[1]:.0f} epochs in place of {took[0]:.0f}, at a test accuracy of {spread(results.of(LABEL, early))} "
        f"against {spread(results.of(LABEL, plain))}",
    )


def draw_early_stopping(results: Results) -> Figure:
    figure = figures.curves(results.groups, "val", "loss", time="epoch", top=0.7)
    stops = [job.summary["epochs"] for job in results.group("reg=[early_stopping]").jobs]
    for stop in stops:
        figure.axes[0].axvline(stop, color="C1", linestyle=":", linewidth=1)
    figure.axes[0].set_ylim(0.2, 0.7)
    return figure


def find_capacity(results: Results) -> Finding:
    widths = ("1", "4", "16", "256")
    train = [results.mean("train error", f"model.hidden=[{width}]") for width in widths]
    val = [results.mean("test error", f"model.hidden=[{width}]") for width in widths]
    return Finding(
        train[0] > train[1] > train[2] >= train[3] and val[2] < val[0] and val[3] >= val[2] - 0.01,
        f"with {', '.join(widths)} units the error of training is {', '.join(map(short, train))}, that of testing "
        f"{', '.join(map(short, val))}",
    )


def draw_capacity(results: Results) -> Figure:
    figure = Figure(figsize=figures.SIZE, layout="constrained")
    axes = figure.subplots()
    for name in ("train error", "test error"):
        figures.against(results.values(name), "model.hidden", name, axes=axes)
    axes.set(xlabel="hidden units", ylabel="error")
    axes.legend()
    return figure


def train_error(job: Job) -> float:
    """Error of the last epoch's training samples."""
    return 1 - job.summary["final"]["train"]["accuracy"]


def test_error(job: Job) -> float:
    """Error of the best weights on the test split."""
    return 1 - job.summary["test"]["accuracy"]


EXHIBITS = [
    Exhibit(
        name="sparsity",
        says="With a high lambda of L1 more weights become 0 (CSP)",
        metrics={**ACCURACY, "zeros": weights_below(0.0), "below 0.001": weights_below(1e-3)},
        find=find_sparsity,
        draw=draw_sparsity,
    ),
    Exhibit(
        name="polynomial_fits",
        says="A degree too low underfits, one too high overfits, and a penalty on its weights repairs that (CU)",
        metrics={"test r2": of_summary("test", "r2"), "test loss": of_summary("test", "loss")},
        find=find_polynomials,
        draw=draw_polynomials,
    ),
    Exhibit(
        name="capacity",
        says="Training error falls with capacity; the error on new samples falls and then rises (CSP, PST)",
        metrics={"train error": train_error, "test error": test_error},
        find=find_capacity,
        because="The rise at a high capacity is missing: with 200 samples and 256 units the test error still falls. "
        "That a network found by descent need not overfit with its size is known (Zhang et al., 2017, "
        "arXiv:1611.03530); `polynomial_fits` shows the rise.",
        draw=draw_capacity,
    ),
    Exhibit(
        name="early_stopping",
        says="Stop when the validation loss rises, or keep the best weights: always do this (231n)",
        metrics={**ACCURACY, "epochs": epochs},
        find=find_early_stopping,
        draw=draw_early_stopping,
    ),
]
