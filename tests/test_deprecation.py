"""Old names keep working for one release, with a warning that gives the new name."""

import warnings

import pytest

from mmmim.deprecation import renamed_arguments
from mmmim.registry import HOOKS, MODELS

VIT = dict(type="ViT", arch=dict(embed_dims=16, depth=1, num_heads=2), img_size=32, patch_size=8)
MAE = dict(type="MAE", backbone=VIT, decoder=dict(embed_dims=16, depth=1, num_heads=2))
OLD_TYPES = {
    "AppendHalved": (MODELS, "AppendDownsampled", dict(in_channels=8, norm_cfg=dict(type="BN"))),
    "FloatRoIExtractor": (
        MODELS,
        "FP32RoIExtractor",
        dict(roi_layer=dict(type="RoIAlign", output_size=7), out_channels=8, featmap_strides=[4]),
    ),
    "NormedMean": (MODELS, "GlobalPoolNorm", dict(channels=8)),
    "ProbedMean": (MODELS, "ProbeGlobalPool", dict(channels=8)),
    "ProbedToken": (MODELS, "ProbeClsToken", dict(channels=8)),
    "LossLogHook": (HOOKS, "DeferredLossHook", {}),
    "ResumedStepsHook": (HOOKS, "RescaleResumeHook", {}),
    "ReproducibilityHook": (HOOKS, "IterSeedHook", {}),
}


@pytest.mark.parametrize("old", OLD_TYPES)
def test_an_old_type_builds_the_new_one_and_names_it(old):
    registry, new, arguments = OLD_TYPES[old]
    with pytest.warns(FutureWarning, match=f"the type '{old}' is now called '{new}'"):
        built = registry.build(dict(type=old, **arguments))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        assert type(registry.build(dict(type=new, **arguments))) is type(built)


def test_the_old_names_of_heads_and_hooks_with_data_are_registered():
    assert {"FloatRPNHead"} <= MODELS.module_dict.keys()
    assert {"NearestNeighbourHook"} <= HOOKS.module_dict.keys()


@pytest.mark.parametrize("backbone", ["ViT", "ConvViT"])
def test_train_positions_is_learnable_pos_embed(backbone):
    config = dict(type=backbone, img_size=32)
    if backbone == "ViT":
        config.update(VIT)
    else:
        config["arch"] = dict(embed_dims=(8, 8, 8), depths=(1, 1, 1), num_heads=2)
    with pytest.warns(FutureWarning, match="'train_positions' is now called 'learnable_pos_embed'"):
        old = MODELS.build(dict(config, train_positions=True))
    assert old.pos_embed.requires_grad
    assert MODELS.build(dict(config, learnable_pos_embed=True)).pos_embed.requires_grad
    with pytest.raises(TypeError, match="remove 'train_positions'"):
        MODELS.build(dict(config, learnable_pos_embed=True, train_positions=True))


def test_the_host_of_pixmim_is_its_method():
    with pytest.warns(FutureWarning, match="'host' is now called 'method'"):
        old = MODELS.build(dict(type="PixMIM", host=MAE))
    assert type(old) is type(MODELS.build(dict(type="PixMIM", method=MAE)))


def test_neighbours_is_k(tmp_path):
    hook = HOOKS.get("KNNEvalHook")
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "1.jpg").touch()
    with pytest.warns(FutureWarning, match="'neighbours' is now called 'k'"):
        assert hook(str(tmp_path), neighbours=3).k == 3


def test_arguments_by_their_new_names_do_not_warn():
    @renamed_arguments(old="new")
    def function(new: int) -> int:
        return new

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert function(new=1) == function(1) == 1
