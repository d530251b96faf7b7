r"""Mask R-CNN on COCO with ConvViT-B and an FPN: ConvMAE's first detection code (arXiv 2205.03892).

LSJ at 1024 pixels, 25 epochs, batch 32 on 8 GPUs. Recipe: Alpha-VL/ConvMAE DET/configs/convmae/
convmae_base_mask_rcnn_FPN_25ep.py; --epochs 100 gives convmae_base_mask_rcnn_FPN_100ep.py.

Command:   tools/dist_train.sh configs/detection/convvit-b_mask-rcnn-fpn_coco.py 8 \
               --pretrained CHECKPOINT
Published: from ConvMAE, 1600 epochs: 53.2 box AP, 47.1 mask AP
           from ConvMAE, 200 epochs: 50.8 box AP, 45.4 mask AP
           from FastConvMAE, 50 epochs: 51.0 box AP, 45.4 mask AP
           none with --epochs 100
Ours:      not run

The official code computes sine-cosine positions but never assigns them, so it uses the checkpoint's
positions, resized and frozen. This recipe does the same.
"""

_base_ = [
    "../_base_/transfer_runtime.py",
    "../_base_/mask_rcnn_vitdet.py",
    "../_base_/coco_lsj_padded.py",
]

epochs = 25
gpus = 8
batch_per_gpu = 4
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 32
# 92,187 updates, at 118,000 images per epoch. mmengine counts batches, not updates.
iterations = epochs * 118000 // global_batch * accumulate
warmup = 461 * accumulate  # 0.125 % of 100 epochs, in both official recipes
lr = 8e-5
head_norm = dict(_delete_=True, type="SyncBN")

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmmim.ConvViT",
        arch="base",
        img_size=1024,  # the position table is resized once, on loading
        window_size=16,
        global_blocks=(0, 3, 6, 10),
        relative_position="shared",
        relative_position_size=1024,
        drop_path_rate=0.1,
    ),
    neck=dict(
        _delete_=True,
        type="FPN",
        in_channels=[256, 384, 768, 768],
        out_channels=256,
        num_outs=5,
        norm_cfg=dict(type="SyncBN"),
    ),
    roi_head=dict(bbox_head=dict(norm_cfg=head_norm), mask_head=dict(norm_cfg=head_norm)),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.1),
    # No weight decay on norms (detectron2) and relative positions (the config); no layer decay.
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={"_position.table": 0.0}),
    accumulative_counts=accumulate,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=warmup),
    dict(
        type="CosineAnnealingLR",
        by_epoch=False,
        begin=warmup,
        end=iterations,
        T_max=iterations - warmup,
    ),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=3688 * accumulate)
auto_scale_lr = dict(base_batch_size=global_batch)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=3688 * accumulate))
