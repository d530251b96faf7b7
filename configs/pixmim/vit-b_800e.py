"""Deprecated name: use `tools/dist_train.sh configs/pixmim/vit-b.py 8`."""

_base_ = "vit-b.py"
