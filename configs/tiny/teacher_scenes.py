"""A small teacher for MaskAlign: a ViT trained to segment many labelled scenes.

Data:      python tools/make_scenes.py data/teacher_scenes --unlabelled 0 --labelled 4000 --seed 1
Command:   python tools/train.py configs/tiny/teacher_scenes.py  (20 minutes on one core)
           python tools/convert_checkpoint.py work_dirs/tiny/teacher_scenes/iter_2000.pth \\
               my_teacher.pth --to timm  (shipped as mmmim/weights/teacher_scenes.pth)
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = [
    "../_base_/transfer_runtime.py",
    "../_base_/scenes_segmentation.py",
]

data_root = "{{$TEACHER_SCENES:data/teacher_scenes}}/ade/"
iterations = 2000
batch = 32

model = dict(
    type="mmseg.EncoderDecoder",
    data_preprocessor=dict(
        type="mmseg.SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(96, 96),
    ),
    # A plain ViT, as timm has it. Nothing reads a class token, so it has none.
    backbone=dict(
        type="mmmim.ViT",
        arch=dict(embed_dims=128, depth=6, num_heads=4),
        img_size=96,
        patch_size=8,
        with_cls_token=False,
    ),
    decode_head=dict(
        type="FCNHead",
        in_index=0,
        in_channels=128,
        channels=128,
        num_convs=0,
        concat_input=False,
        num_classes=4,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)

train_dataloader = dict(batch_size=batch, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-2, by_epoch=False, end=100),
    dict(type="CosineAnnealingLR", T_max=iterations, by_epoch=False),
]
train_cfg = dict(max_iters=iterations, val_interval=500)
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=500, by_epoch=False, max_keep_ckpts=2)
)
auto_scale_lr = dict(base_batch_size=batch)
