"""Exhibits on deep networks and pretraining."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from exhibits import figures
from exhibits.results import ACCURACY, LABEL, Exhibit, Finding, Results, compare, spread
from exhibits.runs import Group, Job


def find_fitnets(results: Results) -> Finding:
    hints, plain, longer = (results.of(LABEL, part=part) for part in (1, 2, 3))
    return Finding(
        hints.mean >= plain.mean,
        f"test accuracy {spread(hints)} with the teacher, {spread(plain)} without, {spread(longer)} without and with "
        "the epochs of the hint added",
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
        f"test accuracy {spread(greedy)} with it, {spread(joint)} jointly from the start, {spread(longer)} jointly for "
        "as many epochs in all",
    )


def find_practice(results: Results) -> Finding:
    value = results.of(LABEL)
    return Finding(None, f"test accuracy {spread(value)}: the score to beat")


def read_lottery(place: Path) -> list[Group]:
    """Return the networks of task=lottery: the dense one, and the two kinds of tickets of each round."""
    rounds = sorted((place / "run-0").glob("round-*"), key=lambda path: int(path.name.partition("-")[2]))
    found = {("0", "dense"): sorted((place / "run-0" / "dense").glob("seed-*"))}
    for path in rounds:
        for kind in ("ticket", "random"):
            found[path.name.partition("-")[2], kind] = sorted(path.glob(f"seed-*{kind}.safetensors"))
    return [
        Group(words, 0, [Job(path, words, 0) for path in paths])
        for (number, kind), paths in found.items()
        for words in [{"round": number, "network": kind}]
    ]


def weights_left(job: Job) -> float:
    """Return the fraction of the weights that a network of task=lottery has."""
    rows = json.loads((job.place.parents[1] / "lottery.json").read_text())["rows"]
    wanted = int(job.words["round"]), job.words["network"]
    return next(row["weights_left"] for row in rows if (row["round"], row["network"]) == wanted)


def find_lottery(results: Results) -> Finding:
    dense = results.of(LABEL, "round=0")
    ticket, random = (results.of(LABEL, f"round=4 network={kind}") for kind in ("ticket", "random"))
    left = results.mean("weights left", "round=4 network=ticket")
    half = results.of(LABEL, "round=1 network=ticket")
    return Finding(
        ticket.mean > random.mean + random.deviation and half.mean > dense.mean - 0.015,
        f"test accuracy {spread(dense)} of the dense network, {spread(half)} of a ticket with half of the weights; "
        f"with {left:.1%} {spread(ticket)} of the ticket, {spread(random)} of a random one with the same mask",
    )


def draw_lottery(results: Results) -> Figure:
    figure = Figure(figsize=figures.SIZE, layout="constrained")
    axes = figure.subplots()
    for kind in ("ticket", "random"):
        groups = [group for group in results.groups if group.words["network"] in ("dense", kind)]
        left = [results.measure(group, "weights left").mean for group in groups]
        scores = [results.measure(group, LABEL) for group in groups]
        axes.errorbar(
            left, [score.mean for score in scores], yerr=[score.deviation for score in scores],
            marker="o", markersize=4, capsize=3, label=kind,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="fraction of the weights left", ylabel=LABEL)
    axes.invert_xaxis()
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def find_mnist(results: Results) -> Finding:
    value = results.of(LABEL)
    return Finding(None, f"test accuracy {spread(value)} with both")


def record(name: str, says: str, word: str, others: str, because: str, data: str = "digits") -> Exhibit:
    """Return the exhibit of a record: it has 99 %, and more than without one of its words."""

    def find(results: Results) -> Finding:
        value, without = results.of(LABEL, word), results.of(LABEL, f"{word.partition('=')[0]}=[]")
        return Finding(
            value.mean >= 0.99 and value.mean > without.mean,
            f"test accuracy {spread(value)}, {min(value.values):.4f} at least; {spread(without)} without {others}",
        )

    def draw(results: Results) -> Figure:
        return figures.curves(results.groups, "train", "accuracy")

    return Exhibit(name=name, says=says, metrics=ACCURACY, find=find, draw=draw, because=because, data=data)


def find_fine_tune(results: Results) -> Finding:
    tuned, scratch = results.of(LABEL, part=1), results.of(LABEL, part=2)
    return Finding(
        tuned.mean > scratch.mean + scratch.deviation,
        f"test accuracy {spread(tuned)} from the weights for 0 to 4, {spread(scratch)} from fresh ones",
    )


EXHIBITS = [
    Exhibit(
        name="mnist_mlp",
        says="Adam is a good default, and batch normalisation is almost always worth it (231n)",
        metrics=ACCURACY,
        find=find_mnist,
        because="One setting, as a point of reference: what Adam and the norm add shows beside `optimizer=sgd` and "
        "`norm=none`, typed behind the command.",
        draw=lambda results: figures.curves(results.groups, "val", "accuracy", label=lambda group: "mnist_mlp"),
        data="mnist",
    ),
    record(
        "mnist_99_cpu",
        "Smoothed labels keep a network from being too sure, and it generalises better (231n)",
        "reg=[label_smoothing]",
        "smoothed labels",
        "What each of its words buys is in docs/speed.md.",
        data="mnist",
    ),
    record(
        "digits_99",
        "Augmentation makes up for samples that are not there (231n, SDU)",
        "aug=[affine]",
        "augmentation",
        "Over four splits: a test has 359 images, and one of them is 0.3 points. What each of its words buys "
        "is in docs/speed.md.",
    ),
    Exhibit(
        name="fine_tune",
        says="With few samples, begin with the weights of a network for a similar task (231n, SDU)",
        metrics=ACCURACY,
        find=find_fine_tune,
        because="Fifty images of 8x8 pixels are enough for fresh weights, and the low rates of the lower layers "
        "take longer. `transfer` has larger images of the same kind.",
        draw=lambda results: figures.curves(
            results.groups,
            "val",
            "accuracy",
            label=lambda group: "trained weights" if group.part == 1 else "fresh weights",
            time="epoch",
        ),
    ),
    Exhibit(
        name="stochastic_depth",
        says="Leave out layers in training, use all of them in testing (231n)",
        metrics=ACCURACY,
        find=lambda results: compare(results, "reg=[stochastic_depth]", "reg=[]"),
        draw=figures.bars_of(low=0.85),
    ),
    Exhibit(
        name="fixup",
        says="Fixup trains deep residual networks without normalisation (231n: Zhang et al., 2019)",
        metrics=ACCURACY,
        find=lambda results: compare(results, "init=fixup", "init=he_normal"),
        draw=figures.bars_of(),
    ),
    Exhibit(
        name="fitnets",
        says="A thin, deep student learns better with hints from the middle of a wide teacher (SDU)",
        metrics=ACCURACY,
        find=find_fitnets,
        because="Both have few steps at Adam's usual rate. With optimizer=momentum the student reaches 0.94 by itself, "
        "and the teacher adds nothing.",
        draw=figures.bars_of(),
        data="mnist",
    ),
    Exhibit(
        name="transfer",
        says="Copy the first layers of a network for task A when task B has few samples (SDU)",
        metrics=ACCURACY,
        find=find_transfer,
        because="The gain is thin beside the spread of three seeds from scratch. What the copied layers do is to leave "
        "less to chance: with all three of them the seeds agree.",
        draw=figures.bars_of(low=0.6),
        data="mnist",
    ),
    Exhibit(
        name="lottery_ticket",
        says="Train, prune the small weights, rewind the others to where they began, and train again: a small part of "
        "a network learns as well (231n: Frankle & Carbin, 2019)",
        metrics={"weights left": weights_left, **ACCURACY},
        find=find_lottery,
        draw=draw_lottery,
        read=read_lottery,
    ),
    Exhibit(
        name="greedy",
        says="Train layer by layer, then all together: it helps where joint training fails (SDU)",
        metrics=ACCURACY,
        find=find_greedy,
        because="Six sigmoids are too many for joint training, whatever its length; what the layers have learnt one by "
        "one helps, but is far from what `act=relu` reaches at once. With four sigmoids, joint training of the same "
        "length is ahead: 0.80 against 0.65.",
        draw=figures.bars_of(),
    ),
    Exhibit(
        name="practice",
        says="Try to improve the network (PST)",
        metrics=ACCURACY,
        find=find_practice,
        draw=lambda results: figures.curves(results.groups, "val", "accuracy", label=lambda group: "practice"),
    ),
]
