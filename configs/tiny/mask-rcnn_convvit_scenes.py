"""Mask R-CNN on the embedded scenes, laptop size: ConvMAE's structure (FPN), few channels.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/mask-rcnn_convvit_scenes.py --pretrained CHECKPOINT
           (without --pretrained: from scratch, the same budget)
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = [
    "../_base_/transfer_runtime.py",
    "../_base_/mask_rcnn_tiny.py",
    "../_base_/scenes_detection.py",
]

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmmim.ConvViT",
        arch=dict(embed_dims=(32, 64, 128), depths=(1, 1, 5), num_heads=4, patch_sizes=(2, 2, 2)),
        img_size=96,
        out_indices=(1, 2, 3),  # strides 4, 8 and 16
        relative_position="shared",
        relative_position_size=96,
    ),
    neck=dict(
        _delete_=True,
        type="FPN",
        in_channels=[64, 128, 128],
        out_channels=64,
        num_outs=4,
        norm_cfg=dict(type="BN"),
    ),
    roi_head=dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3)),
)

default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=4, max_keep_ckpts=2))
