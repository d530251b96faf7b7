"""CamVid in ADE20K's layout (11 classes, 0 is unlabelled), with a schedule of minutes.

A recipe adds the model.
"""

default_scope = "mmseg"

data_root = "{{$CAMVID:data/camvid}}/"
classes = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence"]
classes += ["car", "pedestrian", "bicyclist"]
metainfo = dict(classes=classes, palette=[[23 * i, 255 - 23 * i, 128] for i in range(11)])

iterations = 400
lr = 1e-3

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BaseSegDataset",
        data_root=data_root,
        metainfo=metainfo,
        img_suffix=".jpg",
        seg_map_suffix=".png",
        reduce_zero_label=True,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="mmmim.LoadLabelMap"),
            dict(
                type="RandomResize",
                scale=(320, 240),
                ratio_range=(0.75, 1.5),
                keep_ratio=True,
            ),
            dict(type="RandomCrop", crop_size=(192, 192), cat_max_ratio=0.75),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackSegInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BaseSegDataset",
        data_root=data_root,
        metainfo=metainfo,
        img_suffix=".jpg",
        seg_map_suffix=".png",
        reduce_zero_label=True,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="Resize", scale=(320, 240), keep_ratio=True),
            dict(type="mmmim.LoadLabelMap"),
            dict(type="PackSegInputs"),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator

optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay=0.8, flat_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-2, by_epoch=False, end=50),
    dict(type="CosineAnnealingLR", T_max=iterations, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=200)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8)
log_processor = dict(by_epoch=False)
