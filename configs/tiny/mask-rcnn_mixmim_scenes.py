"""Mask R-CNN on the embedded scenes, laptop size: MixMIM on an FPN, few channels.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/mask-rcnn_mixmim_scenes.py --pretrained CHECKPOINT
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
        type="mmmim.MixMIMTransformer",
        arch=dict(embed_dims=32, depths=(1, 1, 4, 1), num_heads=(1, 2, 4, 8)),
        img_size=96,
        patch_size=3,
        window_sizes=(8, 8, 8, 4),
        out_indices=(0, 1, 2, 3),
    ),
    neck=dict(
        _delete_=True,
        type="FPN",
        in_channels=[32, 64, 128, 256],
        out_channels=64,
        num_outs=4,
        norm_cfg=dict(type="BN"),
    ),
    rpn_head=dict(anchor_generator=dict(scales=[5], strides=[3, 6, 12, 24])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[3, 6, 12]),
        bbox_head=dict(num_classes=3),
        mask_roi_extractor=dict(featmap_strides=[3, 6, 12]),
        mask_head=dict(num_classes=3),
    ),
)

default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=4, max_keep_ckpts=2))
