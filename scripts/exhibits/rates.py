"""Exhibits on learning rates, schedules and batches."""

import json

from matplotlib.figure import Figure

from exhibits import figures
from exhibits.results import ACCURACY, LABEL, Exhibit, Finding, Results, final, of_summary, short


def find_rate(results: Results) -> Finding:
    rates = {rate: results.mean(LABEL, f"optimizer.lr={rate}", 0) for rate in ("4", "1", "0.1", "0.01")}
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
        (sched, warmup): results.mean(LABEL, f"sched={sched}", part)
        for sched in ("step", "cosine")
        for part, warmup in enumerate(("none", "linear"))
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


def find_batch_size(results: Results) -> Finding:
    sizes = ("4", "16", "64", "256", "full")
    speed = [results.mean("samples/s", f"batch_size={size}") for size in sizes]
    score = [results.mean(LABEL, f"batch_size={size}") for size in sizes]
    noise = noise_of(results)
    return Finding(
        noise[256] < noise[4] / 10 and speed[0] < speed[3] and score[0] > score[-1],
        f"from batches of 4 to 256 samples the variance of the gradient falls from {short(noise[4])} to "
        f"{short(noise[256])}, and the speed rises {speed[3] / speed[0]:.0f} times; at one rate and five epochs "
        f"the test accuracy falls from {short(score[0])} to {short(score[3])}, to {short(score[-1])} with one "
        "step an epoch",
    )


def noise_of(results: Results) -> dict[int, float]:
    """Return the variance of the gradient by batch size, as task=stats has measured it on the fresh network."""
    points = json.loads((results.place / "run-1" / "stats.json").read_text())["noise"]["points"]
    return {point["size"]: point["variance"] for point in points}


def draw_batch_size(results: Results) -> Figure:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    noise = noise_of(results)
    left.plot(noise.keys(), noise.values(), marker="o", markersize=4)
    left.set(xscale="log", yscale="log", xlabel="batch_size", ylabel="variance of the gradient")
    left.grid(alpha=0.3)
    figures.against(results.values(LABEL), "batch_size", LABEL, axes=right)
    return figure


EXHIBITS = [
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
        because="The rate is at the border of what trains without normalisation, where the seeds differ by more than "
        "the settings.",
        draw=figures.bars_of(),
    ),
    Exhibit(
        name="linear_scaling",
        says="N times the batch wants N times the rate (231n: Goyal et al., 2017)",
        metrics={**ACCURACY, "final train loss": final("train", "loss")},
        find=find_linear_scaling,
        draw=figures.line_of("batch_size", "scale_lr", "final train loss"),
    ),
    Exhibit(
        name="batch_noise",
        says="A small batch gives noisy steps, a large one few of them; take what the machine holds (CSP, CU)",
        metrics={**ACCURACY, "samples/s": of_summary("images_per_second"), "seconds": of_summary("seconds")},
        find=find_batch_size,
        draw=draw_batch_size,
    ),
]
