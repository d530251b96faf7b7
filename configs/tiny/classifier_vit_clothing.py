"""Fine-tuning on a folder of classes, laptop size.

Command:   CLOTHING=/path/to/folder python tools/train.py configs/tiny/classifier_vit_clothing.py \\
               --pretrained CHECKPOINT
           (without --pretrained: from scratch, the same budget)
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/clothing.py"]

model = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(
        type="mmpretrain.ClsDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type="mmmim.ViT",
        arch=dict(embed_dims=192, depth=6, num_heads=6),
        img_size=128,
        patch_size=16,
        final_norm=False,
        learnable_pos_embed=True,
    ),
    neck=dict(type="mmmim.GlobalPoolNorm", channels=192),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=192,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=2e-5),
    ),
)

default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=50, max_keep_ckpts=2))
