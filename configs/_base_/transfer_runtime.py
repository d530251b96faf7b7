"""What every transfer run shares. Recipes state the rest themselves."""

custom_imports = dict(imports=["mmmim"])

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    # Metrics at their iteration: recipes that count iterations have no epochs.
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = [
    dict(type="mmmim.ResumedStepsHook"),
    dict(type="mmmim.LossLogHook"),
    dict(type="mmmim.NonFiniteLossHook"),
    dict(type="mmmim.DataWaitHook"),
]

# OpenMMLab's usual 0 lets OpenCV decode on one core, which multiplies the length of an epoch.
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=2),
    dist_cfg=dict(backend="nccl", timeout=3600),  # seconds: one process alone may look at pictures
)
log_level = "INFO"
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
randomness = dict(seed=0, diff_rank_seed=True)  # drop path differs between processes
load_from = None
resume = False
