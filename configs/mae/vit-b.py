"""MAE: Masked Autoencoders Are Scalable Vision Learners (arXiv 2111.06377).

ViT-B, ImageNet-1K, 1600 epochs, 8 GPUs.

Command:   tools/dist_train.sh configs/mae/vit-b.py 8
Published: ImageNet top-1 83.664 fine-tuned, 67.8 linear; COCO 51.6 box AP, 45.9 mask AP
           (ViTDet, 100 epochs); ADE20K 48.1 mIoU
           83.3 fine-tuned, 65.1 linear with --epochs 800 (mmselfsup)
           83.3 fine-tuned, 62.5 linear with --epochs 400 (mmselfsup)
           82.8 fine-tuned, 60.8 linear with --epochs 300 (mmselfsup)
Ours:      not run
"""

_base_ = "../_base_/pretrain_runtime.py"

epochs = 1600
warmup_epochs = 40

gpus = 8
batch_per_gpu = 512
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 4096
base_lr = 1.5e-4  # at batch 256
lr = base_lr * global_batch / 256  # 2.4e-3

model = dict(
    type="MAE",
    data_preprocessor=dict(
        type="ImgDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        non_blocking=True,
    ),
    backbone=dict(type="ViT", arch="base", img_size=224, patch_size=16),
    decoder=dict(embed_dims=512, depth=8, num_heads=16),
    mask_ratio=0.75,
    norm_pix=True,
)

train_dataloader = dict(
    batch_size=batch_per_gpu,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="UnlabelledImages",
        data_root="{{$IMAGENET:data/imagenet}}/",
        data_prefix="train/",
        pipeline=[
            dict(type="RandomResizedCrop", size=224, scale=(0.2, 1.0)),
            dict(type="torchvision/RandomHorizontalFlip"),
        ],
    ),
)

optim_wrapper = dict(
    type="AmpOptimWrapper",
    constructor="LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.95), weight_decay=0.05),
    # As in MAE's main_pretrain.py (timm's add_weight_decay): 1-D parameters are exempt from weight
    # decay. The class token and the mask token are not 1-D, so they decay.
    paramwise_cfg=dict(flat_decay_mult=0.0),
    accumulative_counts=accumulate,
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
default_hooks = dict(checkpoint=dict(interval=5))
auto_scale_lr = dict(base_batch_size=global_batch)
