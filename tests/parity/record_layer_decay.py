"""Record what the official fine-tuning codes do with each parameter: its lr scale and weight decay.

    python tests/parity/record_layer_decay.py MAE CONVMAE MIXMIM

The clones, and the narrow models, are those of record_classification.py. Each code's own function
groups its own model's parameters, with the published layer decay and a weight decay of 0.05.
"""

import sys
from pathlib import Path

from common import save
from record_classification import convmae, mae, mixmim

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import peers

LAYER_DECAY = {"mae": 0.65, "convmae": 0.65, "mixmim": 0.7}


def main() -> None:
    recorded = {}
    for build, folder in zip((mae, convmae, mixmim), sys.argv[1:], strict=True):
        name = build.__name__
        model = build(Path(folder))
        names = {id(p): n for n, p in model.named_parameters()}
        sys.modules.pop("util.lr_decay", None)
        lr_decay = peers.import_official(Path(folder) / "util", "lr_decay")
        sys.modules.pop("lr_decay")
        groups = lr_decay.param_groups_lrd(
            model, 0.05, model.no_weight_decay(), layer_decay=LAYER_DECAY[name]
        )
        recorded[name] = {
            names[id(p)]: [group["lr_scale"], group["weight_decay"]]
            for group in groups
            for p in group["params"]
        }
    sources = dict(
        mae="facebookresearch/mae efb2a80",
        convmae="Alpha-VL/ConvMAE 4c97b4c",
        mixmim="Sense-X/MixMIM 2b2f5a9",
    )
    made_by = "tests/parity/record_layer_decay.py"
    save("layer_decay", dict(made_by=made_by, sources=sources, groups=recorded))


if __name__ == "__main__":
    main()
