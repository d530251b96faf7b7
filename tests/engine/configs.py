"""Configs for the tests of the engine."""

from mmengine import Config

TINY_VIT = dict(arch=dict(embed_dims=16, depth=1, num_heads=2), img_size=32, patch_size=8)


def config(**kwargs) -> Config:
    """A minimal training config, with changes."""
    base = dict(
        work_dir="unused",
        train_cfg=dict(max_epochs=1),
        model=dict(type="MAE", backbone=dict(type="ViT")),
        train_dataloader=dict(batch_size=8, dataset=dict(type="UnlabelledImages", data_root=".")),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.001)),
    )
    return Config({**base, **kwargs})


def detector(backbone: dict, **changes) -> Config:
    return config(
        default_scope="mmdet",
        launcher="none",
        model=dict(type="MaskRCNN", backbone=backbone),
        **changes,
    )
