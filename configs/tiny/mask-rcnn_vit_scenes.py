"""Mask R-CNN on the embedded scenes, laptop size: ViTDet's structure, few channels.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/mask-rcnn_vit_scenes.py --pretrained CHECKPOINT
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
        arch=dict(embed_dims=128, depth=6, num_heads=4),
        img_size=96,
        patch_size=8,
        relative_position_size=96,
    ),
    neck=dict(in_channels=128, stride=8),
    roi_head=dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3)),
)

default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=4, max_keep_ckpts=2))
