"""Mask R-CNN on COCO, or a subset in its layout, laptop size: ViTDet's structure, few channels.

Command:   python tools/train.py configs/tiny/mask-rcnn_vit_coco.py --pretrained CHECKPOINT
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
        arch=dict(embed_dims=192, depth=6, num_heads=6),
        img_size=128,  # as in pretraining; positions are resized to the input
        patch_size=16,
        window_size=7,
        global_blocks=(2, 5),
        relative_position_size=256,
    ),
    neck=dict(in_channels=192, stride=16),
    rpn_head=dict(anchor_generator=dict(strides=[8, 16, 32, 64])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[8, 16, 32], finest_scale=28),
        bbox_head=dict(num_classes=80),
        mask_roi_extractor=dict(featmap_strides=[8, 16, 32], finest_scale=28),
        mask_head=dict(num_classes=80),
    ),
)

default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=4, max_keep_ckpts=2))
