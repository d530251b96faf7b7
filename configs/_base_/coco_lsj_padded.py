"""COCO 2017 with large-scale jitter at 1024 pixels, as in MIMDet and ConvMAE's FPN recipe.

Images are padded with grey to a square, before the flip and in testing too (Alpha-VL/ConvMAE
DET/configs/convmae/convmae_base_mask_rcnn_FPN_100ep.py; the grey, 128, is that of detectron2's
FixedSizeCrop). A recipe adds the batch size.
"""

default_scope = "mmdet"

data_root = "{{$COCO:data/coco}}/"
grey = dict(size=(1024, 1024), pad_val=dict(img=(128, 128, 128), masks=0))

train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="CocoDataset",
        data_root=data_root,
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(
                type="RandomResize",
                scale=(1024, 1024),
                ratio_range=(0.1, 2.0),
                keep_ratio=True,
                backend="pillow",  # as detectron2: antialiased
            ),
            dict(
                type="RandomCrop",
                crop_type="absolute_range",
                crop_size=(1024, 1024),
                recompute_bbox=True,
                allow_negative_crop=True,
            ),
            dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2)),
            dict(type="Pad", **grey),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDataset",
        data_root=data_root,
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        test_mode=True,
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="Resize", scale=(1024, 1024), keep_ratio=True, backend="pillow"),
            dict(type="mmmim.PadBorder", **grey),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(
                type="PackDetInputs",
                meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
            ),
        ],
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type="CocoMetric",
    ann_file=data_root + "annotations/instances_val2017.json",
    metric=["bbox", "segm"],
)
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()

log_processor = dict(by_epoch=False)
