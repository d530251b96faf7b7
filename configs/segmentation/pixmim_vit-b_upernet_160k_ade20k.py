"""Deprecated name: use `tools/dist_train.sh configs/segmentation/vit-b_upernet_ade20k.py 8`."""

_base_ = "vit-b_upernet_ade20k.py"
