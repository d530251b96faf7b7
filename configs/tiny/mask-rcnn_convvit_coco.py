"""Mask R-CNN on COCO, or a subset in its layout, laptop size: ConvMAE's structure (FPN), few channels.

Command:   python tools/train.py configs/tiny/mask-rcnn_convvit_coco.py --pretrained CHECKPOINT
           (without --pretrained: from scratch, the same budget)
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = [
    "../_base_/transfer_runtime.py",
    "../_base_/mask_rcnn_tiny.py",
    "../_base_/coco_tiny.py",
]

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmmim.ConvViT",
        arch=dict(embed_dims=(48, 96, 192), depths=(1, 1, 5), num_heads=6),
        img_size=128,  # as in pretraining; positions are resized to the input
        out_indices=(1, 2, 3),  # strides 8, 16 and 32
        window_size=8,
        global_blocks=(0, 4),
        relative_position="shared",
        relative_position_size=256,
    ),
    neck=dict(
        _delete_=True,
        type="FPN",
        in_channels=[96, 192, 192],
        out_channels=64,
        num_outs=4,
        norm_cfg=dict(type="BN"),
    ),
    rpn_head=dict(anchor_generator=dict(strides=[8, 16, 32, 64])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[8, 16, 32], finest_scale=28),
        bbox_head=dict(num_classes=80),
        mask_roi_extractor=dict(featmap_strides=[8, 16, 32], finest_scale=28),
        mask_head=dict(num_classes=80),
    ),
)

default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=4, max_keep_ckpts=2))
