"""Fine-tuning on a folder of classes, laptop size: ConvViT.

Command:   CLOTHING=/path/to/folder python tools/train.py configs/tiny/classifier_convvit_clothing.py \\
               --pretrained CHECKPOINT
           (without --pretrained: from scratch, the same budget)
Published: none, the recipe is ours
Ours:      not run
"""

_base_ = "classifier_vit_clothing.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmmim.ConvViT",
        arch=dict(embed_dims=(48, 96, 192), depths=(1, 1, 5), num_heads=6),
        img_size=128,
        out_indices=(2,),
        learnable_pos_embed=True,
    )
)
