"""Hooks, environment and logging of all pretraining recipes."""

default_scope = "mmmim"
custom_imports = dict(imports=["mmmim"])

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=100),
    param_scheduler=dict(type="ParamSchedulerHook"),
    # All GPUs wait while a checkpoint is written: recipes with short epochs write fewer.
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    runtime_info=dict(type="RuntimeInfoHook"),
)
custom_hooks = [
    dict(type="IterSeedHook"),
    dict(type="RescaleResumeHook"),
    dict(type="DeferredLossHook"),
    dict(type="BadStepHook"),
    dict(type="SafePointHook"),  # a checkpoint when a signal asks for one
    dict(type="WatchdogHook", minutes=30),  # ends a run that waits for ever
    dict(type="BrokenImagesHook"),
    dict(type="DataWaitHook"),
    dict(type="PredictionHook", interval=20),
]

# "fork" starts workers fast. OpenCV's threads would compete with them.
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl", timeout=3600),  # seconds: other ranks wait while rank 0 reads images
)
log_processor = dict(window_size=100)
log_level = "INFO"
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
randomness = dict(seed=0)
load_from = None
resume = False
