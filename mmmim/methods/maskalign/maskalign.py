"""MaskAlign: masked image modelling without reconstruction (arXiv 2211.08887)."""

import torch
import torch.nn.functional as F
from mmengine.model import ImgDataPreprocessor
from torch import Tensor, nn

from mmmim.decoders import DynamicAlignment
from mmmim.methods.base import Method
from mmmim.methods.students import MixedStudent, Mixture, Shown, VisibleStudent
from mmmim.registry import MODELS
from mmmim.targets import Teacher, TeacherStates


# models_pretrain.py:354-359, which counts smooth L1 twice.
def twice_smooth_l1(student: Tensor, target: Tensor) -> Tensor:
    return 2 * F.smooth_l1_loss(student, target)


LOSSES = {"l1": F.l1_loss, "l2": F.mse_loss, "smooth_l1": twice_smooth_l1}


@MODELS.register_module()
class MaskAlign(Method):
    """A student sees a few patches, a frozen teacher all of them: their hidden states are aligned.

    A ViT's class token is aligned with the teacher's, where it has one. A hierarchical student, which
    the paper has not, is aligned by its tokens at stride 16: of a `ConvViT`, the third stage's; of a
    `MixMIMTransformer` (`out_indices=(2,)`), the third stage's on mixed images, where each token learns
    from the image that it is of, and one mask serves the batch.

    Args:
        backbone: config of the student; a ViT with `final_norm=False`.
        teacher: name, checkpoint, and what else a `Teacher` is told of its model and its input.
        alignment: `fusion` and `head` of the `DynamicAlignment`; "linear" and "linear" where left out.
        masking: "attentive" (what the teacher attends to is likelier kept) or "random".
        mask_ratio: share of hidden patches.
        layer_weights: what each of the teacher's layers counts; see `Teacher`.
        target_norm: "none", "l2", "whiten" or "bn"; see `Teacher`.
        loss: "l1", "l2" or "smooth_l1".
        data_preprocessor: config of mmengine's `ImgDataPreprocessor`; without one, images are taken to
            come normalised by ImageNet's statistics.

    Raises:
        ValueError: an option outside the above; patch grids of student and teacher that differ; a
            student with parameters that the loss does not read.
    """

    def __init__(
        self,
        backbone: dict,
        teacher: dict,
        alignment: dict | None = None,
        masking: str = "attentive",
        mask_ratio: float = 0.7,
        layer_weights: str = "top5",
        target_norm: str = "whiten",
        loss: str = "smooth_l1",
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got '{loss}'")
        if masking not in ("attentive", "random"):
            raise ValueError(f"masking must be 'attentive' or 'random', got '{masking}'")
        self.compare, self.mask_ratio = LOSSES[loss], mask_ratio
        self.attentive = masking == "attentive"
        self.backbone = MODELS.build(backbone)
        self.student = self._look_through(self.backbone)
        self.teacher = Teacher(
            **teacher,
            layer_weights=layer_weights,
            norm=target_norm,
            attentive=self.attentive,
            **self._normalisation(),
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
        """mmengine's, and the teacher's from its file, which nothing here initialises.

        Raises:
            FileNotFoundError, ValueError: see `Teacher.load`.
        """
        super().init_weights()
        self.teacher.load()

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> the distance of student and teacher, and how similar they are.

        `loss` is the weighted mean over layers; `similarity_layerN` the mean cosine similarity of each
        (models_pretrain.py:329-360 without it).
        """
        teacher = self._teach(images)
        importance = teacher.importance() if self.attentive else None
        mask = self.student.draw_mask(images, self.mask_ratio, importance)
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

    def align(
        self, images: Tensor, teacher: TeacherStates, mask: Shown | Mixture
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Student's and teacher's tokens (B, N, D) of each layer that counts, in float32."""
        states = self.student.states(self.backbone, images, mask)
        targets = self.student.targets(teacher, mask)
        if teacher.with_cls_token and not self.student.with_cls_token:
            targets = [target[:, 1:] for target in targets]
        if self.student.with_cls_token and not teacher.with_cls_token:
            states = [state[:, 1:] for state in states]
        return [tokens.float() for tokens in self.alignment(states)], targets

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> what there is to look at, each (B, L).

        `mask`; `importance`, what the teacher attends to, with attentive masking; `similarity`, cosine
        of student and teacher patch by patch, mean over layers, when the student sees all patches.
        """
        teacher = self._teach(images)
        importance = teacher.importance() if self.attentive else None
        mask = self.student.draw_mask(images, self.mask_ratio, importance)
        pairs = zip(*self.align(images, teacher, self.student.hide_nothing(images)), strict=True)
        similarity = torch.stack([F.cosine_similarity(*pair, dim=-1) for pair in pairs]).mean(dim=0)
        length = self.student.grid[0] * self.student.grid[1]
        hidden = self.student.hidden(mask, len(images))
        seen = dict(mask=hidden, similarity=similarity[:, -length:])
        return seen if importance is None else dict(seen, importance=importance)

    def _teach(self, images: Tensor) -> TeacherStates:
        """
        Raises:
            ValueError: the images have other patches than the teacher.
        """
        side = self.backbone.img_size
        if images.shape[2:] != (side, side):
            raise ValueError(
                f"student and teacher must see the same patches, so images must have {side}x{side} "
                f"pixels, got {images.shape[2]}x{images.shape[3]}: set the backbone's img_size, and "
                "the teacher's to match"
            )
        return self.teacher(images)

    def _look_through(self, backbone) -> VisibleStudent | MixedStudent:
        if hasattr(backbone, "mixed_states"):
            if self.attentive:
                raise ValueError(
                    "mixed images share one mask, which no single image's attention can draw: a "
                    "MixMIMTransformer needs masking='random'"
                )
            return MixedStudent(backbone)
        if isinstance(getattr(backbone, "norm", None), nn.LayerNorm):
            raise ValueError(
                "hidden states are aligned before the final norm, which would learn nothing: set the "
                "backbone's final_norm=False"
            )
        return VisibleStudent(backbone)

    def _normalisation(self) -> dict:
        """What images come normalised by; the teacher's own default without a data preprocessor."""
        preprocessor = self.data_preprocessor
        if not isinstance(preprocessor, ImgDataPreprocessor):
            return {}
        if not hasattr(preprocessor, "mean"):  # it leaves pixels as they are
            return dict(images_mean=[0.0] * 3, images_std=[1.0] * 3)
        return dict(
            images_mean=preprocessor.mean.flatten().tolist(),
            images_std=preprocessor.std.flatten().tolist(),
        )

    def _check_grids(self) -> None:
        ours, theirs = self.student.grid, self.teacher.grid
        if ours != theirs:
            patch = self.teacher.img_size[0] // theirs[0]
            raise ValueError(
                f"student and teacher must have the same patches, got {ours[0]}x{ours[1]} of the "
                f"student and {theirs[0]}x{theirs[1]} of the teacher: set teacher.img_size to "
                f"{ours[0] * patch}, which resizes its input and its positions"
            )
