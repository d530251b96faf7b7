"""Published teachers by name: `--teacher NAME`."""

import os
from typing import Any

from mmmim.backbones.vit import SIZES

# Name -> arguments of `Teacher` and the depth of the model. CLIP and DINO are the paper's teachers,
# DINOv2 is ours. Teachers of 14-pixel patches run at 196 pixels, which gives 14 x 14 patches.
TEACHERS: dict[str, tuple[dict[str, Any], int]] = {
    "clip-b": (
        dict(
            name="vit_base_patch16_clip_quickgelu_224.openai",
            checkpoint="checkpoints/clip-vit-base-patch16.pth",
        ),
        12,
    ),
    "clip-l": (
        dict(
            name="vit_large_patch14_clip_quickgelu_224.openai",
            checkpoint="checkpoints/clip-vit-large-patch14.pth",
            img_size=196,
        ),
        24,
    ),
    "dino-b": (
        dict(name="vit_base_patch16_224.dino", checkpoint="checkpoints/dino-vitb16.pth"),
        12,
    ),
    "dinov2-b": (
        dict(
            name="vit_base_patch14_dinov2.lvd142m",
            checkpoint="checkpoints/dinov2-base.pth",
            img_size=196,
        ),
        12,
    ),
}


def set_teacher(model: dict[str, Any], name: str) -> None:
    """Let the config of a `MaskAlign` learn from a published teacher.

    The environment variable TEACHER overrides the path of the checkpoint. A ViT as deep as its teacher
    is fused "linear", another one "sum": the official "linear" requires equal depths
    (models_pretrain.py:302-311).

    Args:
        model: config of the method; changed in place.
        name: a key of TEACHERS.

    Raises:
        ValueError: the method has no teacher, or the name is unknown.
    """
    if "teacher" not in model:
        raise ValueError(f"--teacher is for MaskAlign; {model['type']} has no teacher")
    if name not in TEACHERS:
        raise ValueError(f"--teacher must be one of {', '.join(TEACHERS)}, got '{name}'")
    teacher, depth = TEACHERS[name]
    checkpoint = os.environ.get("TEACHER", teacher["checkpoint"])
    model["teacher"] = {**teacher, "checkpoint": checkpoint}
    arch = model["backbone"].get("arch", "base")
    if model["backbone"]["type"].rpartition(".")[2] == "ViT":
        student_depth = (SIZES[arch] if isinstance(arch, str) else arch)["depth"]
        model.setdefault("alignment", {})["fusion"] = "linear" if student_depth == depth else "sum"
