"""UperNet on CamVid in ADE20K's layout, laptop size: the published structure, few channels.

Command:   python tools/train.py configs/tiny/upernet_vit_camvid.py --pretrained CHECKPOINT
           (without --pretrained: from scratch, the same budget)
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = [
    "../_base_/transfer_runtime.py",
    "../_base_/upernet_tiny.py",
    "../_base_/camvid.py",
]

model = dict(
    data_preprocessor=dict(size=(192, 192)),
    backbone=dict(
        arch=dict(embed_dims=192, depth=6, num_heads=6),
        img_size=192,
        patch_size=16,
        out_indices=(2, 3, 4, 5),
        relative_position_size=192,
    ),
    neck=dict(embed_dim=192),
    decode_head=dict(in_channels=[192] * 4, num_classes=11),
    auxiliary_head=dict(in_channels=192, num_classes=11),
)

default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=200, by_epoch=False, max_keep_ckpts=2)
)
