"""ConvMAE (arXiv 2205.03892) on the embedded scenes, laptop size.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/convmae_convvit_scenes.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = ["../_base_/pretrain_runtime.py", "../_base_/scenes_pretraining.py"]

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
        # Half the published strides: patches of 8 pixels, as in the tiny ViT.
        arch=dict(embed_dims=(32, 64, 128), depths=(1, 1, 5), num_heads=4, patch_sizes=(2, 2, 2)),
        img_size=96,
    ),
    decoder=dict(embed_dims=64, depth=2, num_heads=4),
    mask_ratio=0.75,
)
