"""Pretraining on a folder of photos: data and a schedule of minutes.

A recipe adds the model. `IMAGES` is the folder.
"""

epochs = 20
warmup_epochs = 2
global_batch = 64
base_lr = 4e-3  # at batch 256; high, since there are few steps
lr = base_lr * global_batch / 256

image_size = 128

train_dataloader = dict(
    batch_size=global_batch,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="UnlabelledImages",
        data_root="{{$IMAGES:data/images}}/",
        pipeline=[
            dict(type="RandomResizedCrop", size=image_size, scale=(0.2, 1.0)),
            dict(type="torchvision/RandomHorizontalFlip"),
        ],
    ),
)

optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.95), weight_decay=0.05),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        begin=warmup_epochs,
        end=epochs,
        T_max=epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=epochs)
auto_scale_lr = dict(base_batch_size=global_batch)
