"""MixMIM (arXiv 2205.13137) on the embedded scenes, laptop size.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/mixmim_scenes.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = ["../_base_/pretrain_runtime.py", "../_base_/scenes_pretraining.py"]

epochs = 30  # a step costs four times that of MAE: no token is dropped, and tokens are smaller
warmup_epochs = 3

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
        img_size=96,
        patch_size=3,  # 96 pixels give 4 x 4 cells to mix
        window_sizes=(8, 8, 8, 4),
    ),
    decoder=dict(embed_dims=64, depth=2, num_heads=4),
    mask_ratio=0.5,
)

param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        begin=warmup_epochs,
        end=epochs,
        T_max=epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=epochs)
