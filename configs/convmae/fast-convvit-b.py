"""FastConvMAE (Alpha-VL/FastConvMAE): ConvMAE (arXiv 2205.03892) with four complementary masks.

ConvViT-B, ImageNet-1K, 50 epochs, 8 GPUs (PRETRAIN.md's recipe).

Command:   tools/dist_train.sh configs/convmae/fast-convvit-b.py 8
Published: ImageNet top-1 84.4 fine-tuned; COCO 51.0 box AP, 45.4 mask AP (FPN, 25 epochs);
           ADE20K 48.3 mIoU (README)
           none for pixels with --epochs 100 (with another target: 85.2 fine-tuned)
           none for pixels with --epochs 200
Ours:      not run
"""

_base_ = "../_base_/pretrain_runtime.py"

epochs = 50
warmup_epochs = 10

gpus = 8
batch_per_gpu = 64
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 512
base_lr = 6e-4  # at batch 256
lr = base_lr * global_batch / 256  # 1.2e-3

model = dict(
    type="FastConvMAE",
    data_preprocessor=dict(
        type="ImgDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        non_blocking=True,
    ),
    backbone=dict(type="ConvViT", arch="base", img_size=224),
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
    # As in main_pretrain.py (timm's add_weight_decay): 1-D parameters are exempt from weight decay.
    # The mask token is not 1-D, so it decays.
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
