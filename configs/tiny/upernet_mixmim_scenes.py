"""UperNet on the embedded scenes, laptop size: MixMIM, few channels.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/upernet_mixmim_scenes.py --pretrained CHECKPOINT
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
        type="mmmim.MixMIMTransformer",
        arch=dict(embed_dims=32, depths=(1, 1, 4, 1), num_heads=(1, 2, 4, 8)),
        img_size=96,
        patch_size=3,
        window_sizes=(8, 8, 8, 4),
        out_indices=(0, 1, 2, 3),
    ),
    neck=None,  # the backbone gives four scales
    decode_head=dict(in_channels=[32, 64, 128, 256], num_classes=4),
    auxiliary_head=dict(in_channels=128, num_classes=4),
)

default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=128, by_epoch=False, max_keep_ckpts=2)
)
