"""Deprecated name: use `tools/dist_train.sh configs/pixmim/vit-b.py 8 --epochs 300`."""

_base_ = "vit-b.py"

epochs = 300
train_cfg = dict(max_epochs=epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=epochs, T_max=epochs - _base_.warmup_epochs),
]
