"""Other names for keys and options: old keys and the names of other tools; consulted before edit distance. No torch."""

RENAMED_KEYS = {  # old key -> new key, and how its value changes
    "data.val_share": ("data.val_fraction", ""),
    "data.test_share": ("data.test_fraction", ""),
    "optimizer.scale_lr": ("scale_lr", ""),
    "optimizer.base_batch": ("base_batch", ""),
    "norm.fold": ("norm.fuse", ""),
    "aug.translate.share": ("aug.translate.fraction", ""),
    "aug.affine.share": ("aug.affine.fraction", ""),
    "aug.perspective.share": ("aug.perspective.fraction", ""),
    "aug.random_erasing.least": ("aug.random_erasing.scale", "[LOW,HIGH]"),
    "aug.random_erasing.most": ("aug.random_erasing.scale", "[LOW,HIGH]"),
    "aug.resized_crop.floor": ("aug.resized_crop.scale", "[LOW,1]"),
}
OTHER_KEYS = {  # of other tools
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "momentum": "optimizer.momentum",
    "weight_decay": "optimizer.weight_decay",
    "wd": "optimizer.weight_decay",
    "batch": "batch_size",
    "bs": "batch_size",
    "batchsize": "batch_size",
    "num_workers": "workers",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "random_seed": "seed",
    "gradient_accumulation_steps": "accumulate",
    "grad_accum_steps": "accumulate",
}
OPTIONS = {  # (group, typed) -> (group, option): the same thing under another name
    ("aug", "lens"): ("aug", "radial_distortion"),
    ("aug", "stretch"): ("aug", "scale_xy"),
    ("act", "silu"): ("act", "swish"),
    ("loss", "softmax"): ("loss", "cross_entropy"),
    ("act", "softmax"): ("loss", "cross_entropy"),
    ("loss", "ce"): ("loss", "cross_entropy"),
    ("loss", "nll"): ("loss", "cross_entropy"),
    ("loss", "crossentropy"): ("loss", "cross_entropy"),
    ("loss", "l2"): ("loss", "mse"),
    ("loss", "squared"): ("loss", "mse"),
    ("loss", "svm"): ("loss", "hinge"),
    ("loss", "binary_cross_entropy"): ("loss", "bce"),
    ("init", "glorot_normal"): ("init", "xavier_normal"),
    ("init", "glorot_uniform"): ("init", "xavier_uniform"),
    ("init", "glorot"): ("init", "xavier_uniform"),
    ("init", "xavier"): ("init", "xavier_uniform"),
    ("init", "kaiming_normal"): ("init", "he_normal"),
    ("init", "kaiming_uniform"): ("init", "he_uniform"),
    ("init", "kaiming"): ("init", "he_normal"),
    ("init", "msra"): ("init", "he_normal"),
    ("init", "he"): ("init", "he_normal"),
    ("init", "random_normal"): ("init", "normal"),
    ("init", "gaussian"): ("init", "normal"),
    ("init", "random_uniform"): ("init", "uniform"),
    ("norm", "bn"): ("norm", "batch"),
    ("norm", "batchnorm"): ("norm", "batch"),
    ("norm", "batch_norm"): ("norm", "batch"),
    ("norm", "ln"): ("norm", "layer"),
    ("norm", "layernorm"): ("norm", "layer"),
    ("norm", "layer_norm"): ("norm", "layer"),
    ("norm", "gn"): ("norm", "group"),
    ("norm", "in"): ("norm", "instance"),
    ("reg", "batch_norm"): ("norm", "batch"),
    ("reg", "bn"): ("norm", "batch"),
    ("reg", "mixup"): ("aug", "mixup"),
    ("reg", "cutout"): ("aug", "cutout"),
    ("reg", "cutmix"): ("aug", "cutmix"),
    ("aug", "dropout"): ("reg", "dropout"),
    ("reg", "wd"): ("reg", "weight_decay"),
    ("sched", "warmup"): ("warmup", "linear"),
    ("sched", "cos"): ("sched", "cosine"),
    ("sched", "cosine_annealing"): ("sched", "cosine"),
    ("sched", "onecycle"): ("sched", "one_cycle"),
    ("sched", "reduce_on_plateau"): ("sched", "plateau"),
    ("sched", "multi_step"): ("sched", "multistep"),
    ("sched", "poly"): ("sched", "polynomial"),
    ("optimizer", "sgdm"): ("optimizer", "momentum"),
    ("optimizer", "rms_prop"): ("optimizer", "rmsprop"),
    ("optimizer", "adam_w"): ("optimizer", "adamw"),
}


def renamed_key(key: str) -> str | None:
    """Return what to type for a renamed key, as `data.val_fraction=` or `aug.random_erasing.scale=[LOW,HIGH]`."""
    if key not in RENAMED_KEYS:
        return None
    new, value = RENAMED_KEYS[key]
    return f"{new}={value}"


def meant_option(group: str, typed: str) -> tuple[str, str] | None:
    """Return the group and the option that a name of another tool means; None where it is not known."""
    return OPTIONS.get((group, typed.lower()))


def meant_key(key: str) -> str | None:
    """Return the key that a key of another tool means; None where it is not known."""
    return OTHER_KEYS.get(key.lower())
