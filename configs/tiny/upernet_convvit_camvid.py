"""UperNet on CamVid in ADE20K's layout, laptop size: ConvMAE's structure, few channels.

Command:   python tools/train.py configs/tiny/upernet_convvit_camvid.py --pretrained CHECKPOINT
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
        _delete_=True,
        type="mmmim.ConvViT",
        arch=dict(embed_dims=(48, 96, 192), depths=(1, 1, 5), num_heads=6),
        img_size=192,
        out_indices=(1, 2, 3),  # strides 8, 16 and 32; the neck adds 64
        learnable_pos_embed=True,
        relative_position="bias",
        relative_position_size=192,
        layer_scale=1.0,
    ),
    neck=dict(_delete_=True, type="mmmim.AppendDownsampled", in_channels=192, norm_cfg=dict(type="BN")),
    decode_head=dict(in_channels=[96, 192, 192, 192], num_classes=11),
    auxiliary_head=dict(in_channels=192, in_index=1, num_classes=11),
)

default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=200, by_epoch=False, max_keep_ckpts=2)
)
