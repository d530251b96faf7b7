"""ADE20K in 512 pixel crops (mmsegmentation's configs/_base_/datasets/ade20k.py).

A recipe adds the batch size.
"""

default_scope = "mmseg"

data_root = "{{$ADE20K:data/ade/ADEChallengeData2016}}/"

train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="mmmim.LoadLabelMap"),
            dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PhotoMetricDistortion"),
            dict(type="PackSegInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="Resize", scale=(2048, 512), keep_ratio=True),
            dict(type="mmmim.LoadLabelMap"),
            dict(type="PackSegInputs"),
        ],
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()

log_processor = dict(by_epoch=False)
