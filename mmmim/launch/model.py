"""What is looked for, or changed, anywhere in the config of a model."""

from collections.abc import Iterator


def replace_sync_bn(model: dict) -> bool:
    """Turn every dict(type="SyncBN") of the model into BN; -> whether there was one."""
    found = [node for node in all_dicts(model) if node.get("type") == "SyncBN"]
    for node in found:
        node["type"] = "BN"
    return bool(found)


def all_dicts(node) -> Iterator[dict]:
    """Every dict at or below `node`."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for child in node if isinstance(node, (list, tuple)) else ():
        yield from all_dicts(child)
