"""UperNet on the embedded scenes, laptop size: ConvMAE's structure, few channels.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/upernet_convvit_scenes.py --pretrained CHECKPOINT
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
        _delete_=True,
        type="mmmim.ConvViT",
        arch=dict(embed_dims=(32, 64, 128), depths=(1, 1, 5), num_heads=4, patch_sizes=(2, 2, 2)),
        img_size=96,
        out_indices=(1, 2, 3),  # strides 4, 8 and 16; the neck adds 32
        learnable_pos_embed=True,
        relative_position="bias",
        relative_position_size=96,
        layer_scale=1.0,
    ),
    neck=dict(_delete_=True, type="mmmim.AppendDownsampled", in_channels=128, norm_cfg=dict(type="BN")),
    decode_head=dict(in_channels=[64, 128, 128, 128], num_classes=4),
    auxiliary_head=dict(in_channels=128, in_index=1, num_classes=4),
)

default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=128, by_epoch=False, max_keep_ckpts=2)
)
