"""What is really saved is read, and equals what a full unpickle reads."""

import argparse
import collections
import io
import pickle
import random
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import MultiStepLR as MMEngineMultiStepLR
from torch import nn
from torch.optim import lr_scheduler

from mmmim.checkpoints import read_checkpoint, read_file

SAVERS = {
    "zip": torch.save,
    "legacy": partial(torch.save, _use_new_zipfile_serialization=False),
    "protocol 4": partial(torch.save, pickle_protocol=4),
    "protocol 5": partial(torch.save, pickle_protocol=5),
}


def same(ours, theirs) -> bool:
    """Whether two nested values are equal, types included."""
    if isinstance(theirs, torch.Tensor):
        equal = ours.shape == theirs.shape and ours.dtype == theirs.dtype
        bits = [value.detach().contiguous().flatten().view(torch.uint8) for value in (ours, theirs)]
        return equal and torch.equal(*bits)
    if isinstance(theirs, np.ndarray):
        return (
            ours.dtype == theirs.dtype and ours.shape == theirs.shape and bool((ours == theirs).all())
        )
    if isinstance(theirs, dict):
        pairs = zip(ours.items(), theirs.items(), strict=True)
        return all(k == m and same(v, w) for (k, v), (m, w) in pairs)
    if isinstance(theirs, (list, tuple, collections.deque)):
        typed = type(ours) is type(theirs) and len(ours) == len(theirs)
        return typed and all(map(same, ours, theirs))
    if isinstance(theirs, (HistoryBuffer, argparse.Namespace)):
        # mmengine drops `statistics_methods` when it unpickles.
        given = {k: v for k, v in vars(ours).items() if k != "statistics_methods"}
        return type(ours) is type(theirs) and same(given, vars(theirs))
    return type(ours) is type(theirs) and ours == theirs


def check(tmp_path, content, savers=SAVERS) -> None:
    for way, save in savers.items():
        path = tmp_path / "checkpoint.pth"
        save(content, path)
        assert same(read_file(path), torch.load(path, weights_only=False)), way


DTYPES = """float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128
uint16 uint32 uint64 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz""".split()  # noqa: SIM905


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_of_numbers(tmp_path, dtype):
    values = torch.arange(24).reshape(2, 3, 4).to(getattr(torch, dtype))
    tied = {"a": values, "b": values, "view": values[1], "turned": values.transpose(0, 2)}
    parts = {"scalar": values[0, 0, 1], "none": values[:0], "stepped": values[:, ::2]}
    parts["expanded"] = values[:1].expand(50, 3, 4)
    # torch itself cannot read the later types from its old format.
    savers = SAVERS if dtype in DTYPES[:12] else {k: v for k, v in SAVERS.items() if k != "legacy"}
    check(tmp_path, {**tied, **parts, "dtype": values.dtype}, savers)


NUMPY_TYPES = "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 c8 c16 ? S3 U3".split()  # noqa: SIM905


@pytest.mark.parametrize("code", NUMPY_TYPES)
def test_every_type_of_arrays(tmp_path, code):
    values = np.arange(6).reshape(2, 3).astype(code)
    content = {
        "a": values,
        "f": np.asfortranarray(values),
        "s": values[0, 1],
        "e": values[:0],
        "t": values.T,
    }
    check(tmp_path, content)
    for protocol in range(6):
        path = tmp_path / "arrays.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
        assert same(read_file(path), content), protocol


def test_plain_values(tmp_path):
    default = collections.defaultdict(list, {"a": [1]})
    content = dict(
        none=None, flags=[True, False], numbers=(1, -1, 1 << 40, 1.5, float("inf")), text="é\n😀" * 9,
        raw=b"\x00\xff", nested=[[()], {}, {"a": {1: {2.5: None}}}], sets={1, "a", None},
        size=torch.Size([2, 3]), device=torch.device("cuda", 1), cpu=torch.device("cpu"),
        options=argparse.Namespace(lr=0.1, names=["a"]), ordered=collections.OrderedDict(a=1),
        default=default, counter=collections.Counter({3: 1}), queue=collections.deque([1, 2], maxlen=5),
        numpy=[np.float64(1.5), np.int64(3), np.bool_(True), np.float32(2)], dtype=torch.float16,
    )  # fmt: skip
    check(tmp_path, content)
    for protocol in range(2, 6):
        path = tmp_path / "values.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
        assert same(read_file(path), content), protocol


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_detectron2_weights_of_python_2(tmp_path, protocol):
    """Python 2 wrote bytes as text."""
    values = np.arange(6, dtype=np.float32)
    written = pickle.dumps(
        {"model": {"x": values}, "__author__": "someone"}, protocol, fix_imports=True
    )
    (tmp_path / "model.pkl").write_bytes(written)
    assert torch.equal(read_checkpoint(tmp_path / "model.pkl")["x"], torch.arange(6.0))


def trained(name: str) -> torch.optim.Optimizer:
    weights = [nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(3, 3))]
    sparse = name == "SparseAdam"
    keywords = {} if name in ("Adafactor", "Muon") else dict(lr=0.1)
    optimizer = getattr(torch.optim, name)(weights, **keywords)
    for weight in weights:
        weight.grad = torch.ones_like(weight).to_sparse() if sparse else torch.ones_like(weight)
    optimizer.step(lambda: torch.ones(()))
    return optimizer


OPTIMIZERS = [
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name != "Optimizer"
]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(tmp_path, name):
    check(tmp_path, trained(name).state_dict())


SCHEDULERS = {
    "StepLR": dict(step_size=1), "MultiStepLR": dict(milestones=[1, 2]),
    "ConstantLR": {}, "LinearLR": {},
    "ExponentialLR": dict(gamma=0.9), "CosineAnnealingLR": dict(T_max=3), "PolynomialLR": {},
    "CosineAnnealingWarmRestarts": dict(T_0=2), "ReduceLROnPlateau": {},
    "OneCycleLR": dict(max_lr=1.0, total_steps=9), "LambdaLR": dict(lr_lambda=lambda epoch: 1.0),
    "CyclicLR": dict(base_lr=0.1, max_lr=1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler(tmp_path, name):
    scheduler = getattr(lr_scheduler, name)(trained("SGD"), **SCHEDULERS[name])
    check(tmp_path, scheduler.state_dict())


def test_a_checkpoint_of_mmengine(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = MMEngineMultiStepLR(optimizer, milestones=[8, 11])
    buffers = {name: HistoryBuffer() for name in ("loss", "lr")}
    for i in range(2000):
        buffers["loss"].update(1 / (i + 1))
    content = dict(
        state_dict={f"module.{k}": v for k, v in model.state_dict().items()},
        meta=dict(epoch=1, iter=12, cfg="model = 1", time="now", dataset_meta=dict(classes=("a",))),
        message_hub=dict(log_scalars=buffers, runtime_info={"iter": 3}, resumed_keys={"loss": True}),
        optimizer=optimizer.state_dict(),
        param_schedulers=[schedule.state_dict()],
        ema_state_dict=model.state_dict(),
        module=model.state_dict(),
        ordered=model.state_dict(),
    )
    check(tmp_path, content, {way: SAVERS[way] for way in ("zip", "legacy")})  # as mmengine saves
    assert set(read_checkpoint(tmp_path / "checkpoint.pth")) == set(model.state_dict())
    model.load_state_dict(read_file(tmp_path / "checkpoint.pth")["ordered"])
    check(tmp_path, list(model.parameters()))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj, self.scale = nn.Linear(4, 4), 0.5
        self.register_buffer("mask", torch.ones(2, 2, dtype=torch.bool))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x) * self.scale


class Clip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Attention(), nn.Sequential(nn.LayerNorm(4), Attention())])
        self.logit_scale = nn.Parameter(torch.ones([]))
        self.sizes, self.names, self.table = [1, 2], ["a"], {"a": 1.5}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x * self.logit_scale


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("way", ["script", "trace"])
def test_torchscript_archives(tmp_path, way, half):
    model = Clip().eval()
    module = torch.jit.script(model) if way == "script" else torch.jit.trace(model, torch.ones(1, 4))
    module = module.half() if half else module
    path = tmp_path / "ViT.pt"
    module.save(str(path))
    ours, theirs = read_checkpoint(path), torch.jit.load(str(path)).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(same(ours[k], v) for k, v in theirs.items())


def nested(chance: random.Random, depth: int = 4):
    """A random value of all that is read."""
    shape = [chance.randrange(4) for _ in range(chance.randrange(4))]
    leaves = [
        lambda: torch.randint(100, shape).to(getattr(torch, chance.choice(DTYPES[:12]))),
        lambda: np.arange(chance.randrange(5)).astype(chance.choice(NUMPY_TYPES)),
        lambda: chance.choice([None, True, 1, -(1 << 70), 1.5, "é", b"\xff", "", (), torch.float16]),
        lambda: {chance.randrange(9) for _ in range(3)},
        lambda: torch.Size(shape),
    ]
    inside = [
        lambda: [nested(chance, depth - 1) for _ in range(chance.randrange(5))],
        lambda: tuple(nested(chance, depth - 1) for _ in range(chance.randrange(5))),
        lambda: {chance.choice(["a", "b", 3, None, 2.5]): nested(chance, depth - 1) for _ in range(4)},
        lambda: collections.OrderedDict(a=nested(chance, depth - 1)),
        lambda: argparse.Namespace(a=nested(chance, depth - 1)),
    ]
    return chance.choice(leaves if not depth else leaves + 2 * inside)()


@pytest.mark.parametrize("seed", range(40))
def test_random_values_are_read_as_by_torch(tmp_path, seed):
    chance = random.Random(seed)
    torch.manual_seed(seed)
    value = [nested(chance) for _ in range(4)]
    value.append(value[0])  # shared
    check(tmp_path, value)


def test_what_mmmim_reads_from_memory(tmp_path):
    """mmengine hands downloads over as open files."""
    import mmengine.runner.checkpoint

    buffer = io.BytesIO()
    torch.save({"x": torch.ones(2)}, buffer)
    buffer.seek(0)
    assert mmengine.runner.checkpoint._safe_torch_load(buffer)["x"].tolist() == [1, 1]
