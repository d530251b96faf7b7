"""UperNet on a plain ViT, as BEiT and MAE evaluate on ADE20K.

Every block has a relative-position bias over the whole crop and LayerScale initialized at 1. The
outputs of four blocks are rescaled to strides 4 to 32. A recipe adds arch, out_indices, drop_path_rate
and the widths of neck and heads.
"""

model = dict(
    type="mmseg.EncoderDecoder",
    data_preprocessor=dict(
        type="mmseg.SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(
        type="mmmim.ViT",
        img_size=512,  # the position table is resized once, on loading
        patch_size=16,
        final_norm=False,
        learnable_pos_embed=True,
        relative_position="bias",
        relative_position_size=512,
        layer_scale=1.0,
    ),
    neck=dict(type="Feature2Pyramid", rescales=[4, 2, 1, 0.5], norm_cfg=dict(type="SyncBN")),
    decode_head=dict(
        type="UPerHead",
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        norm_cfg=dict(type="SyncBN"),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        norm_cfg=dict(type="SyncBN"),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(),
)
