"""What the backbones share: sizes by name, and recomputing blocks to save memory."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def resolve_arch(arch: str | dict, sizes: dict[str, dict]) -> dict:
    """The sizes of a name, or a custom dict as it is.

    Raises:
        ValueError: an unknown name, or a dict without a key that the named sizes have.
    """
    if isinstance(arch, str):
        if arch not in sizes:
            raise ValueError(f"arch must be one of {sorted(sizes)} or a dict, got '{arch}'")
        return sizes[arch]
    needed = next(iter(sizes.values()))
    if missing := set(needed) - set(arch):
        raise ValueError(f"a custom arch needs {', '.join(needed)}; missing {sorted(missing)}")
    return arch


def run_block(block: nn.Module, *args, with_cp: bool) -> Tensor:
    """`block(*args)`; with `with_cp`, what lies inside is computed again in the backward pass."""
    if with_cp and torch.is_grad_enabled():
        return checkpoint(block, *args, use_reentrant=False)
    return block(*args)
