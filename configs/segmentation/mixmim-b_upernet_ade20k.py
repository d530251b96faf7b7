"""UperNet on ADE20K with MixMIM-B. The recipe is ours: the authors released none.

It follows mmsegmentation's recipe for Swin-B (configs/swin/
swin-base-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py). 512 pixel crops, 160,000
iterations, batch 16 on 8 GPUs.

Command:   tools/dist_train.sh configs/segmentation/mixmim-b_upernet_ade20k.py 8 --pretrained CHECKPOINT
Published: from MixMIM (arXiv 2205.13137), 600 epochs: 50.3 mIoU (as others cite it)
Ours:      not run
"""

_base_ = ["../_base_/transfer_runtime.py", "../_base_/upernet_vit.py", "../_base_/ade20k_512.py"]

gpus = 8
batch_per_gpu = 2
accumulate = 1
global_batch = gpus * batch_per_gpu * accumulate  # 16
iterations = 160000 * accumulate  # mmengine counts batches, not updates
lr = 6e-5

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmmim.MixMIMTransformer",
        arch="base",
        img_size=224,  # as in pretraining; positions are resized to the input
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.3,
    ),
    neck=None,  # the backbone gives four scales
    decode_head=dict(in_channels=[128, 256, 512, 1024], channels=512, num_classes=150),
    auxiliary_head=dict(in_channels=512, num_classes=150),
    test_cfg=dict(mode="whole"),
)

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(
    type="mmmim.AmpOptimWrapper",
    constructor="mmmim.LayerDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.01),
    # As in Swin's recipe: no weight decay on norms and relative positions, no layer decay.
    paramwise_cfg=dict(custom_keys={"relative_position.table": 0.0, "norm": 0.0}),
    accumulative_counts=accumulate,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, end=1500 * accumulate),
    dict(
        type="PolyLR",
        power=1.0,
        eta_min=0.0,
        by_epoch=False,
        begin=1500 * accumulate,
        end=iterations,
    ),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=16000 * accumulate)
auto_scale_lr = dict(base_batch_size=global_batch)
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=16000 * accumulate)
)
