"""Linear probing on a folder of classes, laptop size: one layer on the frozen class token.

Command:   CLOTHING=/path/to/folder python tools/train.py configs/tiny/linear_vit_clothing.py \\
               --pretrained CHECKPOINT
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
        type="mmmim.FrozenBackbone",
        backbone=dict(
            type="mmmim.ClassTokenViT",
            arch=dict(embed_dims=192, depth=6, num_heads=6),
            img_size=128,
            patch_size=16,
        ),
    ),
    neck=dict(type="ClsBatchNormNeck", input_features=192),  # no affine: it only normalizes
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=192,
        loss=dict(type="CrossEntropyLoss"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=0.01),
    ),
)

optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(_delete_=True, type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0),
    paramwise_cfg=dict(_delete_=True),
)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=50, max_keep_ckpts=2))
