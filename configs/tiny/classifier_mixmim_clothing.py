"""Fine-tuning on a folder of classes, laptop size: MixMIM.

Command:   CLOTHING=/path/to/folder python tools/train.py configs/tiny/classifier_mixmim_clothing.py \\
               --pretrained CHECKPOINT
           (without --pretrained: from scratch, the same budget)
Published: none, the recipe is ours
Ours:      not run
"""

_base_ = "classifier_vit_clothing.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmmim.MixMIMTransformer",
        arch=dict(embed_dims=32, depths=(1, 1, 4, 1), num_heads=(1, 2, 4, 8)),
        img_size=128,
        window_sizes=(8, 8, 8, 4),
    ),
    neck=dict(_delete_=True, type="GlobalAveragePooling"),
    head=dict(in_channels=256),
)
