"""UperNet, laptop size: the published structure with 64 channels, one scale coarser.

A recipe adds the backbone's arch and sizes, the crop size, the widths of neck and heads, and
num_classes.
"""

channels = 64

model = dict(
    type="mmseg.EncoderDecoder",
    data_preprocessor=dict(
        type="mmseg.SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="mmmim.ViT",
        final_norm=False,
        learnable_pos_embed=True,
        relative_position="bias",
        layer_scale=1.0,
    ),
    neck=dict(type="Feature2Pyramid", rescales=[2, 1, 0.5, 0.25], norm_cfg=dict(type="BN")),
    decode_head=dict(
        type="UPerHead",
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=channels,
        dropout_ratio=0.1,
        norm_cfg=dict(type="BN"),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_index=2,
        channels=channels,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        norm_cfg=dict(type="BN"),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
