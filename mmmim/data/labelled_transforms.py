"""Images that have labels: a broken one is an error, not a sample less."""

from mmcv.transforms import LoadImageFromFile

from mmmim.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadLabelledImage(LoadImageFromFile):
    """mmcv's LoadImageFromFile that names the file it cannot decode whole.

    OpenCV fills the missing part of a truncated JPEG with grey and says nothing; Pillow notices.

    Raises:
        OSError: the file is missing, truncated, or no image.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(imdecode_backend="pillow", **kwargs)

    def transform(self, results: dict) -> dict:
        try:
            return super().transform(results)
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(
                f"cannot read the labelled image '{results['img_path']}': {error}. "
                "Its labels make it part of the result, so it is not skipped: "
                "replace the file, or remove it from the annotations"
            ) from error
