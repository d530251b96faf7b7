"""COCO, or a subset in its layout, at 256 pixels for a few epochs. A recipe adds the model."""

default_scope = "mmdet"

data_root = "{{$COCO:data/coco}}/"
image_size = (256, 256)

epochs = 4
lr = 1e-3

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="CocoDataset",
        data_root=data_root,
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="RandomResize", scale=image_size, ratio_range=(0.8, 1.25), keep_ratio=True),
            dict(type="RandomCrop", crop_size=image_size, recompute_bbox=True),
            dict(type="FilterAnnotations", min_gt_bbox_wh=(2, 2)),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
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
            dict(type="Resize", scale=image_size, keep_ratio=True),
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

optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay=0.8, norm_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-2, by_epoch=False, end=50),
    dict(type="CosineAnnealingLR", T_max=epochs, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=4)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8)
