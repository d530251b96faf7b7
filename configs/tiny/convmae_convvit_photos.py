"""ConvMAE (arXiv 2205.03892) on a folder of photos, laptop size.

Command:   IMAGES=/path/to/photos python tools/train.py configs/tiny/convmae_convvit_photos.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = ["../_base_/pretrain_runtime.py", "../_base_/photos_pretraining.py"]

model = dict(
    type="ConvMAE",
    data_preprocessor=dict(
        type="ImgDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        non_blocking=True,
    ),
    backbone=dict(
        type="ConvViT",
        arch=dict(embed_dims=(48, 96, 192), depths=(1, 1, 5), num_heads=6),
        img_size=128,
    ),
    decoder=dict(embed_dims=64, depth=2, num_heads=4),
    mask_ratio=0.75,
)
