"""ImageNet-1K with MAE's augmentation for fine-tuning: RandAugment, random erasing, mixup and cutmix.

facebookresearch/mae main_finetune.py:76-118, with mmpretrain's transforms. A recipe adds the
batch size.
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
            dict(type="RandomResizedCrop", scale=224, backend="pillow", interpolation="bicubic"),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(
                type="RandAugment",  # rand-m9-mstd0.5-inc1
                policies="timm_increasing",
                num_policies=2,
                total_level=10,
                magnitude_level=9,
                magnitude_std=0.5,
                hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic"),  # BGR
            ),
            dict(
                type="RandomErasing",
                erase_prob=0.25,
                mode="rand",
                min_area_ratio=0.02,
                max_area_ratio=1 / 3,
                fill_color=[103.53, 116.28, 123.675],
                fill_std=[57.375, 57.12, 58.395],
            ),
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
