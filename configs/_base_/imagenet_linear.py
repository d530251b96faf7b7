"""ImageNet-1K with MAE's augmentation for linear probing: crop and flip.

facebookresearch/mae main_linprobe.py:132-141 and util/crop.py. A recipe adds the batch size. LARS is
mmpretrain's, which also adapts the rate of the head's bias; MAE's LARS skips 1-D parameters.
"""

default_scope = "mmpretrain"

data_root = "{{$IMAGENET:data/imagenet}}/"

train_dataloader = dict(
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="ImageNet",
        data_root=data_root,
        split="train",
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="ToPIL", to_rgb=True),
            dict(type="MAERandomResizedCrop", size=224, interpolation=3),  # BYOL's crop, bicubic
            dict(type="ToNumpy", to_bgr=True),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="PackInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ImageNet",
        data_root=data_root,
        split="val",
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),
            dict(type="CenterCrop", crop_size=224),
            dict(type="PackInputs"),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1, 5))
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
