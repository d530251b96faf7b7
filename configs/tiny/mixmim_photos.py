"""MixMIM (arXiv 2205.13137) on a folder of photos, laptop size.

Command:   IMAGES=/path/to/photos python tools/train.py configs/tiny/mixmim_photos.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = ["../_base_/pretrain_runtime.py", "../_base_/photos_pretraining.py"]

model = dict(
    type="MixMIM",
    data_preprocessor=dict(
        type="ImgDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        non_blocking=True,
    ),
    backbone=dict(
        type="MixMIMTransformer",
        arch=dict(embed_dims=32, depths=(1, 1, 4, 1), num_heads=(1, 2, 4, 8)),
        img_size=128,
        window_sizes=(8, 8, 8, 4),
    ),
    decoder=dict(embed_dims=64, depth=2, num_heads=4),
    mask_ratio=0.5,
)
