"""MAE (arXiv 2111.06377) on the embedded scenes, laptop size.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/mae_vit_scenes.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = ["../_base_/pretrain_runtime.py", "../_base_/scenes_pretraining.py"]

model = dict(
    type="MAE",
    data_preprocessor=dict(
        type="ImgDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        non_blocking=True,
    ),
    backbone=dict(
        type="ViT",
        arch=dict(embed_dims=128, depth=6, num_heads=4),
        img_size=96,
        patch_size=8,
    ),
    decoder=dict(embed_dims=64, depth=2, num_heads=4),
    mask_ratio=0.75,
)
