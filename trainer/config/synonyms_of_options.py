"""Options of other tools, and what to type for them; some have no counterpart. Looked up by synonyms.py."""

OPTIONS = {  # of each group: the option, or what to type in full, and the names for which it is meant
    "act": {
        "swish": "silu",
        "relu_squared": "relu2 squared_relu sqrelu",
        "swiglu": "swish_glu silu_glu",
        "hard_swish": "hswish",
        "hard_sigmoid": "hsigmoid",
        "leaky_relu": "lrelu",
        "linear": "identity none no null",
        "sigmoid": "logistic",
        "exponential": "exp",
        "loss=cross_entropy": "softmax log_softmax",
    },
    "aug": {
        "radial_distortion": "lens",
        "scale_xy": "stretch",
        "flip": "hflip fliplr horizontal_flip random_flip random_horizontal_flip mirror",
        "crop": "random_crop pad_crop",
        "resized_crop": "random_resized_crop rrc",
        "rotate": "random_rotation rotation",
        "translate": "translation random_translation shift",
        "affine": "random_affine",
        "noise": "gaussian_noise gauss_noise",
        "color_jitter": "jitter brightness contrast saturation hue",
        "trivial_augment": "trivial_augment_wide",
        "random_erasing": "random_erase erasing",
        "perspective": "random_perspective",
        "elastic": "elastic_transform elastic_deformation",
        "pca_color": "pca lighting pca_lighting",
        "reg=dropout": "dropout",
        "reg=label_smoothing": "label_smoothing",
        "preprocess=channel_standardize": "normalize",
    },
    "averaging": {
        "ema": "exponential_moving_average model_ema",
        "swa": "stochastic_weight_averaging",
        "snapshot": "snapshots snapshot_ensemble snapshot_ensembles",
    },
    "bias": {"zero": "zeros"},
    "data": {
        "fashion_mnist": "fmnist",
        "gaussians": "blobs make_blobs",
        "spirals": "spiral",
        "digits": "load_digits",
        "csv": "table tabular tsv dataframe",
        "data=image_folder data.root=DIR": "imagenet folder images custom my_images",
    },
    "init": {
        "torch": "default pytorch none",
        "mup": "mu_parametrization maximal_update maximal_update_parametrization",
        "xavier_normal": "glorot_normal",
        "xavier_uniform": "glorot_uniform",
        "xavier_normal or xavier_uniform": "xavier glorot",
        "he_normal": "kaiming_normal msra",
        "he_uniform": "kaiming_uniform",
        "he_normal or he_uniform": "kaiming he",
        "lecun_normal or lecun_uniform": "lecun",
        "normal": "gaussian random_normal randn",
        "uniform": "random_uniform rand",
        "truncated_normal": "trunc_normal",
        "zeros": "zero",
        "ones": "one",
        "identity": "eye",
    },
    "loss": {
        "cross_entropy": (
            "softmax ce xent nll nll_loss log_loss cross_entropy_loss categorical_crossentropy "
            "sparse_categorical_crossentropy negative_log_likelihood softmax_cross_entropy"
        ),
        "mse": "l2 squared squared_error mean_squared_error mse_loss least_squares quadratic",
        "hinge": "svm multi_margin max_margin",
        "bce": "binary_cross_entropy logistic logistic_loss bce_with_logits bce_loss sigmoid_cross_entropy",
    },
    "model": {
        "linear": "softmax_regression logistic_regression logistic softmax linear_regression perceptron logreg",
        "mlp": "fc dense nn ffn feedforward fully_connected multilayer_perceptron",
        "cnn": "convnet simple_cnn small_cnn conv",
        "lenet": "lenet5",
        "wide_resnet": "wrn wrn_16_4",
        "vit_tiny": "vit vit_ti simple_vit vision_transformer",
        "convnext_small32": "convnext convnext32",
        "mlp_mixer": "mixer",
        "model=linear loss=hinge": "svm",
    },
    "norm": {
        "batch": "bn bn2d bn1d batchnorm batch_norm2d batch_normalization",
        "layer": "ln layernorm layer_normalization",
        "group": "gn groupnorm group_normalization",
        "instance": "in instancenorm instance_normalization",
        "rms": "rmsnorm",
        "dyt": "dynamic_tanh dytanh",
    },
    "optimizer": {
        "momentum": "sgdm sgd_momentum heavy_ball polyak",
        "nesterov": "nag sgd_nesterov",
        "gd": "gradient_descent batch_gd full_batch",
        "adamw": "adamw_torch adamw_torch_fused adamw_hf",
        "optimizer=adam optimizer.amsgrad=true": "amsgrad",
        "prodigy": "prodigyopt prodigy_adam",
        "mars": "mars_adamw",
        "adopt": "adoptw adopt_adam",
        "grokfast": "grokfast_ema gradfilter gradfilter_ema",
        "optimizer=grokfast optimizer.base=adamw": "grokadamw grokfast_adamw",
        "cautious": "cautious_optimizer caution c_optim",
        "optimizer=cautious optimizer.base=adam": "c_adam cautious_adam",
        "optimizer=cautious optimizer.base=adamw": "c_adamw cautious_adamw",
        "optimizer=cautious optimizer.base=lion": "c_lion cautious_lion",
        "optimizer=pytorch_optimizer optimizer.name=SophiaH": "sophia",
    },
    "pool": {"max": "maxpool max_pool2d max_pooling", "avg": "avgpool average mean avg_pool2d average_pooling"},
    "preprocess": {
        "standardize": "zscore standard_scaler standard",
        "channel_standardize": "normalize normalise imagenet",
        "minmax": "min_max_scaler rescale",
        "whiten_zca": "zca zca_whitening",
        "whiten_pca": "pca_whitening whitening whiten",
        "center": "mean zero_mean demean",
        "polynomial": "poly polynomial_features",
    },
    "reg": {
        "norm=batch": "batchnorm bn batch_normalization",
        "weight_decay": "wd decoupled_weight_decay",
        "l2": "ridge tikhonov",
        "l1": "lasso",
        "elastic_net": "l1_l2",
        "grad_clip": "clip_grad_norm gradient_clipping clip clipping gradient_clip clipnorm",
        "stochastic_depth": "drop_path",
        "spatial_dropout": "dropout2d spatial_dropout2d",
        "early_stopping": "early_stop",
        "label_smoothing": "smoothing label_smooth",
        "max_norm": "maxnorm_constraint",
    },
    "sampler": {
        "shuffle": "random random_sampler shuffled",
        "sequential": "sequential_sampler ordered",
        "replacement": "with_replacement bootstrap",
        "balanced": "weighted weighted_random class_balanced",
    },
    "sched": {
        "warmup=linear": "warmup linear_warmup constant_with_warmup",
        "sched=cosine warmup=linear": "cosine_with_warmup warmup_cosine linear_warmup_cosine",
        "sched=linear warmup=linear": "linear_with_warmup linear_schedule_with_warmup",
        "sched=inverse_sqrt warmup=linear": "noam",
        "cosine": "cos cosine_annealing cosine_annealing_lr cosine_lr cosine_decay",
        "cosine_restarts": "cosine_warm_restarts cosine_annealing_warm_restarts sgdr cosine_with_restarts",
        "wsd": "wsd_s wsd_schedule stable_decay trapezoid trapezoidal cooldown constant_with_cooldown",
        "sched=wsd warmup=linear": "warmup_stable_decay warmup_stable_decay_lr",
        "one_cycle": "1cycle one_cycle_lr super_convergence",
        "plateau": "reduce_on_plateau reduce_lr_on_plateau",
        "multistep": "multi_step_lr piecewise piecewise_constant piecewise_constant_decay",
        "step": "step_lr steps stepwise staircase step_decay",
        "polynomial": "poly poly_lr polynomial_lr polynomial_decay",
        "exponential": "exp exponential_lr exponential_decay exp_decay",
        "inverse": "inverse_time inverse_time_decay 1/t",
        "inverse_sqrt": "rsqrt inverse_square_root",
        "constant": "fixed constant_lr none",
    },
    "task": {
        "check": "gradcheck gradient_check sanity sanity_check overfit overfit_small overfit_batch babysit",
        "evaluate": "eval test validate validation",
        "predict": "prediction infer inference classify",
        "train": "fit training",
        "compare": "rank leaderboard",
        "export": "convert deploy serialize onnx torchscript save_model",
        "ensemble": "ensembling bagging average averages vote voting",
        "lottery": "lottery_ticket lottery_tickets prune pruning winning_ticket",
        "lr_find": "lr_finder find_lr lr_range lr_range_test range_test lr_test learning_rate_finder",
    },
    "tta": {"flip": "hflip fliplr horizontal_flip mirror", "ten_crop": "10crop", "mc_dropout": "monte_carlo_dropout"},
}
NOTES = {  # what to know beside the answer
    "init=xavier": "with the variance 1 / fan_in, which some lectures call Xavier's, it is init=lecun_normal",
    "init=glorot": "with the variance 1 / fan_in, which some lectures call Glorot's, it is init=lecun_normal",
}
ABSENT = {  # names of other tools for something that no option does: none is answered with a similar name
    "averaging": "polyak polyak_averaging polyak_ruppert lawa",
    "bias": "ones normal uniform random",
    "tta": "5crop five_crop vflip rotate",
    "act": (
        "celu crelu glu geglu reglu relu6 htanh hardtanh tanhshrink softshrink hardshrink log_sigmoid rrelu "
        "threshold softmin snake squareplus sin sine arctan gaussian sparsemax"
    ),
    "aug": (
        "auto autoaugment augmix mosaic vflip vertical_flip random_vertical_flip blur gaussian_blur "
        "grayscale grid_mask copy_paste center_crop resize zoom cutpaste invert solarize posterize equalize"
    ),
    "data": (
        "emnist qmnist usps stl10 coco voc caltech101 caltech256 celeba omniglot flowers102 food101 places365 boston "
        "titanic california_housing penguins imdb ag_news moons make_moons circles tiny_imagenet adult"
    ),
    "init": "sparse delta_orthogonal",
    "loss": (
        "mae l1 l1_loss mean_absolute_error huber smooth_l1 rmse kl kl_div kld kullback_leibler focal focal_loss dice "
        "triplet ctc cosine cosine_similarity contrastive poisson log_cosh mape msle squared_hinge nll_gaussian"
    ),
    "model": (
        "bert gpt gpt2 llama transformer lstm rnn gru unet yolo autoencoder vae gan diffusion random_forest xgboost "
        "knn kan nerf"
    ),
    "norm": "weight weight_norm spectral spectral_norm lrn local_response switchable sync_batch syncbn filter_response",
    "optimizer": ("rprop asgd sparse_adam nadamw adagrad_da lbfgsb cg conjugate_gradient adamax_w"),
    "pool": "adaptive lp global stochastic min sum",
    "reg": "dropblock zoneout gaussian_dropout group_lasso spectral gradient_penalty shake_shake manifold_mixup r1",
    "sched": (
        "cyclic cyclical cyclic_lr triangular triangular2 linear_lr lambda lambda_lr multiplicative chained sequential "
        "rex"
    ),
}
