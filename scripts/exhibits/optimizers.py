"""Exhibits on optimizers."""

from matplotlib.figure import Figure

from exhibits import figures
from exhibits.results import ACCURACY, Exhibit, Finding, Results, final, short, steps_to


def find_momentum(results: Results) -> Finding:
    steps = {name: results.mean("steps", f"optimizer={name}") for name in ("gd", "momentum", "nesterov", "sgd")}
    held = max(steps["momentum"], steps["nesterov"]) < steps["gd"]
    return Finding(
        held, "steps: " + ", ".join(f"{short(value)} with `optimizer={name}`" for name, value in steps.items())
    )


def draw_paths(results: Results) -> Figure:
    """Draw the paths of the last two commands."""
    return figures.paths([results.place / f"run-{part}" / "landscape.json" for part in (2, 3)], results.groups)


def find_newton(results: Results) -> Finding:
    one, five = (results.mean("val loss", f"epochs={count}", part=0) for count in (1, 5))
    slow = {count: results.mean("val loss", f"epochs={count}", part=1) for count in (1, 10, 100, 1000)}
    held = abs(one - five) <= 1e-5 * five and abs(slow[10] - five) > 1e-3 * five
    return Finding(
        held,
        f"loss on the validation split after one step of Newton {one:.5f}, after five {five:.5f}; gradient descent has "
        + ", ".join(f"{value:.5f} after {count}" for count, value in slow.items()),
    )


def draw_newton(results: Results) -> Figure:
    figure = Figure(figsize=figures.SIZE, layout="constrained")
    axes = figure.subplots()
    for part, name in enumerate(("Newton", "gradient descent")):
        pairs = [(group, value) for group, value in results.values("val loss") if group.part == part]
        figures.against(pairs, "epochs", name, axes=axes)
    axes.set(xlabel="steps", ylabel="val loss")
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


EXHIBITS = [
    Exhibit(
        name="bowl",
        says="On an ill-conditioned loss, descent jitters along the steep direction and crawls along the shallow one; "
        "momentum does not (231n)",
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
        name="lbfgs_batches",
        says="L-BFGS works very well with all samples, and not with mini-batches (231n)",
        metrics={"final train loss": final("train", "loss"), **ACCURACY},
        find=find_lbfgs,
        draw=figures.bars_of("final train loss", log=True),
    ),
    Exhibit(
        name="newton",
        says="Where the loss is a quadratic, solve for its minimum: Newton needs one step (SDU, 231n)",
        metrics={"val loss": final("val", "loss")},
        find=find_newton,
        because="Ten steps of descent score better on new samples than the minimum of the training loss: stopped "
        "early, descent is a penalty.",
        draw=draw_newton,
    ),
]
