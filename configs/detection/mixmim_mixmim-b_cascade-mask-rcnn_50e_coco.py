r"""Cascade Mask R-CNN on COCO with MixMIM-B on an FPN. The recipe is ours: the authors released none.

It is the field's for hierarchical backbones: detectron2's for Swin-B (projects/ViTDet/configs/COCO/
cascade_mask_rcnn_swin_b_in21k_50ep.py). LSJ at 1024 pixels, 50 epochs, batch 64 on 8 GPUs.
The cascade is mmdet's: three mask heads, losses weighted 1, 1/2 and 1/4; detectron2's has one mask head
and equal weights.

Command:   tools/dist_train.sh configs/detection/mixmim_mixmim-b_cascade-mask-rcnn_50e_coco.py 8 \
               --pretrained CHECKPOINT
Published: not published for this recipe
Ours:      not run
"""

_base_ = [
    "../_base_/transfer_runtime.py",
    "../_base_/mask_rcnn_vitdet.py",
    "../_base_/coco_lsj.py",
]

gpus = 8
batch_per_gpu = 8
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 64
iterations = 92187 * accumulate  # 50 epochs of 118,000 images; mmengine counts before accumulation
lr = 4e-5
norm = dict(type="mmmim.LayerNorm2d", eps=1e-6)

model = dict(
    type="mmdet.CascadeRCNN",
    backbone=dict(
        _delete_=True,
        type="mmmim.MixMIMTransformer",
        arch="base",
        img_size=224,  # of pretraining; positions are resized to what comes
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.4,
    ),
    neck=dict(
        _delete_=True,
        type="FPN",
        in_channels=[128, 256, 512, 1024],
        out_channels=256,
        num_outs=5,
        norm_cfg=norm,
    ),
    roi_head=dict(
        type="CascadeRoIHead",
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[
            dict(
                type="Shared4Conv1FCBBoxHead",
                in_channels=256,
                conv_out_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=80,
                reg_class_agnostic=True,
                norm_cfg=norm,
                bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=stds),
                loss_cls=dict(type="CrossEntropyLoss"),
                loss_bbox=dict(type="L1Loss"),
            )
            for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
        ],
    ),
    train_cfg=dict(
        rcnn=[
            dict(
                assigner=dict(
                    type="MaxIoUAssigner",
                    pos_iou_thr=iou,
                    neg_iou_thr=iou,
                    min_pos_iou=iou,
                    match_low_quality=False,
                    ignore_iof_thr=-1,
                ),
                sampler=dict(
                    type="RandomSampler",
                    num=512,
                    pos_fraction=0.25,
                    neg_pos_ub=-1,
                    add_gt_as_proposals=True,
                ),
                mask_size=28,
                pos_weight=-1,
                debug=False,
            )
            for iou in (0.5, 0.6, 0.7)
        ],
    ),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    # detectron2 exempts norms, its Swin recipe relative positions too; no layer decay.
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={"relative_position.table": 0.0}),
    accumulative_counts=accumulate,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=125 * accumulate),
    dict(
        type="MultiStepLR",
        by_epoch=False,
        milestones=[81944 * accumulate, 88773 * accumulate],
        gamma=0.1,
    ),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=5000 * accumulate)
auto_scale_lr = dict(base_batch_size=global_batch)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=5000 * accumulate))
