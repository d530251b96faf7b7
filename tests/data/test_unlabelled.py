import numpy as np
import pytest
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torchvision.transforms import v2

from mmmim.data import EpochSampler, UnlabelledImages, image_file
from mmmim.data.image_file import FileSystemError, ImageDecodeError, ImageFile, read_rgb
from mmmim.data.unlabelled import list_images
from mmmim.registry import TRANSFORMS

FLIP = dict(type="torchvision/RandomHorizontalFlip")
PIPELINES = {
    "mae": [dict(type="RandomResizedCrop", size=32, scale=(0.2, 1.0)), FLIP],
    "pixmim": [dict(type="SimpleResizedCrop", size=32), FLIP],
    "torchvision": [
        dict(type="torchvision/RandomResizedCrop", size=32, scale=(0.2, 1.0), interpolation="bicubic"),
        FLIP,
        dict(type="torchvision/PILToTensor"),
    ],
}


def gradient_image(size=(40, 30)) -> Image.Image:
    x = np.linspace(0, 255, size[0], dtype=np.uint8)
    return Image.fromarray(np.broadcast_to(x, (size[1], size[0])).copy())


@pytest.fixture
def folder(tmp_path):
    """Six images in nested folders, one of them truncated."""
    for i in range(6):
        path = tmp_path / "a" / str(i % 2) / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        gradient_image().convert("RGB").rotate(i).save(path)
    cut = tmp_path / "a" / "0" / "2.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    (tmp_path / ".hidden.jpg").write_bytes(b"not an image")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def dataset(folder, crop="mae", **kwargs):
    return UnlabelledImages(str(folder), pipeline=PIPELINES[crop], **kwargs)


def test_folders_of_any_depth_without_annotation_file(folder):
    data = dataset(folder)
    assert len(data) == 6
    item = data[0]["inputs"]
    assert item.shape == (3, 32, 32)
    assert item.dtype == torch.uint8


def test_a_truncated_image_is_named_skipped_and_counted(folder):
    data = dataset(folder)
    with pytest.warns(UserWarning, match=r"2\.jpg"):
        items = [data[i]["inputs"] for i in range(6)]
    assert len(items) == 6
    assert [f.name for f in data.broken_files()] == ["2.jpg"]


def test_workers_tell_the_main_process_what_is_broken(folder):
    data = dataset(folder)
    list(torch.utils.data.DataLoader(data, batch_size=2, num_workers=1))
    assert [f.name for f in data.broken_files()] == ["2.jpg"]


@pytest.mark.filterwarnings("ignore:skipped")
def test_a_folder_of_broken_images_ends_with_an_error(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(b"rubbish")
    with pytest.raises(RuntimeError, match="none of the 3 images"):
        dataset(tmp_path)[0]


def test_a_missing_and_an_empty_folder_name_the_cure(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"does not exist.*IMAGENET="):
        dataset(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no image found.*\.jpg"):
        dataset(tmp_path)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("RGB", "jpg"),
        ("L", "jpg"),
        ("CMYK", "jpg"),
        ("RGBA", "png"),
        ("P", "png"),
        ("LA", "png"),
        ("I;16", "png"),
        ("I;16", "tif"),
        ("L", "tif"),
        ("RGB", "webp"),
        ("RGBA", "webp"),
        ("1", "png"),
    ],
)
def test_every_mode_becomes_rgb_with_its_gradient_intact(tmp_path, mode, suffix):
    path = tmp_path / f"image.{suffix}"
    gray = gradient_image()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    else:
        image = gray.convert("RGB").convert(mode)
    image.save(path)
    rgb = read_rgb(path)
    assert rgb.mode == "RGB"
    assert rgb.size == (40, 30)
    pixels = np.asarray(rgb).astype(int)
    assert pixels[:, -4:].mean() - pixels[:, :4].mean() > 150


def test_floating_point_pixels_are_refused(tmp_path):
    path = tmp_path / "image.tif"
    Image.fromarray(np.random.rand(8, 8).astype(np.float32)).save(path)
    with pytest.raises(ValueError, match="floating-point pixels: convert the file to 8 or 16 bits"):
        read_rgb(path)


def test_a_photo_taken_sideways_is_turned_upright(tmp_path):
    path = tmp_path / "image.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to display
    gradient_image().convert("RGB").save(path, exif=exif)
    assert read_rgb(path).size == (30, 40)


@pytest.mark.parametrize("crop", PIPELINES)
@pytest.mark.parametrize("size", [(5, 3), (1, 1), (400, 6)])
def test_an_image_smaller_than_the_crop_is_enlarged(tmp_path, crop, size):
    Image.new("RGB", size, (200, 100, 50)).save(tmp_path / "image.png")
    item = dataset(tmp_path, crop)[0]["inputs"]
    assert item.shape == (3, 32, 32)
    assert item.float().mean((1, 2)).tolist() == pytest.approx([200, 100, 50], abs=1)


@pytest.fixture
def photo(tmp_path):
    """A smooth picture with a little noise, 301 x 201 pixels."""
    x, y = np.meshgrid(np.linspace(0, 6, 301), np.linspace(0, 4, 201))
    waves = [127 + 90 * np.sin(a * x + b * y) for a, b in ((1, 2), (3, -1), (2, 2))]
    noise = np.random.default_rng(0).normal(0, 5, (201, 301, 3))
    path = tmp_path / "photo.jpg"
    Image.fromarray((np.stack(waves, 2) + noise).clip(0, 255).astype(np.uint8)).save(path, quality=95)
    return path


@pytest.mark.parametrize("size", [128, 32])
def test_a_crop_decoded_at_once_is_torchvisions(photo, size):
    """Same random boxes; at 128 pixels the file is decoded whole, at 32 at a reduced size."""
    arguments = dict(size=size, scale=(0.2, 1.0))
    at_once = dict(type="RandomResizedCrop", **arguments)
    plain = dict(type="torchvision/RandomResizedCrop", interpolation="bicubic", **arguments)
    to_tensor = dict(type="torchvision/PILToTensor")
    folder = str(photo.parent)
    ours = UnlabelledImages(folder, pipeline=[at_once, FLIP])
    theirs = UnlabelledImages(folder, pipeline=[plain, FLIP, to_tensor])
    differences = [(ours[i]["inputs"].int() - theirs[i]["inputs"].int()).abs() for i in range(30)]
    largest, mean = (2, 0.4) if size == 128 else (12, 1.5)
    print(sorted((round(d.float().mean().item(), 3), int(d.max())) for d in differences)[-3:])
    assert max(d.max() for d in differences) <= largest
    assert all(d.float().mean() <= mean for d in differences)


def test_a_jpeg_is_reduced_only_where_enough_pixels_stay(photo, monkeypatch):
    asked, draft = [], JpegImageFile.draft

    def recorded(self, mode, size):
        asked.append(size)
        return draft(self, mode, size)

    monkeypatch.setattr(JpegImageFile, "draft", recorded)
    for side, reduction in ((32, 4), (50, 4), (51, 2), (100, 2), (101, 1)):
        asked.clear()
        item = ImageFile(photo).resized_crop((20, 0, 201, 201), (side, side), "bicubic")
        assert item.shape == (3, side, side)
        assert asked == ([] if reduction == 1 else [(301 // reduction, 201 // reduction)])


def test_a_cache_changes_nothing_but_the_time(photo, folder):
    plain, cached = dataset(folder), dataset(folder, cache_gb=0.01)
    for i in (0, 3, 10):
        assert torch.equal(plain[i]["inputs"], cached[i]["inputs"])
    with pytest.warns(UserWarning, match=r"skipped.*2\.jpg"):
        replaced = cached[1]["inputs"]
    assert torch.equal(replaced, plain[1]["inputs"])
    assert [f.name for f in cached.broken_files()] == ["2.jpg"]
    with pytest.raises(ValueError, match=r"take 0\.00 GB, but cache_gb allows 1e-06: raise cache_gb"):
        dataset(folder, cache_gb=1e-6)


def test_pixmim_crop_moves_the_short_side_by_the_padding_alone(tmp_path):
    gradient_image((64, 32)).convert("RGB").save(tmp_path / "image.png")
    crop = TRANSFORMS.build(dict(type="SimpleResizedCrop", size=32))
    columns = set()
    for seed in range(200):
        torch.manual_seed(seed)
        item = crop(ImageFile(tmp_path / "image.png"))
        columns.add(int(item[0, 5, 0]))
    assert len(columns) > 25  # the long side is cropped anywhere
    assert item.shape == (3, 32, 32)


def test_pixmim_crop_is_torchvisions_with_reflection(photo):
    ours = TRANSFORMS.build(dict(type="SimpleResizedCrop", size=32))
    theirs = v2.RandomCrop(32, padding=4, padding_mode="reflect")
    whole = ImageFile(photo).resized_crop((0, 0, 301, 201), (32, 47), "bilinear")
    for seed in range(20):
        torch.manual_seed(seed)
        item = ours(ImageFile(photo))
        torch.manual_seed(seed)
        assert torch.equal(item, theirs(whole))


@pytest.mark.filterwarnings("ignore:skipped")
def test_an_item_depends_on_seed_and_draw_alone(folder):
    first, again, other = dataset(folder), dataset(folder), dataset(folder, seed=1)
    torch.manual_seed(0)
    item = first[7]["inputs"]
    state = torch.get_rng_state()
    torch.manual_seed(99)
    assert torch.equal(again[7]["inputs"], item)
    assert not torch.equal(other[7]["inputs"], item)
    assert not torch.equal(first[1]["inputs"], item)  # the same file in another epoch
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)  # the training's own generator is unchanged


def test_sampler_deals_one_order_to_all_processes(monkeypatch):
    data = list(range(10))
    whole = EpochSampler(data, seed=5)
    whole.set_epoch(3)
    order = list(whole)
    assert sorted(order) == list(range(30, 40))
    parts = []
    for rank in range(3):
        monkeypatch.setattr("mmmim.data.sampler.get_dist_info", lambda rank=rank: (rank, 3))
        part = EpochSampler(data, seed=5)
        part.set_epoch(3)
        parts.append(list(part))
    assert [len(p) for p in parts] == [3, 3, 3]
    dealt = [i for step in zip(*parts, strict=True) for i in step]
    assert dealt == order[:9]


def test_sampler_shuffles_anew_each_epoch():
    sampler = EpochSampler(list(range(50)), seed=0)
    first = [i % 50 for i in sampler]
    sampler.set_epoch(1)
    assert [i % 50 for i in sampler] != first


def test_an_epoch_can_end_with_a_whole_update():
    whole, cut = (EpochSampler(list(range(10)), seed=0, multiple=n) for n in (1, 4))
    assert len(cut) == 8
    assert list(cut) == list(whole)[:8]
    with pytest.raises(ValueError, match="4 images from each of 1 processes, but the data set has 3"):
        EpochSampler(list(range(3)), seed=0, multiple=4)


def test_repeated_augmentation_shows_fewer_images_more_often(monkeypatch):
    sampler = EpochSampler(list(range(12)), seed=0, repeats=3)
    sampler.set_epoch(2)
    draws = list(sampler)
    assert len(draws) == len(set(draws)) == 12  # each with another augmentation
    images = [draw % 12 for draw in draws]
    assert images == [image for image in images[::3] for _ in range(3)]
    sampler.set_epoch(3)
    assert not set(draws) & set(sampler)
    with pytest.raises(ValueError, match="repeats must be 1 or more, got 0"):
        EpochSampler([0], seed=0, repeats=0)


def test_files_left_out_by_their_extension_are_counted(folder, monkeypatch):
    lines = []
    monkeypatch.setattr("mmmim.data.unlabelled.print_log", lambda line, logger: lines.append(line))
    for name in ("x.jfif", "y.GIF", "z.gif", "README"):
        (folder / "a" / name).touch()
    assert len(list_images(folder)) == 6
    assert "2 .gif, 1 .txt, 1 .jfif, 1 no extension" in lines[0]
    assert len(list_images(folder, (".gif",))) == 2


@pytest.mark.parametrize("crop", ["RandomResizedCrop", "SimpleResizedCrop"])
def test_a_crop_that_is_no_square_is_refused(crop):
    with pytest.raises(ValueError, match=r"side of a square in pixels, got \(128, 192\)"):
        TRANSFORMS.build(dict(type=crop, size=(128, 192)))


def test_linked_folders_are_part_of_a_folder_and_loops_are_not(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    gradient_image().save(elsewhere / "far.png")
    (folder / "a/link").symlink_to(elsewhere)
    (folder / "a/0/loop").symlink_to(folder)
    names = [str(path.relative_to(folder)) for path in list_images(folder)]
    near = ["a/0/0.jpg", "a/0/2.jpg", "a/0/4.jpg", "a/1/1.jpg", "a/1/3.jpg", "a/1/5.jpg"]
    assert names == [*near, "a/link/far.png"]


def test_a_folder_that_must_not_be_listed_is_an_error(folder, monkeypatch):
    def walk(top, followlinks, onerror):
        onerror(PermissionError(13, "no", str(folder / "a")))

    monkeypatch.setattr("os.walk", walk)
    with pytest.raises(PermissionError, match="/a"):
        list_images(folder)


def test_a_file_system_that_does_not_answer_breaks_no_image(folder, monkeypatch):
    monkeypatch.setattr(image_file, "RETRY_AFTER", (0, 0))
    read, failures = image_file._read_regular, [OSError(116, "Stale file handle")] * 2

    def read_bytes(path):
        if failures:
            raise failures.pop()
        return read(path)

    monkeypatch.setattr(image_file, "_read_regular", read_bytes)
    images = UnlabelledImages(str(folder), pipeline=PIPELINES["mae"])
    assert images[0]["inputs"].shape == (3, 32, 32)
    failures += [OSError(116, "Stale file handle")] * 3
    with pytest.raises(FileSystemError, match=r"0\.jpg' after 3 attempts.*Stale.*--resume"):
        images[0]
    assert not images.broken_files()


def test_a_file_that_is_gone_from_its_folder_is_broken(folder):
    images = UnlabelledImages(str(folder), pipeline=PIPELINES["mae"])
    (folder / "a/0/0.jpg").unlink()
    with pytest.warns(UserWarning, match=r"skipped.*0\.jpg"):
        images[0]


def test_values_of_more_than_16_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "deep.tif")
    with pytest.raises(ImageDecodeError, match="8 or 16 bits, got 32 bits"):
        read_rgb(tmp_path / "deep.tif")
