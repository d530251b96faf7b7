"""The pre-norm transformer block, with the options of dense prediction."""

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, get_world_size
from torch import Tensor, nn

from mmmim.layers.attention import Attention, window_partition, window_reverse
from mmmim.layers.tokens import gather_tokens


class Mlp(nn.Module):
    """Linear, GELU, Linear; parameter names are timm's."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class LayerScale(nn.Module):
    """A learned factor per channel (CaiT, arXiv 2103.17239)."""

    def __init__(self, dim: int, init_value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), float(init_value)))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class DropPath(nn.Module):
    """Stochastic depth per sample (arXiv 1603.09382).

    Same as torchvision's StochasticDepth in mode "row", except that each of several processes draws
    for the global batch and takes the rows of its own samples (see `mmmim.masking`): processes with
    equal seeds drop what one process would, instead of all dropping the same rows.

    Args:
        rate: probability of dropping, at least 0 and less than 1.

    Raises:
        ValueError: `rate` is outside this range.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"the drop path rate must be at least 0 and less than 1, got {rate}")
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) -> the same shape."""
        if not self.training or not self.rate:
            return branch
        rows = len(branch) * get_world_size()
        noise = branch.new_empty(rows, *[1] * (branch.ndim - 1)).bernoulli_(1 - self.rate)
        return branch * noise[get_rank() :: get_world_size()].div_(1 - self.rate)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        dim, num_heads, mlp_ratio: sizes.
        drop_path: probability of skipping each branch, per sample.
        layer_scale: initial LayerScale, or None for none.
        relative_position: see `Attention`.
        window_size: side of the attention windows in tokens; None for global attention.
        eps: of both LayerNorms.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        relative_position: nn.Module | None = None,
        window_size: int | None = None,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, num_heads, relative_position)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        scale = nn.Identity if layer_scale is None else (lambda: LayerScale(dim, layer_scale))
        self.ls1, self.ls2 = scale(), scale()
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        tokens: Tensor,
        grid: tuple[int, int] | None = None,
        bias: Tensor | None = None,
        query_idx: Tensor | None = None,
    ) -> Tensor:
        """(B, N, D) -> (B, N, D), or (B, M, D) with `query_idx`.

        Args:
            tokens: (B, N, D).
            grid: (rows, columns) with N = rows * columns; required by windows.
            bias: see `Attention`; with windows, N there is the size of a window.
            query_idx: (B, M) positions of the tokens to compute; the others contribute keys and
                values only. For blocks without windows and relative positions.
        """
        if query_idx is not None:
            assert self.window_size is None
            assert self.attn.relative_position is None
            assert bias is None
            return self._forward_queries(tokens, query_idx)
        tokens = tokens + self.drop_path(self.ls1(self._attend(self.norm1(tokens), grid, bias)))
        return tokens + self.drop_path(self.ls2(self.mlp(self.norm2(tokens))))

    def _forward_queries(self, tokens: Tensor, query_idx: Tensor) -> Tensor:
        normed = self.norm1(tokens)
        attended = self.attn.cross(gather_tokens(normed, query_idx), normed)
        tokens = gather_tokens(tokens, query_idx) + self.drop_path(self.ls1(attended))
        return tokens + self.drop_path(self.ls2(self.mlp(self.norm2(tokens))))

    def _attend(self, tokens: Tensor, grid: tuple[int, int] | None, bias: Tensor | None) -> Tensor:
        if self.window_size is None:
            return self.attn(tokens, grid, bias)
        assert grid is not None, "windows need the grid of the tokens"
        size = self.window_size
        windows = window_partition(tokens.unflatten(1, grid), size)
        return window_reverse(self.attn(windows, (size, size), bias), size, grid).flatten(1, 2)


def init_like_mae(module: nn.Module) -> None:
    """Xavier-uniform Linear weights, zero biases: facebookresearch/mae models_mae.py:85-93."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.xavier_uniform_(child.weight)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
