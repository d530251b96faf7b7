"""Fine-tuning on a folder of classes, in the size of a laptop.

Command:   CLOTHING=/path/to/folder python tools/train.py configs/tiny/classifier_mixmim_clothing.py \\
               --pretrained CHECKPOINT
           (without --pretrained: from scratch, the same budget)
Published: none, the recipe is ours
Ours:      not run
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
        type="mmmim.MixMIMTransformer",
        arch=dict(embed_dims=32, depths=(1, 1, 4, 1), num_heads=(1, 2, 4, 8)),
        img_size=128,
        window_sizes=(8, 8, 8, 4),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=256,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=2e-5),
    ),
)

default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=50, max_keep_ckpts=2))
