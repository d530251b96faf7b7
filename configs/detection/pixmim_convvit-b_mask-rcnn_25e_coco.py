r"""Mask R-CNN on COCO from PixMIM over ConvMAE, ConvViT-B on a simple feature pyramid: the later code.

LSJ at 1024 pixels, 25 epochs, batch 16 on 8 GPUs. Recipe: OpenGVLab/Official-ConvMAE-Det
projects/ConvMAEDet/configs/COCO/mask_rcnn_vitdet_convmae_b_25ep.py.

The weights come from PixMIM (arXiv 2303.02416) over this host, the recipe is the host's.

Command:   tools/dist_train.sh configs/detection/pixmim_convvit-b_mask-rcnn_25e_coco.py 8 \
               --pretrained CHECKPOINT
Published: none from PixMIM with this recipe
Ours:      not run
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/mask_rcnn_vitdet.py", "../_base_/coco_lsj.py"]

gpus = 8
batch_per_gpu = 2
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 16
iterations = 184375 * accumulate  # 25 epochs of 118,000 images; mmengine counts before accumulation
lr = 1e-4

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmmim.ConvViT",
        arch="base",
        img_size=224,  # of pretraining; positions are resized to what comes
        out_indices=(2,),
        train_positions=True,
        window_size=14,
        global_blocks=(1, 4, 7, 10),
        relative_position="decomposed",
        relative_position_size=1024,
        conv_eps=1e-6,  # as in this code alone
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=768),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.1),
    # detectron2 exempts norms and pos_embed from weight decay, and no biases.
    paramwise_cfg=dict(layer_decay=0.8, norm_decay_mult=0.0, custom_keys={"pos_embed": 0.0}),
    accumulative_counts=accumulate,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=250 * accumulate),
    dict(
        type="MultiStepLR",
        by_epoch=False,
        milestones=[163889 * accumulate, 177546 * accumulate],
        gamma=0.1,
    ),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=5000 * accumulate)
auto_scale_lr = dict(base_batch_size=global_batch)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=5000 * accumulate))
