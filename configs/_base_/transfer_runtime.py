"""Hooks, environment and logging of all transfer recipes."""

custom_imports = dict(imports=["mmmim"])

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    # Metrics are logged by iteration, since some recipes count no epochs.
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="mmmim.CheckpointHook", interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = [
    dict(type="mmmim.RescaleResumeHook"),
    dict(type="mmmim.DeferredLossHook"),
    dict(type="mmmim.BadStepHook"),
    dict(type="mmmim.SafePointHook"),  # a checkpoint when a signal asks for one
    dict(type="mmmim.WatchdogHook", minutes=30),  # ends a run that waits for ever
    dict(type="mmmim.DataWaitHook"),
]

# OpenMMLab's default of 0 makes OpenCV decode on one core, which slows down loading.
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=2),
    dist_cfg=dict(backend="nccl", timeout=3600),  # seconds: other ranks wait while rank 0 reads images
)
log_level = "INFO"
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
randomness = dict(seed=0, diff_rank_seed=True)  # drop path differs between ranks
load_from = None
resume = False
