"""Mask R-CNN, laptop size: ViTDet's structure with 64 channels and few proposals.

A recipe adds the backbone's arch and sizes, the neck's in_channels and stride, and the heads'
num_classes.
"""

norm = dict(type="mmmim.LayerNorm2d", eps=1e-6)
channels = 64

model = dict(
    type="mmdet.MaskRCNN",
    data_preprocessor=dict(
        type="mmdet.DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type="mmmim.ViT",
        with_cls_token=False,
        final_norm=False,
        learnable_pos_embed=True,
        relative_position="decomposed",
    ),
    neck=dict(
        type="mmmim.SimpleFeaturePyramid",
        out_channels=channels,
        scales=(2, 1, 0.5),
        num_outs=4,
    ),
    rpn_head=dict(
        type="mmmim.FP32RPNHead",
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(
            type="AnchorGenerator", scales=[4], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32]
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True),
        loss_bbox=dict(type="L1Loss"),
    ),
    roi_head=dict(
        type="StandardRoIHead",
        bbox_roi_extractor=dict(
            type="mmmim.FP32RoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=1),
            out_channels=channels,
            featmap_strides=[4, 8, 16],
            finest_scale=14,
        ),
        bbox_head=dict(
            type="Shared2FCBBoxHead",
            in_channels=channels,
            fc_out_channels=256,
            roi_feat_size=7,
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_cls=dict(type="CrossEntropyLoss"),
            loss_bbox=dict(type="L1Loss"),
        ),
        mask_roi_extractor=dict(
            type="mmmim.FP32RoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=1),
            out_channels=channels,
            featmap_strides=[4, 8, 16],
            finest_scale=14,
        ),
        mask_head=dict(
            type="FCNMaskHead",
            num_convs=1,
            in_channels=channels,
            conv_out_channels=channels,
            norm_cfg=norm,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.3,
                match_low_quality=True,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type="RandomSampler",
                num=64,
                pos_fraction=0.5,
                neg_pos_ub=-1,
                add_gt_as_proposals=False,
            ),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        rpn_proposal=dict(
            nms_pre=200,
            max_per_img=64,
            nms=dict(type="nms", iou_threshold=0.7),
            min_bbox_size=0,
        ),
        rcnn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=True,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type="RandomSampler",
                num=32,
                pos_fraction=0.25,
                neg_pos_ub=-1,
                add_gt_as_proposals=True,
            ),
            mask_size=28,
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        rpn=dict(
            nms_pre=200,
            max_per_img=64,
            nms=dict(type="nms", iou_threshold=0.7),
            min_bbox_size=0,
        ),
        rcnn=dict(
            score_thr=0.05,
            nms=dict(type="nms", iou_threshold=0.5),
            max_per_img=20,
            mask_thr_binary=0.5,
        ),
    ),
)
