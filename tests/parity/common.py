"""Weights, inputs and summaries of gradients that need no file, for recording and checking.

Weights are drawn with their name as seed, so that implementations with corresponding names get the
same weights. A gradient is stored as its norm and its product with a direction drawn by name.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
SEED = 1234


def generator(name: str) -> torch.Generator:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def draw(name: str, shape: torch.Size) -> Tensor:
    """Standard normal values that depend only on `name`."""
    return torch.randn(shape, generator=generator(name))


@torch.no_grad()
def set_weights(parameters: dict[str, Tensor]) -> None:
    """Fill each parameter with values drawn by its name: norms near 1, others near 0."""
    for name, parameter in parameters.items():
        value = 0.02 * draw(name, parameter.shape)
        is_norm_weight = parameter.ndim == 1 and name.endswith("weight")
        parameter.copy_(1 + value if is_norm_weight else value)


def images(batch: int, size: int) -> Tensor:
    """Smooth random images, with about the statistics of normalized ones."""
    noise = draw(f"images {batch} {size}", torch.Size((batch, 3, size // 8, size // 8)))
    return torch.nn.functional.interpolate(noise, size=(size, size), mode="bicubic")


def gradient_summary(parameters: dict[str, Tensor]) -> dict[str, list[float]]:
    """Name -> [norm, product with a direction drawn by name], in float64."""
    summary = {}
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            gradient = parameter.grad.double().flatten()
            direction = draw(f"direction {name}", gradient.shape).double()
            summary[name] = [gradient.norm().item(), (gradient @ direction).item()]
    return summary


def tensor_summary(name: str, tensor: Tensor) -> list[float]:
    """[norm, product with a direction drawn by name, three entries], in float64."""
    flat = tensor.detach().double().flatten()
    direction = draw(f"direction {name}", flat.shape).double()
    picks = torch.randint(len(flat), (3,), generator=generator(f"picks {name}"))
    return [flat.norm().item(), (flat @ direction).item(), *flat[picks].tolist()]


def assert_equal_step(expected: dict, loss: Tensor, trained: dict[str, Tensor]) -> None:
    """Check that a loss and every gradient equal the recorded ones, with a tolerance of 1e-5."""
    gradients = gradient_summary(trained)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    assert gradients.keys() == expected["gradients"].keys()
    for name, (norm, product) in expected["gradients"].items():
        assert gradients[name][0] == pytest.approx(norm, rel=1e-5), name
        # A product with a random direction is about as large as the norm.
        assert gradients[name][1] == pytest.approx(product, abs=1e-5 * norm), name


def close_to_summary(expected: list[float]) -> list:
    """The recorded `tensor_summary` with relative tolerances; the product's is relative to the norm."""
    norm, product, *picks = expected
    return [
        pytest.approx(norm, rel=1e-5),
        # A product with a random direction is about as large as the norm, or cancels.
        pytest.approx(product, abs=1e-5 * norm),
        *(pytest.approx(pick, rel=1e-4, abs=1e-5) for pick in picks),
    ]


def save(name: str, content: dict) -> None:
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


def load(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())
