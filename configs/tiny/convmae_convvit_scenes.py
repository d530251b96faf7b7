"""ConvMAE (arXiv 2205.03892) in the size of a laptop, on the embedded scenes.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/convmae_convvit_scenes.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = "../_base_/pretrain_runtime.py"

epochs = 100
warmup_epochs = 5
global_batch = 64
base_lr = 4e-3  # at batch 256; few steps need a high rate
lr = base_lr * global_batch / 256

image_size = 96

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
        # Half the published strides, so that a patch is as large as the tiny ViT's: 8 pixels.
        arch=dict(embed_dims=(32, 64, 128), depths=(1, 1, 5), num_heads=4, patch_sizes=(2, 2, 2)),
        img_size=image_size,
    ),
    decoder=dict(embed_dims=64, depth=2, num_heads=4),
    mask_ratio=0.75,
)

train_dataloader = dict(
    batch_size=global_batch,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="UnlabelledImages",
        data_root="{{$SCENES:data/scenes}}/",
        data_prefix="unlabelled/",
        pipeline=[
            dict(type="RandomResizedCrop", size=image_size, scale=(0.2, 1.0)),
            dict(type="torchvision/RandomHorizontalFlip"),
        ],
    ),
)

optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.95), weight_decay=0.05),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(flat_decay_mult=0.0),
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
train_cfg = dict(by_epoch=True, max_epochs=epochs)
auto_scale_lr = dict(base_batch_size=global_batch)
