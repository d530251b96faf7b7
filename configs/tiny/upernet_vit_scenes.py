"""UperNet on the embedded scenes, laptop size: the published structure, few channels.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/upernet_vit_scenes.py --pretrained CHECKPOINT
           (without --pretrained: from scratch, the same budget)
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = [
    "../_base_/transfer_runtime.py",
    "../_base_/upernet_tiny.py",
    "../_base_/scenes_segmentation.py",
]

model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(
        arch=dict(embed_dims=128, depth=6, num_heads=4),
        img_size=96,
        patch_size=8,
        out_indices=(2, 3, 4, 5),
        relative_position_size=96,
    ),
    neck=dict(embed_dim=128),
    decode_head=dict(in_channels=[128] * 4, num_classes=4),
    auxiliary_head=dict(in_channels=128, num_classes=4),
)

default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=128, by_epoch=False, max_keep_ckpts=2)
)
