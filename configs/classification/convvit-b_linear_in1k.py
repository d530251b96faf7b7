"""Linear probing on ImageNet-1K from ConvMAE (arXiv 2205.03892), ConvViT-B, 90 epochs, 8 GPUs.

The feature is the mean over all positions.

Command:   tools/dist_train.sh configs/classification/convvit-b_linear_in1k.py 8 --pretrained CHECKPOINT
Published: top-1 70.9 (from 1600 epochs)
Ours:      not run
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/imagenet_linear.py"]

epochs = 90
warmup_epochs = 10
gpus = 8
batch_per_gpu = 512
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate
base_lr = 0.1  # at batch 256
lr = base_lr * global_batch / 256  # 1.6

model = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(
        type="mmpretrain.ClsDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type="mmmim.FrozenBackbone",
        backbone=dict(type="mmmim.ConvViT", arch="base", img_size=224, out_indices=(2,)),
    ),
    neck=dict(type="mmmim.ProbeGlobalPool", channels=768),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=768,
        loss=dict(type="CrossEntropyLoss"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=0.01),
    ),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="LARS", lr=lr, momentum=0.9, weight_decay=0.0),
    paramwise_cfg=dict(),
    accumulative_counts=accumulate,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        begin=warmup_epochs,
        end=epochs,
        T_max=epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=5)
auto_scale_lr = dict(base_batch_size=global_batch)
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3),
    sync_buffers=dict(type="SyncBuffersHook"),  # validates with the same BatchNorm on all ranks
)
