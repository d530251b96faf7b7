"""Fine-tuning on ImageNet-1K from MixMIM (arXiv 2205.13137), MixMIM-B, 384 pixels, 100 epochs, 8 GPUs.

Windows of 16, 16, 24 and 12 tokens: Sense-X/MixMIM models_mixmim_ft.py:306-318. The recipe was not
released; this is that of 224 pixels. Positions and bias tables are resized while loading.

Command:   tools/dist_train.sh configs/classification/mixmim_mixmim-b-384_100e_in1k.py 8 \\
               --pretrained CHECKPOINT
Published: top-1 86.3 (from 600 epochs)
Ours:      not run
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/imagenet_classes.py"]

epochs = 100
warmup_epochs = 5
gpus = 8
batch_per_gpu = 64
accumulate = 2
global_batch = gpus * batch_per_gpu * accumulate  # 1024
base_lr = 5e-4  # at batch 256
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
        type="mmmim.MixMIMTransformer",
        arch="base",
        img_size=384,
        window_sizes=(16, 16, 24, 12),
        drop_path_rate=0.1,
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=1024,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=2e-5),
    ),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)

train_dataloader = dict(
    batch_size=batch_per_gpu,
    dataset=dict(
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="RandomResizedCrop", scale=384, backend="pillow", interpolation="bicubic"),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(
                type="RandAugment",  # rand-m9-mstd0.5-inc1
                policies="timm_increasing",
                num_policies=2,
                total_level=10,
                magnitude_level=9,
                magnitude_std=0.5,
                hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic"),  # BGR
            ),
            dict(
                type="RandomErasing",
                erase_prob=0.25,
                mode="rand",
                min_area_ratio=0.02,
                max_area_ratio=1 / 3,
                fill_color=[103.53, 116.28, 123.675],
                fill_std=[57.375, 57.12, 58.395],
            ),
            dict(type="PackInputs"),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[  # whole images above 224 pixels: util/datasets.py:52-59
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="ResizeEdge", scale=384, edge="short", backend="pillow", interpolation="bicubic"),
            dict(type="CenterCrop", crop_size=384),
            dict(type="PackInputs"),
        ],
    ),
)
test_dataloader = val_dataloader
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    # The official code counts the head with the last norm (util/lr_decay.py:61-77).
    paramwise_cfg=dict(layer_decay=0.7, flat_decay_mult=0.0, lr_keys={"head.": 0.7}),
    accumulative_counts=accumulate,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        begin=warmup_epochs,
        end=epochs,
        T_max=epochs - warmup_epochs,
        eta_min_ratio=1e-6 / lr,  # of each layer's own rate, as in util/lr_sched.py
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=5)
auto_scale_lr = dict(base_batch_size=global_batch)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3))
