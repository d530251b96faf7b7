r"""UperNet on ADE20K with a plain ViT-B backbone: the MAE recipe.

512 pixel crops, 160,000 iterations, batch 16 on 8 GPUs. Recipe: implus/mae_segmentation
configs/mae/upernet_mae_base_12_512_slide_160k_ade20k.py, which PixMIM's authors name.

Command:   tools/dist_train.sh configs/segmentation/mae_vit-b_upernet_160k_ade20k.py 8 \
               --pretrained CHECKPOINT
Published: 48.15 mIoU (from MAE, 1600 epochs)
Ours:      not run
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/upernet_vit.py", "../_base_/ade20k_512.py"]

gpus = 8
batch_per_gpu = 2
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 16
iterations = 160000 * accumulate  # mmengine counts before accumulation
lr = 1e-4

model = dict(
    backbone=dict(arch="base", out_indices=(3, 5, 7, 11), drop_path_rate=0.1),
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768] * 4, channels=768, num_classes=150),
    auxiliary_head=dict(in_channels=768, num_classes=150),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    # mmcv_custom/layer_decay_optimizer_constructor.py: 1-D parameters are exempt. It means to exempt
    # pos_embed too, but compares with names that lack "backbone.", so it decays there, and here.
    paramwise_cfg=dict(layer_decay=0.65, flat_decay_mult=0.0),
    accumulative_counts=accumulate,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, end=1500 * accumulate),
    # mmcv's poly of 2022 decays from iteration 0, about 1 % lower after the warm-up.
    dict(
        type="PolyLR",
        power=1.0,
        eta_min=0.0,
        by_epoch=False,
        begin=1500 * accumulate,
        end=iterations,
    ),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=16000 * accumulate)
auto_scale_lr = dict(base_batch_size=global_batch)
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=16000 * accumulate)
)
