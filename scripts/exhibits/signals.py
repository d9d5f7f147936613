"""Exhibits on initialisation, depth and normalisation."""

from exhibits import figures
from exhibits.results import ACCURACY, LABEL, Exhibit, Finding, Results, short, spread, steps_to


def find_init_cases(results: Results) -> Finding:
    good = [results.of(LABEL, words) for words in ("act=tanh init=lecun_normal", "act=relu init=he_normal")]
    bad = {
        "act=tanh init=small_normal": 0,
        "act=tanh init=normal init.std=0.2": 1,
        "act=tanh init=normal init.std=1": 1,
        "act=relu init=lecun_normal": 2,
    }
    values = {words: results.of(LABEL, words, part) for words, part in bad.items()}
    text = ", ".join(f"{short(value.mean)} with `{words}`" for words, value in values.items())
    return Finding(
        min(value.mean for value in good) > max(value.mean for value in values.values()),
        f"test accuracy {short(good[0].mean)} with `act=tanh init=lecun_normal` and {short(good[1].mean)} with "
        f"`act=relu init=he_normal`; {text}",
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


def find_six_times(results: Results) -> Finding:
    steps = {act: results.of("steps to 0.9", f"act={act}") for act in ("relu", "tanh", "sigmoid")}
    ratio = {act: (steps[act].mean or float("inf")) / steps["relu"].mean for act in ("tanh", "sigmoid")}
    return Finding(
        ratio["tanh"] > 4,
        "steps to a validation accuracy of 0.9: "
        + ", ".join(f"{spread(value)} with `act={act}`" for act, value in steps.items())
        + f"; tanh takes {ratio['tanh']:.1f} times as many, sigmoid "
        + ("more than the run has" if ratio["sigmoid"] == float("inf") else f"{ratio['sigmoid']:.1f} times"),
    )


def find_image_preprocess(results: Results) -> Finding:
    names = ("none", "center", "channel_mean", "channel_standardize")
    values = {name: results.of(LABEL, f"preprocess={name}") for name in names}
    return Finding(
        min(values[name].mean for name in names[1:]) > values["none"].mean + values["none"].deviation,
        "test accuracy " + ", ".join(f"{spread(value)} with `preprocess={name}`" for name, value in values.items()),
    )


EXHIBITS = [
    Exhibit(
        name="image_preprocess",
        says="Centre images: by the mean image (AlexNet), the mean of each channel (VGG), or its deviation, too "
        "(ResNet; 231n)",
        metrics=ACCURACY,
        find=find_image_preprocess,
        because="To subtract a mean changes little in these 15 epochs; to divide by the deviation does, which is about "
        "a quarter of the range of a pixel: inputs four times as large bring gradients four times as large.",
        draw=figures.bars_of(),
        data="cifar",
    ),
    Exhibit(
        name="init_cases",
        says="Small weights let the signal of a deep network fade, large ones saturate tanh; Xavier keeps it with "
        "tanh, He with ReLU (231n)",
        metrics=ACCURACY,
        find=find_init_cases,
        draw=figures.bars_of(),
    ),
    Exhibit(
        name="sigmoid_depth",
        says="Sigmoids kill the gradient of deep networks; use ReLU (231n, PST)",
        metrics=ACCURACY,
        find=find_sigmoid_depth,
        draw=figures.line_of("model.depth", "act", log=False),
    ),
    Exhibit(
        name="relu_six_times",
        says="ReLU converges six times as fast as sigmoid and tanh (231n: Krizhevsky et al., 2012)",
        metrics={"steps to 0.9": steps_to("accuracy", 0.9), **ACCURACY},
        find=find_six_times,
        because="Six times is what Krizhevsky et al. measured against tanh, with four convolutions on CIFAR-10. In two "
        "layers with scaled weights tanh hardly saturates; sigmoid does.",
        draw=lambda results: figures.curves(results.groups, "val", "accuracy"),
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
        draw=figures.line_of("batch_size", "norm"),
    ),
]
