"""Our own checkpoints."""

from mmmim.checkpoints.formats.base import Format, register_format

MMMIM = register_format(
    Format(
        "mmmim",
        "mmmim",
        signature=r"backbone\.(?:blocks3?|layers\.0\.blocks)\.0\.norm1\.weight",
        not_with=r"backbone\.fpn\.0\.weight",  # official ConvMAE segmenters
        keys=(("{rest}", "{rest}"),),
    )
)
