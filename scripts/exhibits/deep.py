"""Exhibits on deep networks and pretraining."""

from exhibits import figures
from exhibits.results import ACCURACY, LABEL, Exhibit, Finding, Results, compare, spread


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
        f"test accuracy {spread(greedy)} with it, {spread(joint)} jointly from the start, {spread(longer)} jointly for "
        "as many epochs in all",
    )


def find_practice(results: Results) -> Finding:
    value = results.of(LABEL)
    return Finding(value.mean < 0.6, f"test accuracy {spread(value)}: the score to beat")


def find_mnist(results: Results) -> Finding:
    value = results.of(LABEL)
    return Finding(value.mean > 0.975, f"test accuracy {spread(value)}")


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
        draw=lambda results: figures.curves(results.groups, "val", "accuracy", label=lambda group: "mnist_mlp"),
        data="mnist",
    ),
    Exhibit(
        name="fine_tune",
        says="With few samples, begin with the weights of a network for a similar task (231n, SDU)",
        metrics=ACCURACY,
        find=find_fine_tune,
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
        draw=figures.bars_of(),
        data="mnist",
    ),
    Exhibit(
        name="transfer",
        says="Copy the first layers of a network for task A when task B has few samples (SDU)",
        metrics=ACCURACY,
        find=find_transfer,
        draw=figures.bars_of(low=0.6),
        data="mnist",
    ),
    Exhibit(
        name="greedy",
        says="Train layer by layer, then all together: it helps where joint training fails (SDU)",
        metrics=ACCURACY,
        find=find_greedy,
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
