"""ConvMAE: Masked Convolution Meets Masked Autoencoders (arXiv 2205.03892).

ConvViT-B, ImageNet-1K, 1600 epochs, 8 GPUs. The batch is 2048, as the author says (issue 6 of the
official repository); the command in PRETRAIN.md has 3 x 8 x 128 = 3072.

Command:   tools/dist_train.sh configs/convmae/convvit-b.py 8
Published: ImageNet top-1 84.982 fine-tuned, 70.9 linear; COCO 53.2 box AP, 47.1 mask AP (FPN,
           25 epochs), 53.9 and 47.6 (simple pyramid); ADE20K 51.66 mIoU
           with --epochs 200: 84.4 fine-tuned; COCO 50.8 box AP, 45.4 mask AP (FPN, 25 epochs);
           ADE20K 48.5 mIoU (FastConvMAE's table)
           none with --epochs 800
Ours:      not run
"""

_base_ = "../_base_/pretrain_runtime.py"

epochs = 1600
warmup_epochs = 40

gpus = 8
batch_per_gpu = 256
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 2048
base_lr = 1.5e-4  # at batch 256
lr = base_lr * global_batch / 256  # 1.2e-3

model = dict(
    type="ConvMAE",
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
