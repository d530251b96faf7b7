"""MaskAlign (arXiv 2211.08887) on a folder of photos, laptop size.

Teacher:   python tools/convert_checkpoint.py \\
               work_dirs/tiny/pixmim_vit_photos/epoch_20.pth checkpoints/teacher_photos.pth --to timm
           (or a released one: see configs/maskalign)
Command:   IMAGES=/path/to/photos python tools/train.py configs/tiny/maskalign_vit_photos.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = ["../_base_/pretrain_runtime.py", "../_base_/photos_pretraining.py"]

model = dict(
    type="MaskAlign",
    data_preprocessor=dict(
        type="ImgDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        non_blocking=True,
    ),
    backbone=dict(
        type="ViT",
        arch=dict(embed_dims=192, depth=6, num_heads=6),
        img_size=128,
        patch_size=16,
        final_norm=False,
    ),
    teacher=dict(
        # The ViT of configs/tiny/pixmim_vit_photos.py under timm's name.
        name="vit_tiny_patch16_224",
        model_args=dict(img_size=128, embed_dim=192, depth=6, num_heads=6),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        checkpoint="{{$TEACHER:checkpoints/teacher_photos.pth}}",
    ),
    mask_ratio=0.7,
)

optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"alignment.weights": 0.0}))
default_hooks = dict(
    teacher=dict(type="TeacherHook"), alignment=dict(type="AlignmentHook", interval=20)
)
