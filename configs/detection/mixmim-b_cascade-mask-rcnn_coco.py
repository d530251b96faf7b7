r"""Cascade Mask R-CNN on COCO with MixMIM-B and an FPN. The recipe is ours: the authors released none.

It follows detectron2's recipe for Swin-B (projects/ViTDet/configs/COCO/
cascade_mask_rcnn_swin_b_in21k_50ep.py). LSJ at 1024 pixels, 50 epochs, batch 64 on 8 GPUs. The cascade
is mmdet's: three mask heads, loss weights 1, 1/2 and 1/4. detectron2 has one mask head and equal
weights.

Command:   tools/dist_train.sh configs/detection/mixmim-b_cascade-mask-rcnn_coco.py 8 \
               --pretrained CHECKPOINT
Published: none for this recipe
Ours:      not run
"""

_base_ = "mixmim-b_mask-rcnn_coco.py"

norm = dict(type="mmmim.LayerNorm2d", eps=1e-6)

model = dict(
    type="mmdet.CascadeRCNN",
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
