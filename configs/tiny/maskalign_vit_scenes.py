"""MaskAlign (arXiv 2211.08887) on the embedded scenes, laptop size.

Teacher:   shipped; trained with configs/tiny/teacher_scenes.py
Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/maskalign_vit_scenes.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = ["../_base_/pretrain_runtime.py", "../_base_/scenes_pretraining.py"]

epochs = 40
warmup_epochs = 2

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
        arch=dict(embed_dims=128, depth=6, num_heads=4),
        img_size=96,
        patch_size=8,
        final_norm=False,
    ),
    teacher=dict(
        # The ViT of configs/tiny/teacher_scenes.py under timm's name.
        name="vit_tiny_patch16_224",
        model_args=dict(
            img_size=96,
            patch_size=8,
            embed_dim=128,
            depth=6,
            num_heads=4,
            class_token=False,
            global_pool="avg",
        ),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        checkpoint="{{$TEACHER:mmmim/weights/teacher_scenes.pth}}",
    ),
    mask_ratio=0.7,
)

optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"alignment.weights": 0.0}))
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
default_hooks = dict(
    teacher=dict(type="TeacherHook"), alignment=dict(type="AlignmentHook", interval=20)
)
