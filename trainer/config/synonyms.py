"""Synonyms: keys of older versions, and the names that other tools have for keys and options. No torch here.

They are looked up before similar names. A synonym means the same thing under another name, never a similar one.
"""

RENAMED_KEYS = {  # the key of an older version, and the key with the form of its value where that has changed
    "data.val_share": "data.val_fraction=",
    "data.test_share": "data.test_fraction=",
    "optimizer.scale_lr": "scale_lr=",
    "optimizer.base_batch": "base_batch=",
    "norm.fold": "norm.fuse=",
    "aug.translate.share": "aug.translate.fraction=",
    "aug.affine.share": "aug.affine.fraction=",
    "aug.perspective.share": "aug.perspective.fraction=",
    "aug.random_erasing.least": "aug.random_erasing.scale=[LOW,HIGH]",
    "aug.random_erasing.most": "aug.random_erasing.scale=[LOW,HIGH]",
    "aug.resized_crop.floor": "aug.resized_crop.scale=[LOW,1]",
    "aug.lens.strength": "aug.radial_distortion.strength=",
    "aug.lens.mode": "aug.radial_distortion.mode=",
    "aug.stretch.ratio": "aug.scale_xy.ratio=",
    "aug.stretch.mode": "aug.scale_xy.mode=",
}
KEYS = {
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "momentum": "optimizer.momentum",
    "weight_decay": "optimizer.weight_decay",
    "wd": "optimizer.weight_decay",
    "batch": "batch_size",
    "bs": "batch_size",
    "batchsize": "batch_size",
    "train_batch_size": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "val_batch_size": "eval_batch_size",
    "test_batch_size": "eval_batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "grad_accum_steps": "accumulate",
    "gradient_accumulation_steps": "accumulate",
    "accumulate_grad_batches": "accumulate",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "num_train_epochs": "epochs",
    "num_workers": "workers",
    "n_workers": "workers",
    "dataloader_num_workers": "workers",
    "num_threads": "threads",
    "random_seed": "seed",
    "random_state": "seed",
    "manual_seed": "seed",
    "logging_steps": "log_every",
    "log_every_n_steps": "log_every",
    "output_dir": "output",
    "out_dir": "output",
    "samples": "data.train_samples",
    "n_samples": "data.train_samples",
    "num_samples": "data.train_samples",
    "max_samples": "data.train_samples",
    "max_train_samples": "data.train_samples",
    "n_train": "data.train_samples",
    "num_train": "data.train_samples",
    "train_size": "data.train_samples",
    "train_fraction": "data.train_samples",
    "subset": "data.train_samples",
    "file": "data.path",
    "csv_path": "data.path",
    "label": "data.target",
    "label_column": "data.target",
    "target_column": "data.target",
    "sep": "data.separator",
    "delimiter": "data.separator",
    "val_split": "data.val_fraction",
    "validation_split": "data.val_fraction",
    "val_frac": "data.val_fraction",
    "test_size": "data.test_fraction",
    "dropout": "reg.layer.dropout.p",
    "label_smoothing": "reg.batch.label_smoothing.alpha",
    "max_grad_norm": "reg.gradient.grad_clip.limit",
    "clip_grad_norm": "reg.gradient.grad_clip.limit",
    "gradient_clip_val": "reg.gradient.grad_clip.limit",
    "mixup": "aug.mixup.alpha",
    "mixup_alpha": "aug.mixup.alpha",
    "cutmix": "aug.cutmix.alpha",
    "cutmix_alpha": "aug.cutmix.alpha",
    "ema_decay": "averaging.decay",
}
OPTIONS = {  # of each group; the option of another group is written with its group
    "act": {
        "silu": "swish",
        "identity": "linear",
        "logistic": "sigmoid",
        "exp": "exponential",
        "softmax": "loss=cross_entropy",
    },
    "aug": {
        "lens": "radial_distortion",
        "stretch": "scale_xy",
        "hflip": "flip",
        "horizontal_flip": "flip",
        "random_horizontal_flip": "flip",
        "random_crop": "crop",
        "random_resized_crop": "resized_crop",
        "random_rotation": "rotate",
        "rotation": "rotate",
        "translation": "translate",
        "gaussian_noise": "noise",
        "dropout": "reg=dropout",
        "label_smoothing": "reg=label_smoothing",
    },
    "averaging": {"exponential_moving_average": "ema", "stochastic_weight_averaging": "swa"},
    "bias": {"zeros": "zero"},
    "data": {"fmnist": "fashion_mnist", "table": "csv", "tabular": "csv", "tsv": "csv", "dataframe": "csv"},
    "init": {
        "glorot_normal": "xavier_normal",
        "glorot_uniform": "xavier_uniform",
        "glorot": "xavier_uniform",
        "kaiming_normal": "he_normal",
        "kaiming_uniform": "he_uniform",
        "kaiming": "he_normal",
        "msra": "he_normal",
        "he": "he_normal",
        "gaussian": "normal",
        "random_normal": "normal",
        "random_uniform": "uniform",
        "zero": "zeros",
        "one": "ones",
    },
    "loss": {
        "softmax": "cross_entropy",
        "ce": "cross_entropy",
        "nll": "cross_entropy",
        "log_loss": "cross_entropy",
        "categorical_crossentropy": "cross_entropy",
        "l2": "mse",
        "squared": "mse",
        "squared_error": "mse",
        "mean_squared_error": "mse",
        "svm": "hinge",
        "binary_cross_entropy": "bce",
        "binary_crossentropy": "bce",
        "bce_with_logits": "bce",
    },
    "model": {"softmax_regression": "linear", "logistic_regression": "linear", "convnet": "cnn", "wrn": "wide_resnet"},
    "norm": {
        "bn": "batch",
        "batchnorm": "batch",
        "ln": "layer",
        "layernorm": "layer",
        "gn": "group",
        "groupnorm": "group",
        "in": "instance",
        "instancenorm": "instance",
        "rmsnorm": "rms",
    },
    "optimizer": {
        "sgdm": "momentum",
        "sgd_momentum": "momentum",
        "heavy_ball": "momentum",
        "nag": "nesterov",
        "gradient_descent": "gd",
    },
    "pool": {"maxpool": "max", "avgpool": "avg", "average": "avg", "mean": "avg"},
    "preprocess": {
        "poly": "polynomial",
        "polynomial_features": "polynomial",
        "zscore": "standardize",
        "zca": "whiten_zca",
        "zca_whitening": "whiten_zca",
        "pca_whitening": "whiten_pca",
    },
    "reg": {
        "batchnorm": "norm=batch",
        "bn": "norm=batch",
        "mixup": "aug=mixup",
        "cutout": "aug=cutout",
        "cutmix": "aug=cutmix",
        "wd": "weight_decay",
        "ridge": "l2",
        "lasso": "l1",
        "clip_grad_norm": "grad_clip",
        "gradient_clipping": "grad_clip",
        "drop_path": "stochastic_depth",
        "dropout2d": "spatial_dropout",
        "ema": "averaging=ema",
        "swa": "averaging=swa",
    },
    "sampler": {"random": "shuffle", "with_replacement": "replacement", "bootstrap": "replacement"},
    "sched": {
        "warmup": "warmup=linear",
        "linear_warmup": "warmup=linear",
        "cos": "cosine",
        "cosine_annealing": "cosine",
        "cosine_warm_restarts": "cosine_restarts",
        "cosine_annealing_warm_restarts": "cosine_restarts",
        "sgdr": "cosine_restarts",
        "1cycle": "one_cycle",
        "reduce_on_plateau": "plateau",
        "reduce_lr_on_plateau": "plateau",
        "poly": "polynomial",
        "exp": "exponential",
        "rsqrt": "inverse_sqrt",
    },
    "tta": {"hflip": "flip", "10crop": "ten_crop", "monte_carlo_dropout": "mc_dropout"},
}


def renamed_key(key: str) -> str | None:
    """Return what to type for the key of an older version; None for any other key.

    It ends in `=` where the value is the same, as `data.val_fraction=`, and shows the new value's form where it is not,
    as `aug.random_erasing.scale=[LOW,HIGH]`.
    """
    return RENAMED_KEYS.get(key)


def meant_key(key: str) -> str | None:
    """Return the key that a name of another tool means, as `optimizer.lr`; None where the name is not known."""
    return KEYS.get(key.lower().replace("-", "_"))


def meant_option(group: str, typed: str) -> tuple[str, str] | None:
    """Return the group and the option that a name of another tool means; None where the name is not known."""
    found = {plain(name): meant for name, meant in OPTIONS.get(group, {}).items()}.get(plain(typed))
    if found is None:
        return None
    other, sign, option = found.partition("=")
    return (other, option) if sign else (group, found)


def plain(name: str) -> str:
    """Return a name without case, dashes and underscores: `BatchNorm`, `batch_norm` and `batch-norm` are one name."""
    return name.lower().replace("-", "").replace("_", "")
