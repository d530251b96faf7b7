"""PixMIM (arXiv 2303.02416) with MAE on a folder of photos, laptop size.

Command:   IMAGES=/path/to/photos python tools/train.py configs/tiny/pixmim_vit_photos.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = ["../_base_/pretrain_runtime.py", "../_base_/photos_pretraining.py"]

model = dict(
    type="PixMIM",
    method=dict(
        type="MAE",
        data_preprocessor=dict(
            type="ImgDataPreprocessor",
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            non_blocking=True,
        ),
        backbone=dict(
            type="ViT",
            arch=dict(embed_dims=192, depth=6, num_heads=6),
            img_size=128,
            patch_size=16,
        ),
        decoder=dict(embed_dims=64, depth=2, num_heads=4),
        mask_ratio=0.75,
    ),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="SimpleResizedCrop", size={{_base_.image_size}}),
            dict(type="torchvision/RandomHorizontalFlip"),
        ]
    )
)
