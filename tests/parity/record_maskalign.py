"""Record loss and gradients of the official MaskAlign, and outputs of transformers' models.

    python -m tests.parity.record_maskalign MASKALIGN_REPOSITORY

MASKALIGN_REPOSITORY: OpenDriveLab/maskalign at 250d018. Needs transformers 4.57. The teachers' weights
are random, drawn by name. Losses are recorded with a base student, and with a narrow one for the
options. The outputs of the teachers are recorded narrow, at their full depth and patch size.
"""

import sys
from pathlib import Path

import torch
import transformers as hf

from mmmim.benchmark import peers
from tests.parity.common import SEED, gradient_summary, images, save, set_weights, tensor_summary

SOURCE = dict(
    made_by="tests/parity/record_maskalign.py",
    source=f"OpenDriveLab/maskalign 250d018, transformers {hf.__version__}",
)
NARROW = dict(embed_dim=64, num_heads=4)
# fusion, head, target norm, loss, layer weights
STEPS = {
    "linear": dict(),
    "sum": dict(fusion_type="sum", loss_type="l2"),
    "simple": dict(
        NARROW, fusion_type="simple", head_type="mlp", target_norm="l2", loss_type="l1",
        loss_weights="mean",
    ),
    "batch_norm": dict(NARROW, head_type="norm_linear", target_norm="bn", loss_weights="linear_decay"),
    "middle": dict(
        NARROW, fusion_type="sum", head_type="mlp2", target_norm="none", loss_type="l2",
        loss_weights="mid3",
    ),
    "random": dict(NARROW, mask_type="random", loss_weights="out", loss_type="l2"),
}  # fmt: skip


def record_steps(folder: Path) -> None:
    steps = {}
    for name, options in STEPS.items():
        model = peers.maskalign(folder, **options)
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        teacher = {n: p for n, p in model.named_parameters() if n.startswith("clip_model")}
        set_weights({**trained, **teacher})
        torch.manual_seed(SEED)
        (loss,) = model(images(2, 224))
        loss.backward()
        steps[name] = dict(loss=loss.item(), gradients=gradient_summary(trained))
    shapes = {n: list(p.shape) for n, p in teacher.items()}
    save("maskalign_steps", dict(**SOURCE, shapes_of_the_teacher=shapes, steps=steps))


def teachers() -> dict[str, tuple[hf.PreTrainedModel, int, tuple, tuple]]:
    """Name -> (model, image side, mean and standard deviation of its input)."""
    narrow = dict(hidden_size=64, num_attention_heads=4, attn_implementation="eager")
    base = dict(narrow, intermediate_size=256, num_hidden_layers=12)
    large = dict(narrow, intermediate_size=256, num_hidden_layers=24)
    clip = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    imagenet, half = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,) * 3, (0.5,) * 3)
    dinov2 = dict(narrow, num_hidden_layers=12, patch_size=14, image_size=518)
    return {
        "clip-b16": (hf.CLIPVisionModel(hf.CLIPVisionConfig(**base, patch_size=16)), 224, *clip),
        "clip-l14": (hf.CLIPVisionModel(hf.CLIPVisionConfig(**large, patch_size=14)), 196, *clip),
        "dino-b16": (hf.ViTModel(hf.ViTConfig(**base, layer_norm_eps=1e-12)), 224, *imagenet),
        "dinov2-b14": (hf.Dinov2Model(hf.Dinov2Config(**dinov2)), 196, *imagenet),
        "dinov2-reg": (
            hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**dinov2)), 196, *imagenet,
        ),
        "dinov3-b16": (
            hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**base, num_register_tokens=4)), 224, *imagenet,
        ),
        "siglip-b16": (hf.SiglipVisionModel(hf.SiglipVisionConfig(**base, patch_size=16)), 224, *half),
    }  # fmt: skip


@torch.no_grad()
def record_teachers() -> None:
    recorded = {}
    for name, (model, side, mean, std) in teachers().items():
        weights = dict(model.eval().named_parameters())
        set_weights(weights)
        shapes = {n: list(p.shape) for n, p in weights.items()}
        # As the official code computes CLIP's input (models_pretrain.py:274-288), for all teachers.
        batch = images(2, 224)
        if side != 224:
            batch = torch.nn.functional.interpolate(batch, (side, side), mode="bicubic")
        imagenet_mean, imagenet_std, mean, std = (
            torch.tensor(v).view(1, 3, 1, 1)
            for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), mean, std)
        )
        pixels = (batch * imagenet_std + imagenet_mean - mean) / std
        options = {} if "dinov3" in name else dict(interpolate_pos_encoding=side != 224)
        if name == "clip-l14":
            options = {}
            _resize_like_official(model)
        if name.startswith("dinov2"):
            options = {}  # always interpolates
        output = model(pixels, output_hidden_states=True, output_attentions=True, **options)
        prefix = output.attentions[-1].shape[-1] - (side // model.config.patch_size) ** 2
        importance = output.attentions[-1][:, :, 0, prefix:].mean(1)
        states = (
            [output.hidden_states[i][:, :1] for i in (6, -1)],
            [output.hidden_states[i][:, prefix:] for i in (6, -1)],
        )
        recorded[name] = dict(
            shapes=shapes,
            importance=None if name == "siglip-b16" else tensor_summary("importance", importance),
            class_tokens=None if prefix == 0 else [tensor_summary("class", s) for s in states[0]],
            patches=[tensor_summary("patches", s) for s in states[1]],
        )
    save("teachers", dict(**SOURCE, teachers=recorded))


def _resize_like_official(model: hf.CLIPVisionModel) -> None:
    """Resize the positions as models_pretrain.py:24-30, 114-117."""
    embeddings = model.vision_model.embeddings
    table = embeddings.position_embedding.weight.data
    image = table[1:].reshape(1, 16, 16, -1).permute(0, 3, 1, 2)
    image = torch.nn.functional.interpolate(image, (14, 14), mode="bicubic", align_corners=False)
    table = torch.cat([table[:1], image.permute(0, 2, 3, 1).reshape(196, -1)])
    embeddings.position_embedding = torch.nn.Embedding.from_pretrained(table)
    embeddings.position_ids = torch.arange(197).expand((1, -1))
    embeddings.image_size = 196  # today's transformers checks it


def main() -> None:
    record_steps(Path(sys.argv[1]))
    record_teachers()


if __name__ == "__main__":
    main()
