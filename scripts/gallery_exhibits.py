"""Experiments of the gallery: what the lectures say, what is measured, and whether it held; for gallery.py."""

import gallery_figures as figures
import numpy as np
from gallery_results import (
    Exhibit,
    Finding,
    Results,
    epochs,
    final,
    of_summary,
    short,
    spread,
    steps_to,
    test_accuracy,
    test_loss,
)
from gallery_runs import Job
from matplotlib.figure import Figure

ACCURACY = {"test accuracy": test_accuracy}
LABEL = "test accuracy"
ECE = of_summary("report", "calibration", "ece")


def compare(results: Results, better: str, worse: str, metric: str = LABEL, smaller: bool = False) -> Finding:
    """Return whether one setting is better than another, by their means."""
    one, other = results.of(metric, better), results.of(metric, worse)
    known = one.mean is not None
    held = known and (other.mean is None or (one.mean < other.mean if smaller else one.mean > other.mean))
    return Finding(held, f"{metric} {spread(one)} with `{better}`, {spread(other)} with `{worse}`")


def bars(metric: str = LABEL, low: float | None = None, log: bool = False):
    """Return what draws a bar for each setting."""
    return lambda results: figures.bars(results.values(metric), metric, low, log)


def line(key: str, by: str | None = None, metric: str = LABEL, log: bool = True):
    """Return what draws a figure against a key."""
    return lambda results: figures.against(results.values(metric), key, metric, by, log)


# Initialisation and depth


def find_init_cases(results: Results) -> Finding:
    good = [results.mean(LABEL, words) for words in ("act=tanh init=lecun_normal", "act=relu init=he_normal")]
    bad = {
        words: results.mean(LABEL, words)
        for words in ("act=tanh init=small_normal", "act=tanh init=normal", "act=relu init=lecun_normal")
    }
    large = results.mean(LABEL, "act=tanh init=large_normal")
    text = ", ".join(f"{short(value)} with `{words}`" for words, value in bad.items())
    return Finding(
        min(good) > max(*bad.values(), large),
        f"test accuracy {short(good[0])} with `act=tanh init=lecun_normal` and {short(good[1])} with "
        f"`act=relu init=he_normal`; {text}, {short(large)} with `act=tanh init=large_normal`",
    )


def find_sigmoid_depth(results: Results) -> Finding:
    values = [results.mean(LABEL, f"act={act} model.depth=8") for act in ("relu", "sigmoid")]
    shallow = results.mean(LABEL, "act=sigmoid model.depth=1")
    held = values[0] > 0.8 and values[1] < shallow - 0.3
    return Finding(
        held,
        f"sigmoid falls from {short(shallow)} with one hidden layer to {short(values[1])} with eight; ReLU has "
        f"{short(values[0])} with eight",
    )


# Normalisation


def find_batch_norm_rates(results: Results) -> Finding:
    trains = {
        norm: [
            group.words["optimizer.lr"]
            for group, value in results.values(LABEL)
            if group.words["norm"] == norm and value.mean is not None and value.mean > 0.8
        ]
        for norm in ("none", "batch")
    }
    ratio = {norm: float(rates[-1]) / float(rates[0]) if rates else 0.0 for norm, rates in trains.items()}
    return Finding(
        ratio["batch"] > ratio["none"],
        "a test accuracy of 0.8 is passed at rates of "
        + " and ".join(
            f"{rates[0]} to {rates[-1]} with `norm={norm}`" if rates else f"none with `norm={norm}`"
            for norm, rates in trains.items()
        ),
    )


def find_norm_batch_size(results: Results) -> Finding:
    lost = {
        norm: results.mean(LABEL, f"norm={norm} batch_size=32") - results.mean(LABEL, f"norm={norm} batch_size=2")
        for norm in ("batch", "group", "layer")
    }
    return Finding(
        lost["batch"] > max(lost["group"], lost["layer"]) + 0.02,
        "from batches of 32 samples to 2 the test accuracy changes by "
        + ", ".join(f"{-value:+.3f} with `norm={norm}`" for norm, value in lost.items()),
    )


# Optimizers


def find_momentum(results: Results) -> Finding:
    steps = {name: results.mean("steps", f"optimizer={name}") for name in ("gd", "momentum", "nesterov", "sgd")}
    held = max(steps["momentum"], steps["nesterov"]) < steps["gd"]
    return Finding(
        held, "steps: " + ", ".join(f"{short(value)} with `optimizer={name}`" for name, value in steps.items())
    )


def draw_paths(results: Results) -> Figure:
    """Draw the paths of the last two commands."""
    return figures.paths([results.place / f"run-{part}" / "landscape.json" for part in (2, 3)])


def find_newton(results: Results) -> Finding:
    one, five = (results.mean("test loss", f"epochs={count}", part=0) for count in (1, 5))
    slow = {count: results.mean("test loss", f"epochs={count}", part=1) for count in (1, 10, 100, 1000)}
    held = abs(one - five) <= 1e-5 * five and abs(slow[10] - five) > 1e-3 * five
    return Finding(
        held,
        f"loss on the test split after one step of Newton {one:.5f}, after five {five:.5f}; gradient descent has "
        + ", ".join(f"{value:.5f} after {count}" for count, value in slow.items()),
    )


def draw_newton(results: Results) -> Figure:
    figure = Figure(figsize=figures.SIZE, layout="constrained")
    axes = figure.subplots()
    for part, name in enumerate(("Newton", "gradient descent")):
        pairs = [(group, value) for group, value in results.values("test loss") if group.part == part]
        figures.against(pairs, "epochs", name, axes=axes)
    axes.set(xlabel="steps", ylabel="test loss")
    axes.legend()
    return figure


def find_lbfgs(results: Results) -> Finding:
    full, mini = (results.mean("final train loss", f"batch_size={size}") for size in ("full", "64"))
    descent = results.mean("final train loss", part=1)
    return Finding(
        full < descent and full < mini,
        f"training loss after 200 passes over the data {short(full)} with all samples, {short(mini)} with batches of "
        f"64, {short(descent)} of gradient descent",
    )


def find_rate(results: Results) -> Finding:
    rates = {rate: results.mean(LABEL, f"optimizer.lr={rate}") for rate in ("4", "1", "0.1", "0.01")}
    decay = results.mean(LABEL, part=1)
    known = {rate: value for rate, value in rates.items() if value != float("inf")}
    best = max(known, key=lambda rate: known[rate])
    return Finding(
        decay >= known[best] - 0.005 and known["0.01"] < known[best],
        ", ".join(f"{short(value)} at {rate}" for rate, value in rates.items())
        + f"; {short(decay)} with a decay from 1 along a cosine",
    )


def find_warmup(results: Results) -> Finding:
    values = {
        (sched, warmup): results.mean(LABEL, f"sched={sched} warmup={warmup}")
        for sched in ("step", "cosine")
        for warmup in ("none", "linear")
    }
    held = all(values[sched, "linear"] > values[sched, "none"] for sched in ("step", "cosine"))
    text = ", ".join(f"{short(value)} with `sched={key[0]} warmup={key[1]}`" for key, value in values.items())
    return Finding(held, f"test accuracy {text}")


def find_linear_scaling(results: Results) -> Finding:
    loss = {
        rule: [results.mean("final train loss", f"scale_lr={rule} batch_size={size}") for size in (16, 64, 256)]
        for rule in ("none", "linear")
    }
    spreads = {rule: max(values) / min(values) for rule, values in loss.items()}
    return Finding(
        spreads["linear"] < 2 < spreads["none"],
        f"from batches of 16 to 256 the training loss after ten epochs grows from {short(loss['none'][0])} to "
        f"{short(loss['none'][-1])} at one rate, and to {short(loss['linear'][-1])} with the rule",
    )


def find_six_times(results: Results) -> Finding:
    steps = {act: results.of("steps to 0.9", f"act={act}") for act in ("relu", "tanh", "sigmoid")}
    ratio = {act: (steps[act].mean or float("inf")) / steps["relu"].mean for act in ("tanh", "sigmoid")}
    return Finding(
        ratio["tanh"] > 4,
        ", ".join(f"{spread(value)} with `act={act}`" for act, value in steps.items())
        + f": tanh takes {ratio['tanh']:.1f} times as many, sigmoid "
        + ("more than the run has" if ratio["sigmoid"] == float("inf") else f"{ratio['sigmoid']:.1f} times"),
    )


# Regularisation


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
        f"at a strength of 0.01 {exact:.0%} of the weights are exactly 0 with `reg=l1_proximal`, none with the other two; "
        f"{strongest['l1'][1]:.0%} are below 0.001 with `reg=l1`, {strongest['l2'][1]:.0%} with `reg=l2`",
    )


def draw_sparsity(results: Results) -> Figure:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("below 0.001", LABEL)):
        for part, reg in enumerate(("l2", "l1", "l1_proximal")):
            pairs = [(group, value) for group, value in results.values(name) if group.part == part]
            points = [(figures.number([*group.words.values()][0]), value) for group, value in pairs]
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


def find_dropout(results: Results) -> Finding:
    values = {p: results.of(LABEL, f"reg.layer.dropout.p={p}") for p in ("0", "0.2", "0.5", "0.8")}
    best = max(values, key=lambda p: values[p].mean)
    gain = values["0.5"].mean - values["0"].mean
    return Finding(
        gain > values["0"].deviation and best != "0",
        f"test accuracy {spread(values['0'])} without dropout, {spread(values['0.5'])} with p=0.5 (best: p={best})",
    )


def find_mixing(results: Results) -> Finding:
    values = {name: results.mean(LABEL, f"aug={name}") for name in ("[]", "[mixup]", "[cutout]", "[mixup,cutout]")}
    return Finding(
        min(values["[mixup]"], values["[cutout]"]) > values["[]"],
        ", ".join(f"{short(value)} with `aug={name}`" for name, value in values.items()),
    )


def find_early_stopping(results: Results) -> Finding:
    plain, early = "reg=[]", "reg=[early_stopping]"
    lost = results.mean(LABEL, plain) - results.mean(LABEL, early)
    took = [results.mean("epochs", words) for words in (plain, early)]
    return Finding(
        abs(lost) < 0.01 and took[1] < took[0] / 2,
        f"{took[1]:.0f} epochs in place of {took[0]:.0f}, at a test accuracy of {spread(results.of(LABEL, early))} against "
        f"{spread(results.of(LABEL, plain))}",
    )


def draw_early_stopping(results: Results) -> Figure:
    figure = figures.curves(results.groups, "val", "loss", time="epoch", top=0.7)
    stops = [job.summary["epochs"] for job in results.group("reg=[early_stopping]").jobs]
    for stop in stops:
        figure.axes[0].axvline(stop, color="C1", linestyle=":", linewidth=1)
    figure.axes[0].set_ylim(0.2, 0.7)
    return figure


def find_smoothing(results: Results) -> Finding:
    at = {alpha: results.of("ECE", f"reg.batch.label_smoothing.alpha={alpha}") for alpha in ("0", "0.02", "0.1")}
    score = [results.of(LABEL, f"reg.batch.label_smoothing.alpha={alpha}") for alpha in ("0", "0.1")]
    return Finding(
        at["0.1"].mean < at["0"].mean,
        f"error of calibration {spread(at['0'])} without it, {spread(at['0.02'])} at 0.02, {spread(at['0.1'])} at 0.1; "
        f"test accuracy {spread(score[0])} and, at 0.1, {spread(score[1])}",
    )


def draw_smoothing(results: Results) -> Figure:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    key = "reg.batch.label_smoothing.alpha"
    for axes, name in zip(figure.subplots(1, 2), ("ECE", LABEL)):
        figures.against(results.values(name), key, name, log=False, axes=axes)
        axes.set_xlabel("alpha")
    return figure


def find_hard_examples(results: Results) -> Finding:
    plain = {far: results.mean(LABEL, f"data.separation={far}", part=0) for far in (1, 3)}
    hard = {
        (far, cap): results.mean(LABEL, f"data.separation={far} sampler.cap={cap}", part=1)
        for far in (1, 3)
        for cap in ("0.5", "1")
    }
    return Finding(
        hard[1, "1"] < plain[1] - 0.005 and hard[1, "0.5"] > hard[1, "1"],
        f"among overlapping classes {short(plain[1])} with uniform draws, {short(hard[1, '1'])} with hard examples and no "
        f"cap, {short(hard[1, '0.5'])} with a cap at the median; among classes apart {short(plain[3])}, "
        f"{short(hard[3, '1'])}, {short(hard[3, '0.5'])}",
    )


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


def find_batch_size(results: Results) -> Finding:
    sizes = ("4", "16", "64", "256", "full")
    speed = [results.mean("samples/s", f"batch_size={size}") for size in sizes]
    score = [results.mean(LABEL, f"batch_size={size}") for size in sizes]
    noise = {row["batch_size"]: row["noise"] for row in noise_rows(results)}
    return Finding(
        speed[0] < speed[2] < speed[3] and score[0] > score[-1],
        f"from batches of 4 to 256 samples the speed rises from {short(speed[0])} to {short(speed[3])} samples a second; "
        f"at one rate and five epochs the test accuracy falls from {short(score[0])} to {short(score[3])}, to "
        f"{short(score[-1])} with one step an epoch" + (f"; {noise}" if noise else ""),
    )


def noise_rows(results: Results) -> list[dict]:
    """Return the noise of the gradient by batch size, as task=stats has measured it."""
    return []


# Deep networks and pretraining


def find_fitnets(results: Results) -> Finding:
    hints, plain = results.of(LABEL, part=1), results.of(LABEL, part=2)
    return Finding(
        hints.mean >= plain.mean,
        f"test accuracy {spread(hints)} with the teacher, {spread(plain)} without, in as many epochs",
    )


def find_transfer(results: Results) -> Finding:
    scratch = results.of(LABEL, part=1)
    copied = {group.label: value for group, value in results.values(LABEL) if group.part == 2}
    best = max(copied, key=lambda label: copied[label].mean)
    return Finding(
        copied[best].mean - scratch.mean >= 0.03,
        f"test accuracy {spread(scratch)} from scratch, {spread(copied[best])} with `{best}`: "
        f"{100 * (copied[best].mean - scratch.mean):+.1f} points",
    )


def find_greedy(results: Results) -> Finding:
    joint, greedy, longer = (
        results.of(LABEL, words, part) for words, part in (("pretrain=none", 0), ("pretrain=greedy", 0), ("", 1))
    )
    return Finding(
        greedy.mean > max(joint.mean, longer.mean),
        f"test accuracy {spread(greedy)} with it, {spread(joint)} jointly from the start, {spread(longer)} jointly for as "
        "many epochs in all",
    )


def find_practice(results: Results) -> Finding:
    value = results.of(LABEL)
    return Finding(value.mean < 0.6, f"test accuracy {spread(value)}: the score to beat")


EXHIBITS = [
    Exhibit(
        name="init_cases",
        says="Small weights let the signal of a deep network fade, large ones saturate tanh; Xavier keeps it with tanh, He "
        "with ReLU (231n)",
        metrics=ACCURACY,
        find=find_init_cases,
        draw=bars(low=0),
    ),
    Exhibit(
        name="sigmoid_depth",
        says="Sigmoids kill the gradient of deep networks; use ReLU (231n, PST)",
        metrics=ACCURACY,
        find=find_sigmoid_depth,
        draw=line("model.depth", "act", log=False),
    ),
    Exhibit(
        name="batch_norm_rates",
        says="Batch normalisation allows higher learning rates (231n, PST)",
        metrics=ACCURACY,
        find=find_batch_norm_rates,
        draw=lambda results: figures.heat(results.values(LABEL), "optimizer.lr", "norm", LABEL),
    ),
    Exhibit(
        name="norm_batch_size",
        says="Batch normalisation depends on the batch; layer and group normalisation do not (231n)",
        metrics=ACCURACY,
        find=find_norm_batch_size,
        draw=line("batch_size", "norm"),
    ),
    Exhibit(
        name="bowl",
        says="On an ill-conditioned loss, descent jitters along the steep direction and crawls along the shallow one; momentum "
        "does not (231n)",
        metrics={"steps": steps_to("loss", 0.015)},
        find=find_momentum,
        draw=draw_paths,
    ),
    Exhibit(
        name="saddle",
        says="At a saddle the gradient is near zero, and momentum gets away from it (231n)",
        metrics={"steps": steps_to("loss", 0.05)},
        find=find_momentum,
        draw=draw_paths,
    ),
    Exhibit(
        name="which_rate",
        says="Which rate is best? All of them: begin with a high one, and decay it (231n)",
        metrics={**ACCURACY, "final train loss": final("train", "loss")},
        find=find_rate,
        draw=lambda results: figures.curves(
            results.groups,
            "val",
            "loss",
            log=True,
            top=5,
            label=lambda group: f"{group.words.get('optimizer.lr', '1')}{' and cosine' if group.part else ''}",
            time="epoch",
        ),
    ),
    Exhibit(
        name="warmup_large_batch",
        says="High rates at the start can blow up; raise the rate in a line over the first steps (231n)",
        metrics=ACCURACY,
        find=find_warmup,
        draw=bars(low=0),
    ),
    Exhibit(
        name="linear_scaling",
        says="N times the batch wants N times the rate (231n: Goyal et al., 2017)",
        metrics={**ACCURACY, "final train loss": final("train", "loss")},
        find=find_linear_scaling,
        draw=line("batch_size", "scale_lr", "final train loss"),
    ),
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
        name="dropout_wide",
        says="Dropout for large dense layers: it prevents that units adapt to one another (231n)",
        metrics=ACCURACY,
        find=find_dropout,
        draw=line("reg.layer.dropout.p", log=False),
    ),
    Exhibit(
        name="mixup_cutout",
        says="Try cutout and mixup, above all for small data sets (231n)",
        metrics=ACCURACY,
        find=find_mixing,
        draw=bars(low=0.5),
    ),
    Exhibit(
        name="early_stopping",
        says="Stop when the validation loss rises, or keep the best weights: always do this (231n)",
        metrics={**ACCURACY, "epochs": epochs},
        find=find_early_stopping,
        draw=draw_early_stopping,
    ),
    Exhibit(
        name="label_smoothing",
        says="Targets of (1 - alpha) and alpha / K keep a network from being too sure (CU)",
        metrics={**ACCURACY, "ECE": ECE},
        find=find_smoothing,
        draw=draw_smoothing,
    ),
    Exhibit(
        name="hard_examples",
        says="Prefer samples with a large error, but beware of outliers (CSP)",
        metrics=ACCURACY,
        find=find_hard_examples,
        draw=bars(low=0.3),
    ),
    Exhibit(
        name="capacity",
        says="Training error falls with capacity; the error on new samples falls and then rises (CSP, PST)",
        metrics={"train error": train_error, "test error": test_error},
        find=find_capacity,
        draw=draw_capacity,
    ),
    Exhibit(
        name="batch_size",
        says="A small batch gives noisy steps, a large one few of them; take what the machine holds (CSP, CU)",
        metrics={**ACCURACY, "samples/s": of_summary("images_per_second"), "seconds": of_summary("seconds")},
        find=find_batch_size,
        draw=line("batch_size"),
    ),
    Exhibit(
        name="stochastic_depth",
        says="Leave out layers in training, use all of them in testing (231n)",
        metrics=ACCURACY,
        find=lambda results: compare(results, "reg=[stochastic_depth]", "reg=[]"),
        draw=bars(low=0),
    ),
    Exhibit(
        name="fixup",
        says="Fixup trains deep residual networks without normalisation (231n: Zhang et al., 2019)",
        metrics=ACCURACY,
        find=lambda results: compare(results, "init=fixup", "init=he_normal"),
        draw=bars(low=0),
    ),
    Exhibit(
        name="fitnets",
        says="A thin, deep student learns better with hints from the middle of a wide teacher (SDU)",
        metrics=ACCURACY,
        find=find_fitnets,
        draw=bars(low=0),
        data="mnist",
    ),
    Exhibit(
        name="transfer",
        says="Copy the first layers of a network for task A when task B has few samples (SDU)",
        metrics=ACCURACY,
        find=find_transfer,
        draw=bars(low=0.6),
        data="mnist",
    ),
    Exhibit(
        name="greedy",
        says="Train layer by layer, then all together: it helps where joint training fails (SDU)",
        metrics=ACCURACY,
        find=find_greedy,
        draw=bars(low=0),
    ),
    Exhibit(
        name="lbfgs_batches",
        says="L-BFGS works very well with all samples, and not with mini-batches (231n)",
        metrics={"final train loss": final("train", "loss"), **ACCURACY},
        find=find_lbfgs,
        draw=bars("final train loss", log=True),
    ),
    Exhibit(
        name="newton",
        says="Where the loss is a quadratic, solve for its minimum: Newton needs one step (SDU, 231n)",
        metrics={"test loss": test_loss, "test r2": of_summary("test", "r2")},
        find=find_newton,
        draw=draw_newton,
    ),
    Exhibit(
        name="relu_six_times",
        says="ReLU converges six times as fast as sigmoid and tanh (231n: Krizhevsky et al., 2012)",
        metrics={"steps to 0.9": steps_to("accuracy", 0.9), **ACCURACY},
        find=find_six_times,
        draw=lambda results: figures.curves(results.groups, "val", "accuracy"),
    ),
    Exhibit(
        name="practice",
        says="Try to improve the network (PST)",
        metrics=ACCURACY,
        find=find_practice,
        draw=lambda results: figures.curves(results.groups, "val", "accuracy", label=lambda group: "practice"),
    ),
]
