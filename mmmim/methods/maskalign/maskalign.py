"""MaskAlign: masked image modeling without reconstruction (arXiv 2211.08887)."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmim.backbones.base import MixedEncoder, VisibleEncoder
from mmmim.masking import PatchMask
from mmmim.methods.base import Method
from mmmim.methods.maskalign.alignment import DynamicAlignment
from mmmim.methods.maskalign.student import MixedStudent, VisibleStudent
from mmmim.methods.maskalign.teacher import Teacher, TeacherStates
from mmmim.registry import MODELS
from mmmim.visualization import Panel, heat_map, mask_patches, to_unit_range


def twice_smooth_l1(student: Tensor, target: Tensor) -> Tensor:
    """models_pretrain.py:354-359 doubles smooth L1."""
    return 2 * F.smooth_l1_loss(student, target)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "l2": F.mse_loss,
    "smooth_l1": twice_smooth_l1,
}


@MODELS.register_module()
class MaskAlign(Method):
    """Align the hidden states of a student that sees few patches with those of a frozen teacher.

    The class token of a ViT is aligned with the teacher's, if the teacher has one. Hierarchical
    students (not in the paper) are aligned at stride 16, that is, at stage 3: a `ConvViT` on visible
    patches; a `MixMIMTransformer` (`out_indices=(2,)`) on mixed images, where each token learns from
    its own image and one mask serves the whole batch.

    Args:
        backbone: config of the student; a ViT with `final_norm=False`.
        teacher: name, checkpoint and other arguments of `Teacher`.
        alignment: `fusion` and `head` of `DynamicAlignment`; default "linear" and "linear".
        masking: "attentive" (patches with high teacher attention are kept with higher probability) or
            "random".
        mask_ratio: share of masked patches.
        layer_weights: loss weight of each teacher layer; see `Teacher`.
        target_norm: "none", "l2", "whiten" or "bn"; see `Teacher`.
        loss: "l1", "l2" or "smooth_l1".
        data_preprocessor: config of mmengine's `ImgDataPreprocessor`. Without one, images are assumed
            to be normalized with ImageNet's statistics.
        init_cfg: mmengine's.

    Raises:
        ValueError: an unknown option; different patch grids of student and teacher; a student with
            parameters that the loss does not read.
    """

    backbone: Any  # a VisibleEncoder or a MixedEncoder, as `student` expects

    def __init__(
        self,
        backbone: dict[str, Any],
        teacher: dict[str, Any],
        alignment: dict[str, Any] | None = None,
        masking: str = "attentive",
        mask_ratio: float = 0.7,
        layer_weights: str = "top5",
        target_norm: str = "whiten",
        loss: str = "smooth_l1",
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got '{loss}'")
        if masking not in ("attentive", "random"):
            raise ValueError(f"masking must be 'attentive' or 'random', got '{masking}'")
        self.compare, self.mask_ratio = LOSSES[loss], mask_ratio
        self.attentive = masking == "attentive"
        self.backbone = MODELS.build(backbone)
        self.student = self._build_student(self.backbone)
        images_mean, images_std = self.image_statistics()
        self.teacher = Teacher(
            **teacher,
            layer_weights=layer_weights,
            norm=target_norm,
            attentive=self.attentive,
            images_mean=images_mean,
            images_std=images_std,
        )
        self._check_grids()
        self.alignment = DynamicAlignment(
            self.student.embed_dims,
            self.student.depth,
            self.teacher.embed_dims,
            self.teacher.depth,
            tuple(self.teacher.layer_weights),
            **(alignment or {}),
        )

    def init_weights(self) -> None:
        """Initialize as mmengine does, then load the teacher from its file.

        Raises:
            FileNotFoundError, ValueError: see `Teacher.load`.
        """
        super().init_weights()
        self.teacher.load()

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> the distance between student and teacher, and their similarity.

        `loss` is the weighted mean over layers; `similarity_layerN` is the mean cosine similarity of
        each layer (models_pretrain.py:329-360, which lacks the latter).
        """
        teacher = self._run_teacher(images)
        mask = self._draw_mask(images, teacher)
        losses = dict(loss=torch.zeros((), device=images.device))
        weights = self.teacher.layer_weights.items()
        for (layer, weight), student, target in zip(
            weights, *self.align(images, teacher, mask), strict=True
        ):
            losses["loss"] = losses["loss"] + weight * self.compare(student, target)
            with torch.no_grad():
                similarity = F.cosine_similarity(student, target, dim=-1).mean()
            losses[f"similarity_layer{layer}"] = similarity
        return losses

    def draw_mask(self, images: Tensor) -> PatchMask:
        """(B, 3, H, W) -> the masks of a step; attentive masking runs the teacher."""
        return self._draw_mask(images, self._run_teacher(images) if self.attentive else None)

    def encode(self, images: Tensor, mask: PatchMask) -> Tensor:
        """(B, 3, H, W) -> the student's tokens after its last aligned block."""
        return self.student.encode_layers(self.backbone, images, mask)[-1]

    def align(
        self, images: Tensor, teacher: TeacherStates, mask: PatchMask
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens (B, N, D) of student and teacher for each teacher layer in the loss, in float32."""
        layers = self.student.encode_layers(self.backbone, images, mask)
        targets = self.student.targets(teacher, mask)
        if teacher.with_cls_token and not self.student.with_cls_token:
            targets = [target[:, 1:] for target in targets]
        if self.student.with_cls_token and not teacher.with_cls_token:
            layers = [layer[:, 1:] for layer in layers]
        return [tokens.float() for tokens in self.alignment(layers)], targets

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> what there is to look at, each (B, L).

        `mask`; `importance`, the teacher's attention, with attentive masking; `similarity`, the cosine
        similarity of student and teacher per patch, mean over layers, if the student sees all patches.
        """
        teacher = self._run_teacher(images)
        mask = self._draw_mask(images, teacher)
        pairs = zip(*self.align(images, teacher, self.student.all_visible(images)), strict=True)
        similarity = torch.stack([F.cosine_similarity(*pair, dim=-1) for pair in pairs]).mean(dim=0)
        length = self.student.grid_size[0] * self.student.grid_size[1]
        output = dict(
            mask=mask.mask.expand(len(images), -1),
            similarity=similarity[:, -length:],
        )
        if self.attentive:
            output["importance"] = teacher.importance()
        return output

    def panels(self, images: Tensor) -> list[Panel]:
        """uint8 (B, 3, H, W) -> original, teacher attention, kept patches, similarity.

        Attention goes from dark, none, to bright, the image's highest; similarity from dark, 0, to
        bright, 1.
        """
        output = self.predict(self.normalize(images))
        original = to_unit_range(images)
        panels = [Panel("original", original)]
        if "importance" in output:
            importance = output["importance"]
            relative = importance / importance.amax(dim=1, keepdim=True)
            panels.append(Panel("teacher attention", heat_map(relative, original)))
        panels.append(Panel("kept patches", mask_patches(original, output["mask"])))
        similarity = heat_map(output["similarity"], original)
        return [*panels, Panel("similarity to the teacher", similarity)]

    def timed_parts(self, images: Tensor) -> dict[str, Callable[[], object]]:
        """The teacher's share of a step."""

        @torch.no_grad()
        def run_teacher() -> None:
            teacher = self._run_teacher(images)
            self.student.targets(teacher, self._draw_mask(images, teacher))

        return {"teacher": run_teacher}

    def _draw_mask(self, images: Tensor, teacher: TeacherStates | None) -> PatchMask:
        importance = teacher.importance() if self.attentive and teacher else None
        return self.student.draw_mask(images, self.mask_ratio, importance)

    def _run_teacher(self, images: Tensor) -> TeacherStates:
        """Run the teacher on (B, 3, H, W) normalized images.

        Raises:
            ValueError: the images have other patches than the teacher.
        """
        side = self.backbone.img_size
        if images.shape[2:] != (side, side):
            raise ValueError(
                f"student and teacher must see the same patches, so images must have {side}x{side} "
                f"pixels, got {images.shape[2]}x{images.shape[3]}: crop the images to that, or set "
                "the backbone's img_size, and the teacher's to match"
            )
        return self.teacher(images)

    def _build_student(self, backbone: Any) -> VisibleStudent | MixedStudent:
        if isinstance(backbone, MixedEncoder):
            if self.attentive:
                raise ValueError(
                    "mixed images share one mask, which cannot follow the attention of a single image: "
                    "a MixMIMTransformer needs masking='random'"
                )
            return MixedStudent(backbone)
        if isinstance(getattr(backbone, "norm", None), nn.LayerNorm):
            raise ValueError(
                "hidden states are aligned before the final norm, which would not be trained: set the "
                "backbone's final_norm=False"
            )
        if not isinstance(backbone, VisibleEncoder):
            raise ValueError(
                f"MaskAlign needs a ViT, ConvViT or MixMIMTransformer, got {type(backbone).__name__}"
            )
        return VisibleStudent(backbone)

    def _check_grids(self) -> None:
        ours, theirs = self.student.grid_size, self.teacher.grid_size
        if ours != theirs:
            patch = self.teacher.img_size[0] // theirs[0]
            raise ValueError(
                f"student and teacher must have the same patches, got {ours[0]}x{ours[1]} in the "
                f"student and {theirs[0]}x{theirs[1]} in the teacher: set teacher.img_size to "
                f"{ours[0] * patch}, which resizes the teacher's input and positions"
            )
