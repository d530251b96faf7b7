"""Mask R-CNN on COCO with ConvViT-B and a simple feature pyramid: ConvMAE's later detection code.

LSJ at 1024 pixels, 25 epochs, batch 16 on 8 GPUs. Recipe: OpenGVLab/Official-ConvMAE-Det
projects/ConvMAEDet/configs/COCO/mask_rcnn_vitdet_convmae_b_25ep.py. --epochs 100 keeps the batch of 16.
For 100 epochs with ViTDet's batch of 64, which has as many iterations as this recipe, use --cfg-options
train_dataloader.batch_size=8 auto_scale_lr.base_batch_size=64.

Command:   tools/dist_train.sh configs/detection/convvit-b_mask-rcnn_coco.py 8 --pretrained CHECKPOINT
Published: from ConvMAE (arXiv 2205.03892), 1600 epochs: 53.9 box AP, 47.6 mask AP
           none for 100 epochs
           from PixMIM (arXiv 2303.02416) with ConvMAE: none with this recipe
Ours:      not run

The official layer decay omits pos_embed, which therefore learns at the full rate. Here pos_embed is in
layer 0, as in ConvMAE's other tasks. As in the official code, only the last stage feeds the pyramid.
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/mask_rcnn_vitdet.py", "../_base_/coco_lsj.py"]

epochs = 25
gpus = 8
batch_per_gpu = 2
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 16
# 184,375 updates, at 118,000 images per epoch. mmengine counts batches, not updates.
iterations = epochs * 118000 // global_batch * accumulate
lr = 1e-4

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmmim.ConvViT",
        arch="base",
        img_size=224,  # as in pretraining; positions are resized to the input
        out_indices=(2,),
        learnable_pos_embed=True,
        window_size=14,
        global_blocks=(1, 4, 7, 10),
        relative_position="decomposed",
        relative_position_size=1024,
        conv_eps=1e-6,  # as in this official code only
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=768),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.1),
    # As in detectron2: no weight decay on norms and pos_embed; biases decay.
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
