"""Dynamic alignment (arXiv 2211.08887, section 3.3): student layers to teacher layers."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mmmim.layers.block import init_like_mae


class DynamicAlignment(nn.Module):
    """Mix the student's layers for each teacher layer in the loss, then project the mixture.

    OpenDriveLab/maskalign models_pretrain.py:79-106, 302-311. The official code has a mixture and a
    head for every teacher layer; here only layers in the loss have them. It also requires a student
    as deep as the teacher; here any depth works.

    Args:
        student_dims, student_depth: width and number of the student's layers.
        teacher_dims, teacher_depth: the teacher's.
        layers: teacher layers in the loss, counted from 0.
        fusion: "linear" (initialized to the student layer at the same relative depth, plus 0.01 of all
            layers), "sum" (initialized to the mean), or "simple" (that layer alone, nothing learned).
        head: "linear", "norm_linear" (LayerNorm first), "mlp" (two layers, GELU between) or "mlp2" (two
            layers, LayerNorm between).

    Attributes:
        weights: (layers, student_depth) mixing weights; None for "simple".

    Raises:
        ValueError: an unknown fusion or head; "simple" with student layers at the end that no loss
            reaches.
    """

    def __init__(
        self,
        student_dims: int,
        student_depth: int,
        teacher_dims: int,
        teacher_depth: int,
        layers: Sequence[int],
        fusion: str = "linear",
        head: str = "linear",
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        # The student layer at the same relative depth: every second of 24 for 12.
        self.partners = [max((i + 1) * student_depth // teacher_depth - 1, 0) for i in layers]
        if fusion == "linear":
            weights = torch.full((len(layers), student_depth), 0.01)
            weights[torch.arange(len(layers)), self.partners] += 1
        elif fusion == "sum":
            weights = torch.full((len(layers), student_depth), 1 / student_depth)
        elif fusion != "simple":
            raise ValueError(f"fusion must be 'simple', 'linear' or 'sum', got '{fusion}'")
        if fusion == "simple" and max(self.partners) < student_depth - 1:
            raise ValueError(
                f"with fusion 'simple', teacher layers {list(layers)} align with student layers "
                f"{self.partners}, and later student layers would not be trained: use fusion 'linear' "
                f"or 'sum', or a student of {max(self.partners) + 1} layers"
            )
        self.weights = None if fusion == "simple" else nn.Parameter(weights)
        # Keyed by teacher layer, as in official files.
        self.heads = nn.ModuleDict({str(i): _head(head, student_dims, teacher_dims) for i in layers})
        init_like_mae(self)

    def forward(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Student states (B, N, D) per layer -> (B, N, teacher_dims) per teacher layer of `layers`."""
        mixtures: Iterable[Tensor]
        if self.weights is None:
            mixtures = [states[i] for i in self.partners]
        else:
            mixtures = torch.einsum("ts,sbnd->tbnd", self.weights, torch.stack(list(states)))
        return [head(mixture) for head, mixture in zip(self.heads.values(), mixtures, strict=True)]


def _head(kind: str, dim: int, out: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(dim, out)
    if kind == "norm_linear":
        return nn.Sequential(nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, out))
    if kind == "mlp":
        return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, out))
    if kind == "mlp2":
        return nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, out))
    raise ValueError(f"head must be 'linear', 'norm_linear', 'mlp' or 'mlp2', got '{kind}'")
