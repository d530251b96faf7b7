"""Fine-tuning on ImageNet-1K from MixMIM (arXiv 2205.13137), MixMIM-B, 384 pixels, 100 epochs, 8 GPUs.

The window sizes are 16, 16, 24 and 12 (Sense-X/MixMIM models_mixmim_ft.py:306-318). The authors did
not release the recipe; this is the recipe of 224 pixels. Position and bias tables are resized on
loading.

Command:   tools/dist_train.sh configs/classification/mixmim-b-384_in1k.py 8 --pretrained CHECKPOINT
Published: top-1 86.3 (from 600 epochs)
Ours:      not run
"""

_base_ = "mixmim-b_in1k.py"

batch_per_gpu = 64
accumulate = 2  # the batch stays 1024

model = dict(backbone=dict(img_size=384, window_sizes=(16, 16, 24, 12)))

train_dataloader = dict(
    batch_size=batch_per_gpu,
    dataset=dict(
        pipeline=[
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="RandomResizedCrop", scale=384, backend="pillow", interpolation="bicubic"),
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
    dataset=dict(
        pipeline=[  # no margin is cropped above 224 pixels (util/datasets.py:52-59)
            dict(type="mmmim.LoadLabelledImage"),
            dict(type="ResizeEdge", scale=384, edge="short", backend="pillow", interpolation="bicubic"),
            dict(type="CenterCrop", crop_size=384),
            dict(type="PackInputs"),
        ],
    ),
)
test_dataloader = val_dataloader
optim_wrapper = dict(accumulative_counts=accumulate)
