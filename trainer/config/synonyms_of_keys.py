"""Keys of other tools, and what to type for them. Looked up by synonyms.py.

{} is the value as typed, {percent} is 10% for 0.1, {complement} is 0.9 for 0.1. Behind a | stands what to type where
the part before it does not go with the rest of the command.
"""

# A key behind an option, as sgd.momentum, is one that is typed beside this option, which is replaced.
KEYS = {  # what to type, and the keys, or keys with a value, for which it is meant
    "optimizer.lr={}": "lr learning_rate base_lr init_lr initial_lr initial_learning_rate lr0 max_lr",
    "optimizer.lr=auto": "auto_lr_find auto_lr lr_find lr_finder find_lr",
    "optimizer.momentum={}": "momentum mom sgd_momentum",
    "optimizer=momentum optimizer.momentum={}": "sgd.momentum",
    "optimizer=nesterov": "sgd.nesterov momentum.nesterov",
    "optimizer.weight_decay={} | reg=weight_decay reg.weights.weight_decay.strength={}": (
        "weight_decay wd optimizer.weight_decay optimizer.wd adam_weight_decay"
    ),
    "optimizer.betas=[{},0.999] | optimizer=adam optimizer.betas=[{},0.999]": "beta1 adam_beta1",
    "optimizer.betas=[0.9,{}] | optimizer=adam optimizer.betas=[0.9,{}]": "beta2 adam_beta2",
    "optimizer.eps={} | optimizer=adam optimizer.eps={}": "adam_epsilon adam_eps optimizer.epsilon",
    "sched.shape=sqrt": "sched.shape=1-sqrt sched.shape=one_minus_sqrt sched.shape=minus_sqrt",
    "optimizer.strength={} | optimizer=grokfast optimizer.strength={}": "lamb grokfast_lamb optimizer.lamb",
    "reg=l2 reg.loss.l2.strength={}": "l2_reg l2_lambda l2_penalty reg_lambda lambda reg_strength",
    "reg=l1 reg.loss.l1.strength={}": "l1_reg l1_lambda l1_penalty",
    "batch_size={}": (
        "batch bs batchsize train_batch_size per_device_train_batch_size per_gpu_train_batch_size minibatch "
        "minibatch_size b data.batch_size"
    ),
    "batch_size=full": "batch_size=all batch_size=auto batch_size=max",
    "eval_batch_size={}": "val_batch_size test_batch_size per_device_eval_batch_size valid_batch_size",
    "accumulate={}": (
        "grad_accum_steps gradient_accumulation_steps accumulate_grad_batches grad_accum accum_iter accumulation_steps "
        "gradient_accumulation accum_steps"
    ),
    "epochs={}": "epoch num_epochs n_epochs max_epochs num_train_epochs train_epochs total_epochs nb_epoch",
    "epochs={}st": (
        "steps max_steps num_steps n_steps total_steps train_steps num_train_steps training_steps num_training_steps "
        "iterations iters max_iters num_iterations n_iter n_iters train_iters total_iters updates num_updates"
    ),
    "eval_every={}ep": "check_val_every_n_epoch eval_interval validation_freq val_freq val_every val_interval",
    "eval_every={}st": "eval_steps val_check_interval eval_every_n_steps",
    "eval_every=1ep": "eval_strategy=epoch evaluation_strategy=epoch",
    "save_every={}ep": "save_freq save_interval save_every_n_epochs every_n_epochs checkpoint_every",
    "save_every={}st": "save_steps save_every_n_steps every_n_train_steps checkpoint_steps",
    "save_every=1ep": "save_strategy=epoch save_freq=epoch",
    "log_every={}": "logging_steps log_every_n_steps log_interval log_freq print_freq print_every log_steps disp_freq",
    "output={}": (
        "output_dir out_dir save_dir log_dir logging_dir run_dir save_path default_root_dir exp_dir "
        "work_dir results_dir checkpoint_dir dirpath out"
    ),
    "resume={}": (
        "resume_from_checkpoint ckpt_path checkpoint ckpt resume_from load_from load_checkpoint checkpoint_path load "
        "restore restore_from resume_path"
    ),
    "resume=auto": "resume=true resume=yes resume=last resume=latest resume=newest resume=1 ckpt_path=last",
    "runs=[{}]": "run run_folder run_directory model_dir",
    "seed={}": "random_seed random_state manual_seed rng_seed torch_seed seed_everything",
    "workers={}": "num_workers n_workers dataloader_num_workers data_workers loader_workers j",
    "threads={}": "num_threads n_threads cpu_threads omp_num_threads torch_threads",
    "device=cpu": "cpu no_cuda use_cpu gpu=0 gpus=0 gpu=false gpus=none use_gpu=false use_cuda=false cuda=false",
    "device=cuda | device=auto": (
        "gpu gpus cuda use_cuda use_gpu num_gpus n_gpu gpu_id gpu_ids device=gpu device=nvidia "
        "device=true accelerator=gpu accelerator=cuda"
    ),
    "device=cuda:0 | device=auto": "device=0 device=cuda0 device=gpu:0",
    "device=cuda:1 | device=auto": "device=1 device=cuda1",
    "device={}": "accelerator",
    "devices={}": "nproc_per_node nproc num_devices num_processes world_size",
    "workers=1": "workers=0 num_workers=0",
    "workers=auto": "workers=-1 workers=all workers=max num_workers=-1",
    "threads=auto": "threads=all threads=max threads=-1 num_threads=-1",
    "precision=bf16": (
        "amp bf16 fp16 half mixed_precision use_amp autocast precision=16 precision=16-mixed precision=bf16-mixed "
        "precision=16-true precision=amp precision=fp16 precision=half precision=mixed precision=float16 "
        "precision=bfloat16 dtype=float16 dtype=bfloat16 dtype=bf16 dtype=fp16"
    ),
    "precision=fp32": (
        "amp=false bf16=false fp16=false mixed_precision=no mixed_precision=false use_amp=false precision=32 "
        "precision=32-true precision=float32 precision=full dtype=float32 dtype=fp32"
    ),
    "compile={}": "torch_compile use_compile compile_model jit_compile jit",
    "compile=model": "compile=true torch_compile=true use_compile=true compile_model=true jit_compile=true jit=true",
    "compile=step": "compile=full compile=all compile=whole",
    "compile=off": "compile=false torch_compile=false use_compile=false compile_model=false jit=false",
    "compile_mode={}": "torch_compile_mode compile.mode",
    "compile_mode=reduce-overhead": "cuda_graphs=true use_cuda_graphs=true",
    "channels_last={}": "memory_format use_channels_last nhwc channelslast",
    "channels_last=on": "memory_format=channels_last nhwc=true use_channels_last=true channels_last=true",
    "channels_last=off": "memory_format=contiguous_format nhwc=false use_channels_last=false channels_last=false",
    "monitor={}": "metric_for_best_model eval_metric metric metrics",
    "monitor=loss": "monitor=val_loss monitor=eval_loss metric_for_best_model=eval_loss",
    "scale_lr=linear": "scale_lr=true auto_scale_lr",
    "data.val_fraction={}": (
        "val_split validation_split val_frac val_size valid_size val_ratio validation_fraction validation_size "
        "valid_frac valid_pct dev_size"
    ),
    "data.test_fraction={}": "test_size test_split test_frac test_ratio",
    "data.test_fraction={complement}": "train_size train_split train_ratio",
    "data.root={} | data=image_folder data.root={}": (
        "data.root data_dir data_path data_root dataset_dir dataset_path data_folder root train_dir image_dir "
        "images_dir img_dir imagenet_dir path data.dir data.path data.data_dir"
    ),
    "data.train_samples={} | data.samples={}": (
        "train_samples max_samples max_train_samples n_train num_train num_train_samples limit_train_batches n_samples "
        "num_samples samples data.samples subset train_fraction data.limit"
    ),
    "data.target={} | data=csv data.path=FILE data.target={}": "label label_column target_column target",
    "data.separator={} | data=csv data.path=FILE data.target=COLUMN data.separator={}": "sep delimiter",
    "data.separator=comma": "sep=, delimiter=, separator=,",
    "data.separator=semicolon": "sep=; delimiter=; separator=;",
    "data.separator=pipe": "sep=| delimiter=| separator=|",
    "data.separator=tab": r"sep=\t delimiter=\t separator=\t",
    "data.decimal=comma": "decimal=,",
    "data.decimal=point": "decimal=. decimal=dot",
    "data.header=yes": "header=0 header=infer",  # pandas: the names are in row 0
    "data.missing=drop": "missing=ignore missing=skip missing=remove missing=dropna",
    "data.missing=impute": "missing=mean missing=fill missing=fillna",
    "data.task=classification": "data.task=multiclass data.task=classify",
    "data.ignore={}": "data.drop data.exclude drop_columns ignore_columns exclude_columns",
    "data.path={} | data=csv data.path={} data.target=COLUMN": "csv csv_path csv_file file table",
    "data.size={}": "img_size image_size input_size imgsz resolution",
    "sampler=sequential": "shuffle=false no_shuffle",
    "sampler=shuffle": "shuffle shuffle=true",
    "model.hidden={} | model=mlp model.hidden={}": (
        "hidden hidden_units hidden_size hidden_sizes hidden_dim hidden_dims hidden_layer_sizes units n_hidden "
        "layer_sizes model.units model.hidden_size model.hidden_dim model.hidden_units model.hidden"
    ),
    "model.depth={} | model=deep_mlp model.depth={}": "num_layers n_layers num_hidden_layers model.num_layers",
    "model.channels={}": "filters num_filters n_filters num_channels out_channels model.filters",
    "model=torchvision model.name=resnet18 model.pretrained={}": "resnet18.pretrained",
    "model=torchvision model.name=alexnet model.pretrained={}": "alexnet.pretrained",
    "model=torchvision model.name=vgg16 model.pretrained={}": "vgg16.pretrained",
    "model={}": "arch architecture network net backbone model_name model_type model_name_or_path a",
    "data={}": "dataset dataset_name task_name",
    "optimizer={}": "optim opt optimizer_name optimizer_type optim_name solver algorithm",
    "sched={}": "lr_scheduler_type lr_scheduler scheduler scheduler_type lr_schedule schedule lr_policy lr_sched",
    "loss={}": "criterion loss_fn loss_function loss_func objective cost",
    "act={}": "activation activation_fn activation_function act_fn act_layer hidden_act nonlinearity",
    "init={}": "kernel_initializer weight_init initializer initialization initialisation init_method init_type",
    "bias={}": "bias_initializer bias_init",
    "bias=constant bias.value={}": "bias",
    "norm={}": "norm_layer norm_type normalization normalisation normalization_layer",
    "norm=batch": "batch_norm use_bn use_batchnorm bn batch_normalization",
    "norm=layer": "layer_norm use_layernorm",
    "norm=none": "batch_norm=false use_bn=false use_batchnorm=false bn=false",
    "norm.eps={} | norm=batch norm.eps={}": "norm.epsilon bn_eps bn_epsilon",
    "norm.momentum={} | norm=batch norm.momentum={}": "bn_momentum",
    "pool={}": "pooling pool_type pooling_type",
    "aug={}": "augmentation augmentations augment transforms transform data_augmentation",
    "aug=[crop,flip]": "augmentation=true augment=true data_augmentation=true",
    "aug=none": "augmentation=false augment=false data_augmentation=false no_aug no_augmentation",
    "reg={}": "regularization regularizer regularisation kernel_regularizer penalty",
    "reg=dropout reg.layer.dropout.p={}": "dropout_rate drop_rate dropout_p dropout_prob p_drop hidden_dropout_prob",
    "reg=dropout reg.layer.dropout.p={complement}": "keep_prob",
    "reg=stochastic_depth reg.model.stochastic_depth.survival={complement}": "drop_path drop_path_rate",
    "reg=label_smoothing reg.batch.label_smoothing.alpha={}": "label_smoothing_factor smoothing loss.label_smoothing",
    "reg=grad_clip reg.gradient.grad_clip.limit={}": (
        "max_grad_norm clip_grad_norm clip_grad gradient_clip_val gradient_clip gradient_clipping clip_norm "
        "global_clipnorm grad_clip_norm grad_norm_clip clip"
    ),
    (
        "reg.stop.early_stopping.patience={} | sched.patience={} | "
        "reg=early_stopping reg.stop.early_stopping.patience={} | reg=early_stopping"
    ): "patience early_stopping_patience early_stop_patience early_stop earlystopping n_iter_no_change",
    "reg.stop.early_stopping.min_delta={}": "min_delta early_stopping_threshold",
    "warmup=linear warmup.length={}st": "warmup_steps num_warmup_steps warmup_iters warmup.steps warmup.iters",
    "warmup=linear warmup.length={}ep": "warmup_epochs num_warmup_epochs warmup_epoch warmup.epochs",
    "warmup=linear warmup.length={percent}": "warmup_ratio warmup_fraction warmup_proportion",
    "warmup=linear warmup.length={} | warmup=linear": "warmup lr_warmup",
    "sched.gamma={} | sched=step sched.gamma={}": "gamma lr_gamma lr_decay lr_decay_rate decay_rate",
    "sched=step sched.length={}ep": "step_size lr_step_size lr_step sched.step_size lr_decay_epochs decay_epochs",
    "sched=multistep sched.milestones={}": "lr_steps lr_milestones lr_step_epochs",
    "act.negative_slope={} | act=leaky_relu act.negative_slope={}": "act.alpha act.slope leak leaky_relu_slope",
    "init.std={} | init=normal init.std={}": "init_std initializer_range stddev init.stddev init.scale",
    "init.gain={} | init=xavier_normal init.gain={}": "init_gain",
    "averaging=ema averaging.decay={} | averaging=ema": "averaging ema_decay model_ema_decay use_ema model_ema",
    "averaging=swa": "use_swa",
    "aug=mixup aug.mixup.alpha={}": "mixup_alpha",
    "aug=cutmix aug.cutmix.alpha={}": "cutmix_alpha",
    "aug=random_erasing aug.random_erasing.p={}": "reprob random_erase erasing_p",
    "aug=flip aug.flip.p={} | aug=flip": "hflip fliplr horizontal_flip random_flip random_horizontal_flip",
    "aug=rotate aug.rotate.degrees={}": "rotation_range rotation degrees random_rotation",
    "aug=crop aug.crop.padding={}": "crop_padding random_crop",
    "tta={}": "test_time_augmentation",
    "task={}": "mode command action",
    "task=stats": (
        "stats summary model_summary flops macs hessian task=summary task=model_summary task=info task=flops "
        "task=statistics task=hessian task=curvature task=gradient_noise"
    ),
    "task=landscape": "landscape loss_landscape stats.landscape task.landscape task=loss_landscape task=surface",
    "task=evaluate": "evaluate eval eval_only test_only do_eval validate",
    "hydra/launcher={}": "launcher",
    "hydra/sweeper={}": "sweeper",
}
REASONS = {  # why there is nothing to type, and the keys for which that holds
    "checkpoints, curves and the best weights need no callbacks, and reg=early_stopping stops early": "callbacks",
    "the best weights and the two newest checkpoints are always kept": (
        "checkpoint=true save_total_limit save_top_k save_best save_best_only save_best_model save_last "
        "load_best_model_at_end restore_best_weights save_model enable_checkpointing"
    ),
    "the console has no levels; run.log keeps what it says": (
        "verbose progress_bar tqdm disable_tqdm enable_progress_bar progress_bar_refresh_rate quiet silent"
    ),
    "every run writes its curves for TensorBoard: tensorboard --logdir outputs": (
        "report_to wandb logger loggers mlflow use_wandb tensorboard use_tensorboard wandb_project project"
    ),
    "devices=2 shares each batch among two; the jobs of a sweep run side by side: train --help hydra/launcher": (
        "strategy ddp fsdp deepspeed distributed local_rank num_nodes dist_url multi_gpu tpu "
        "data_parallel sync_batchnorm distributed_backend"
    ),
    "the data decides it": (
        "num_classes n_classes num_labels input_shape input_dim output_dim in_channels in_features out_features"
    ),
    "the seed alone decides every random choice": "deterministic benchmark cudnn_benchmark cudnn_deterministic",
    "samples stay on the device where they fit; train --help residency": "pin_memory prefetch_factor",
    "gradients are clipped by their norm, reg=grad_clip, not by value": "clipvalue gradient_clip_algorithm",
    "settings are typed; a recipe of your own is DIR/experiment/NAME.yaml: --config-dir DIR experiment=NAME": (
        "config config_file conf cfg config_path config_name"
    ),
    "a run is named by its overrides; hydra.run.dir=DIR puts it elsewhere": (
        "name run_name exp_name experiment_name run_id job_name tags tag notes note comment description"
    ),
    "a schedule lasts as long as the run, epochs=N": "t_max lr_decay_iters decay_steps",
    "the smallest rate is a fraction of optimizer.lr: sched.floor of sched=cosine, linear and polynomial": (
        "eta_min min_lr lr_min end_lr final_lr lr_end min_learning_rate"
    ),
    "convolutions have the size of the model's paper; pool.kernel_size is that of the pooling": (
        "kernel_size model.kernel_size"
    ),
    "train -m ... sweep.dry_run=true tries a few steps of each job": "fast_dev_run dry_run",
}
