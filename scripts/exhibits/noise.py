"""Exhibits on dropping, mixing and choosing samples."""

from matplotlib.figure import Figure

from exhibits import figures
from exhibits.results import ACCURACY, LABEL, Exhibit, Finding, Results, final, of_summary, short, spread


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
    name = "last val accuracy"
    plain = {far: results.mean(name, f"data.separation={far}", part=0) for far in (1, 3)}
    hard = {
        (far, cap): results.mean(name, f"data.separation={far} sampler.cap={cap}", part=1)
        for far in (1, 3)
        for cap in ("0.5", "1")
    }
    return Finding(
        any(hard[key] > plain[key[0]] for key in hard) and hard[3, "0.5"] > hard[3, "1"],
        f"among classes that are well apart the last weights have a val accuracy of {short(plain[3])} with uniform "
        f"draws, {short(hard[3, '1'])} with hard examples, {short(hard[3, '0.5'])} with their losses capped at the "
        f"median; among overlapping classes {short(plain[1])}, {short(hard[1, '1'])}, {short(hard[1, '0.5'])}",
    )


EXHIBITS = [
    Exhibit(
        name="dropout_wide",
        says="Dropout for large dense layers: it prevents that units adapt to one another (231n)",
        metrics=ACCURACY,
        find=find_dropout,
        because="A network of 512 units does not overfit 200 digits by much, so that there is little for dropout to "
        "gain; at p=0.8 it hardly learns.",
        draw=figures.line_of("reg.layer.dropout.p", log=False),
    ),
    Exhibit(
        name="mixup_cutout",
        says="Try cutout and mixup, above all for small data sets (231n)",
        metrics=ACCURACY,
        find=find_mixing,
        draw=figures.bars_of(low=0.5),
    ),
    Exhibit(
        name="label_smoothing",
        says="Targets of (1 - alpha) and alpha / K keep a network from being too sure (CU)",
        metrics={**ACCURACY, "ECE": of_summary("report", "calibration", "ece")},
        find=find_smoothing,
        because="Without smoothing this network is not too sure: its error of calibration is small already, and "
        "smoothing lowers its confidence below its accuracy. What it does raise is the accuracy.",
        draw=draw_smoothing,
    ),
    Exhibit(
        name="hard_examples",
        says="Prefer samples with a large error, but beware of outliers (CSP)",
        metrics={"last val accuracy": final("val", "accuracy"), **ACCURACY},
        find=find_hard_examples,
        draw=figures.bars_of("last val accuracy", low=0.3),
        because="Half of it: the warning is right, and the cap takes back most of the harm among classes that are well "
        "apart. But the samples with the largest losses are here those that no rule gets right: to prefer them helped "
        "in no case.",
    ),
]
