"""PixMIM on a folder of photos (pixmim_vit_photos.py), with two quick evaluations during pretraining.

Every 20 epochs: nearest neighbors on a folder of classes, and a linear map from frozen features to the
classes of CamVid.

Command:   IMAGES=/path/to/photos CLOTHING=/path/to/classes CAMVID=/path/to/camvid \\
               python tools/train.py configs/tiny/pixmim_vit_photos_signals.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = "pixmim_vit_photos.py"

epochs = 100
warmup_epochs = 10

custom_hooks = [
    dict(type="IterSeedHook"),
    dict(type="DeferredLossHook"),
    dict(type="BadStepHook"),
    dict(type="BrokenImagesHook"),
    dict(type="PredictionHook", interval=20),
    dict(
        type="KNNEvalHook",
        data_root="{{$CLOTHING:data/clothing}}/",
        interval=20,
        image_size=128,
    ),
    dict(
        type="SegmentationProbeHook",
        data_root="{{$CAMVID:data/camvid}}/",
        num_classes=11,
        interval=20,
        image_size=128,
    ),
]
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=10, max_keep_ckpts=-1))
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
train_cfg = dict(max_epochs=epochs)
