"""Mask R-CNN on COCO with ViT-L: ViTDet (arXiv 2203.16527).

LSJ at 1024 pixels, 100 epochs, batch 64 on 8 GPUs. Recipe: detectron2 projects/ViTDet/configs/COCO/
mask_rcnn_vitdet_l_100ep.py. The authors of PixMIM and LSMAE evaluate with it, LSMAE with
pretrain_img_size=448 (long_seq_mae FINETUNE_DETECTION.md), which tools/train.py and tools/test.py read
from the checkpoint. MaskAlign's authors released no detection code; using this recipe is our choice.

Command:   tools/dist_train.sh configs/detection/vit-l_mask-rcnn_coco.py 8 --pretrained CHECKPOINT
Published: from MAE (arXiv 2111.06377), 1600 epochs: 55.5 box AP, 49.2 mask AP
           from PixMIM (arXiv 2303.02416): not published per configuration
           from LSMAE (arXiv 2210.07224): none with the code for this configuration
           from MaskAlign (arXiv 2211.08887): none with this recipe
Ours:      not run
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/mask_rcnn_vitdet.py", "../_base_/coco_lsj.py"]

epochs = 100
gpus = 8
batch_per_gpu = 4
accumulate = 2
global_batch = gpus * batch_per_gpu * accumulate  # 64
# 184,375 updates, at 118,000 images per epoch. mmengine counts batches, not updates.
iterations = epochs * 118000 // global_batch * accumulate
lr = 1e-4

model = dict(
    backbone=dict(
        arch="large",
        global_blocks=(5, 11, 17, 23),
        drop_path_rate=0.4,
    ),
    neck=dict(in_channels=1024),
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
