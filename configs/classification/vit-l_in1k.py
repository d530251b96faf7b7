"""Fine-tuning on ImageNet-1K with ViT-L, 50 epochs, 8 GPUs: the recipe of MAE.

Command:   tools/dist_train.sh configs/classification/vit-l_in1k.py 8 --pretrained CHECKPOINT
Published: from MAE (arXiv 2111.06377), 1600 epochs: top-1 85.9
Ours:      not run
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/imagenet_classes.py"]

epochs = 50
warmup_epochs = 5
gpus = 8
batch_per_gpu = 128
global_batch = gpus * batch_per_gpu  # 1024
base_lr = 1e-3  # at batch 256
lr = base_lr * global_batch / 256

model = dict(
    type="mmpretrain.ImageClassifier",
    data_preprocessor=dict(
        type="mmpretrain.ClsDataPreprocessor",
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type="mmmim.ViT",
        arch="large",
        img_size=224,
        patch_size=16,
        final_norm=False,
        learnable_pos_embed=True,
        drop_path_rate=0.2,
    ),
    neck=dict(type="mmmim.GlobalPoolNorm", channels=1024),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=1024,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=2e-5),
    ),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        layer_decay=0.75, flat_decay_mult=0.0, custom_keys={"cls_token": 0.0, "pos_embed": 0.0}
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        begin=warmup_epochs,
        end=epochs,
        T_max=epochs - warmup_epochs,
        eta_min_ratio=1e-6 / lr,  # relative to each layer's rate, as in util/lr_sched.py
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=5)
auto_scale_lr = dict(base_batch_size=global_batch)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3))
