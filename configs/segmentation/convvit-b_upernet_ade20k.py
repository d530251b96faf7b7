r"""UperNet on ADE20K with ConvViT-B: ConvMAE's segmentation code (arXiv 2205.03892).

512 pixel crops, 160,000 iterations, batch 16 on 8 GPUs. Recipe: Alpha-VL/ConvMAE SEG/configs/convmae/
upernet_convmae_base_512_slide_160k_ade20k.py.

Command:   tools/dist_train.sh configs/segmentation/convvit-b_upernet_ade20k.py 8 \
               --pretrained CHECKPOINT
Published: from ConvMAE, 1600 epochs: 51.66 mIoU; 200 epochs: 48.5
           from FastConvMAE, 50 epochs: 48.3 mIoU
           from PixMIM (arXiv 2303.02416) with ConvMAE: none with this recipe
Ours:      not run

Errata of the official code, kept because the released weights were trained with them: an unpadded
convolution makes the map of stride 32 (32 positions become 15), no map is normalized, pos_embed
decays.
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/upernet_vit.py", "../_base_/ade20k_512.py"]

gpus = 8
batch_per_gpu = 2
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 16
iterations = 160000 * accumulate  # mmengine counts batches, not updates
lr = 1e-4

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmmim.ConvViT",
        arch="base",
        img_size=512,  # the position table is resized once, on loading
        out_indices=(0, 1, 2),
        learnable_pos_embed=True,
        relative_position="bias",
        relative_position_size=512,
        layer_scale=1.0,
        eps=1e-5,  # as in the official segmentation code only
        drop_path_rate=0.2,
    ),
    neck=dict(
        _delete_=True, type="mmmim.AppendDownsampled", in_channels=768, norm_cfg=dict(type="SyncBN")
    ),
    decode_head=dict(in_channels=[256, 384, 768, 768], channels=768, num_classes=150),
    auxiliary_head=dict(in_channels=768, num_classes=150),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    # As in SEG/mmcv_custom/layer_decay_optimizer_constructor.py: no weight decay on 1-D parameters. It
    # means to exempt pos_embed too, but compares names without "backbone.", so pos_embed decays.
    paramwise_cfg=dict(layer_decay=0.75, flat_decay_mult=0.0),
    accumulative_counts=accumulate,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, end=1500 * accumulate),
    # mmcv's poly schedule of 2022 decays from iteration 0, so it is about 1 % lower after warm-up.
    dict(
        type="PolyLR",
        power=1.0,
        eta_min=0.0,
        by_epoch=False,
        begin=1500 * accumulate,
        end=iterations,
    ),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=16000 * accumulate)
auto_scale_lr = dict(base_batch_size=global_batch)
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=16000 * accumulate)
)
