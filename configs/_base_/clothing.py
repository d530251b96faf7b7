"""A folder of labelled photos, train/CLASS/*.jpg and val/CLASS/*.jpg, with a schedule of minutes.

A recipe adds the model. `CLOTHING` is the folder; its classes may be any.
"""

default_scope = "mmpretrain"

data_root = "{{$CLOTHING:data/clothing}}/"
image_size = 128

epochs = 50
warmup_epochs = 5
batch = 32
lr = 1e-3

train_dataloader = dict(
    batch_size=batch,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="CustomDataset",
        data_root=data_root,
        data_prefix="train",
        with_label=True,
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(
                type="RandomResizedCrop",
                scale=image_size,
                crop_ratio_range=(0.3, 1.0),
                backend="pillow",
                interpolation="bicubic",
            ),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="PackInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=batch,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CustomDataset",
        data_root=data_root,
        data_prefix="val",
        with_label=True,
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(
                type="ResizeEdge",
                scale=image_size * 8 // 7,
                edge="short",
                backend="pillow",
                interpolation="bicubic",
            ),
            dict(type="CenterCrop", crop_size=image_size),
            dict(type="PackInputs"),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator

optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        layer_decay=0.75, flat_decay_mult=0.0, custom_keys={"cls_token": 0.0, "pos_embed": 0.0}
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        begin=warmup_epochs,
        end=epochs,
        T_max=epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=epochs)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=batch)
