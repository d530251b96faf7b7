"""UperNet on ADE20K with ViT-B: the MAE recipe.

512 pixel crops, 160,000 iterations, batch 16 on 8 GPUs. Recipe: implus/mae_segmentation
configs/mae/upernet_mae_base_12_512_slide_160k_ade20k.py, which PixMIM's authors name. LSMAE's authors
give another learning rate and layer decay (long_seq_mae issue 1): --cfg-options
optim_wrapper.optimizer.lr=8e-5 optim_wrapper.paramwise_cfg.layer_decay=0.8. MaskAlign's authors
released no segmentation code; using this recipe is our choice.

Command:   tools/dist_train.sh configs/segmentation/vit-b_upernet_ade20k.py 8 --pretrained CHECKPOINT
Published: from MAE (arXiv 2111.06377), 1600 epochs: 48.15 mIoU
           from PixMIM (arXiv 2303.02416): not published per configuration
           from LSMAE (arXiv 2210.07224), with the options above: not verified
           from PixMIM with LSMAE, with the options above: none with this recipe
           from MaskAlign (arXiv 2211.08887): none with this recipe
Ours:      not run
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/upernet_vit.py", "../_base_/ade20k_512.py"]

gpus = 8
batch_per_gpu = 2
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 16
iterations = 160000 * accumulate  # mmengine counts batches, not updates
lr = 1e-4

model = dict(
    backbone=dict(arch="base", out_indices=(3, 5, 7, 11), drop_path_rate=0.1),
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768] * 4, channels=768, num_classes=150),
    auxiliary_head=dict(in_channels=768, num_classes=150),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    # As in mmcv_custom/layer_decay_optimizer_constructor.py: no weight decay on 1-D parameters. It
    # means to exempt pos_embed too, but compares names without "backbone.", so pos_embed decays.
    paramwise_cfg=dict(layer_decay=0.65, flat_decay_mult=0.0),
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
