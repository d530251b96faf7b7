"""Mask R-CNN on COCO with MixMIM-B and an FPN. The recipe is ours: the authors released none.

It follows detectron2's recipe for Swin-B (projects/ViTDet/configs/COCO/
cascade_mask_rcnn_swin_b_in21k_50ep.py). LSJ at 1024 pixels, 50 epochs, batch 64 on 8 GPUs.

Command:   tools/dist_train.sh configs/detection/mixmim-b_mask-rcnn_coco.py 8 --pretrained CHECKPOINT
Published: none for this recipe
Ours:      not run
"""

_base_ = [
    "../_base_/transfer_runtime.py",
    "../_base_/mask_rcnn_vitdet.py",
    "../_base_/coco_lsj.py",
]

epochs = 50
gpus = 8
batch_per_gpu = 8
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 64
# 92,187 updates, at 118,000 images per epoch. mmengine counts batches, not updates.
iterations = epochs * 118000 // global_batch * accumulate
lr = 4e-5

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmmim.MixMIMTransformer",
        arch="base",
        img_size=224,  # as in pretraining; positions are resized to the input
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.4,
    ),
    neck=dict(
        _delete_=True,
        type="FPN",
        in_channels=[128, 256, 512, 1024],
        out_channels=256,
        num_outs=5,
        norm_cfg=dict(type="mmmim.LayerNorm2d", eps=1e-6),
    ),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    # As in detectron2's Swin recipe: no weight decay on norms and relative positions, no layer decay.
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={"relative_position.table": 0.0}),
    accumulative_counts=accumulate,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=125 * accumulate),
    dict(
        type="MultiStepLR",
        by_epoch=False,
        milestones=[81944 * accumulate, 88773 * accumulate],
        gamma=0.1,
    ),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=5000 * accumulate)
auto_scale_lr = dict(base_batch_size=global_batch)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=5000 * accumulate))
