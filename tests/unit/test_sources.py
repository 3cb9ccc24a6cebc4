"""Sources: what they read from small files in the real formats, and one line for each that is not as it should be."""

import gzip
import hashlib
import io
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import make_blobs, make_gaussian_quantiles, make_moons

from modeconn import artifacts, classification, datasets, networks
from modeconn.datasets import Dataset, cifar, mnist, pictures, remarks, tiny_imagenet
from modeconn.datasets.downloads import Archive
from modeconn.functional import Functional

SPLITS = {"alignment_fraction": 0.6, "seed": 0}


def prepared(source, downloads=None):
    return Dataset.of(*datasets.prepare({**SPLITS, **source}, downloads), "cpu")


def md5(content):
    return hashlib.md5(content).hexdigest()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return content


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(array, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


PICTURE = encoded(noise(8, 10, 3))


# The data sets that are downloaded, from archives that are there


def cifar_archive(monkeypatch, folder, name):
    """A small archive as it is distributed; returns pixels (N, 3, 32, 32) and labels of both splits."""
    from torchvision import datasets as kinds

    kind = {"cifar10": kinds.CIFAR10, "cifar100": kinds.CIFAR100}[name]
    key, classes = {"cifar10": ("labels", 10), "cifar100": ("fine_labels", 100)}[name]
    files, pixels, labels = {}, {}, {}
    for split, parts in (("train", kind.train_list), ("test", kind.test_list)):
        pixels[split] = noise(len(parts) * classes, 3072, seed=len(parts))
        labels[split] = np.tile(np.arange(classes), len(parts))
        for part, (file, _) in enumerate(parts):
            chosen = slice(part * classes, (part + 1) * classes)
            entry = {"data": pixels[split][chosen], key: labels[split][chosen].tolist()}
            files[file] = pickle.dumps(entry)
    files[kind.meta["filename"]] = pickle.dumps({kind.meta["key"]: [str(label) for label in range(classes)]})
    monkeypatch.setattr(kind, "train_list", [[file, md5(files[file])] for file, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[file, md5(files[file])] for file, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(files[kind.meta["filename"]])})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for file, content in files.items():
            member = tarfile.TarInfo(f"{kind.base_folder}/{file}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    filename = cifar.ARCHIVES[name].name
    content = put(folder / filename, stream.getvalue())
    monkeypatch.setitem(cifar.ARCHIVES, name, Archive(filename, md5(content), ()))
    return {split: (of.reshape(-1, 3, 32, 32), labels[split]) for split, of in pixels.items()}


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar(monkeypatch, tmp_path, name, classes):
    expected = cifar_archive(monkeypatch, tmp_path, name)
    dataset = prepared({"source": name}, tmp_path)
    assert (dataset.classes, dataset.shape) == (classes, (3, 32, 32))
    assert (dataset.mean, dataset.std) == ([0.4914, 0.4822, 0.4465], [0.247, 0.243, 0.261])
    for split, (pixels, labels) in expected.items():
        assert np.array_equal(dataset.split(split)[0], pixels)
        assert np.array_equal(dataset.split(split)[1], labels)
    assert [path.name for path in tmp_path.iterdir()] == [cifar.ARCHIVES[name].name]


def test_the_published_checksums_are_those_of_torchvision():
    from torchvision import datasets as kinds

    for name, kind in (("cifar10", kinds.CIFAR10), ("cifar100", kinds.CIFAR100)):
        assert (cifar.ARCHIVES[name].name, cifar.ARCHIVES[name].md5) == (kind.filename, kind.tgz_md5)
        assert f"{cifar.ARCHIVES[name].mirrors[0]}{kind.filename}" == kind.url
    for name, kind in (("mnist", kinds.MNIST), ("fashion_mnist", kinds.FashionMNIST)):
        assert [(archive.name, archive.md5) for archive in mnist.ARCHIVES[name]] == kind.resources
        assert set(kind.mirrors) <= set(mnist.ARCHIVES[name][0].mirrors)


def idx(array):
    """The bytes of an array of bytes in the format of MNIST."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist(monkeypatch, tmp_path, name):
    expected = {split: (noise(count, 28, 28, seed=count), np.arange(count) % 10) for split, count in SIZES.items()}
    archives = []
    for archive in mnist.ARCHIVES[name]:
        images, labels = expected["train" if archive.name.startswith("train") else "test"]
        content = gzip.compress(idx(images if "images" in archive.name else labels.astype(np.uint8)))
        put(tmp_path / name / archive.name, content)
        archives.append(Archive(archive.name, md5(content), ()))
    monkeypatch.setitem(mnist.ARCHIVES, name, archives)
    dataset = prepared({"source": name}, tmp_path)
    assert (dataset.classes, dataset.shape) == (10, (1, 28, 28))
    assert dataset.mean == [pytest.approx(expected["train"][0].mean() / 255, abs=1e-6)]
    for split, (images, labels) in expected.items():
        assert np.array_equal(dataset.split(split)[0][:, 0], images)
        assert np.array_equal(dataset.split(split)[1], labels)


SIZES = {"train": 30, "test": 20}


@pytest.fixture
def tiny_images(monkeypatch, tmp_path):
    """Two classes, the first name in the list being the last in the alphabet; the images are JPEG, one of them grey."""
    root, contents = tiny_imagenet.ROOT, {}
    words = ["n02", "n01"]
    for word in words:
        for number in range(3):
            array = noise(64, 64, 3, seed=number + 10 * words.index(word))
            array = array[..., 0] if (word, number) == ("n02", 1) else array
            contents[f"{root}/train/{word}/images/{word}_{number}.JPEG"] = encoded(array, "JPEG")
        contents[f"{root}/train/{word}/{word}_boxes.txt"] = b""
    lines = []
    for number, word in enumerate(["n02", "n02", "n01"]):
        contents[f"{root}/val/images/val_{number}.JPEG"] = encoded(noise(64, 64, 3, seed=50 + number), "JPEG")
        lines.append(f"val_{number}.JPEG\t{word}\t0\t32\t44\t62")
    contents[f"{root}/test/images/test_0.JPEG"] = encoded(noise(64, 64, 3), "JPEG")
    contents[f"{root}/wnids.txt"] = "\n".join(words).encode()
    contents[f"{root}/val/val_annotations.txt"] = "\n".join(lines).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    content = put(tmp_path / tiny_imagenet.ARCHIVE.name, stream.getvalue())
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE", Archive(tiny_imagenet.ARCHIVE.name, md5(content), ()))
    return tmp_path, contents


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)


def test_tiny_imagenet(tiny_images):
    folder, contents = tiny_images
    dataset = prepared({"source": "tiny_imagenet"}, folder)
    assert (dataset.classes, dataset.shape) == (2, (3, 64, 64))
    assert (dataset.mean, dataset.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    # The validation images, sorted into classes by their list.
    assert dataset.test_labels.tolist() == [1, 1, 0]
    names = [f"train/n0{c}/images/n0{c}_{n}.JPEG" for c in (1, 2) for n in range(3)]
    for split, of_split in (("train", names), ("test", [f"val/images/val_{n}.JPEG" for n in range(3)])):
        for image, name in zip(dataset.split(split)[0], of_split, strict=True):
            assert np.array_equal(image, pixels(contents[f"{tiny_imagenet.ROOT}/{name}"])), name


def test_tiny_imagenet_is_resized_as_pillow_does(tiny_images):
    folder, contents = tiny_images
    dataset = prepared({"source": "tiny_imagenet", "size": 32}, folder)
    assert dataset.shape == (3, 32, 32)
    whole = Image.open(io.BytesIO(contents[f"{tiny_imagenet.ROOT}/val/images/val_0.JPEG"]))
    expected = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR)).astype(int).transpose(2, 0, 1)
    assert np.abs(dataset.test_images[0].numpy().astype(int) - expected).max() <= 1


def test_a_sources_own_test_split_is_sliced_by_class(tiny_images):
    dataset = prepared({"source": "tiny_imagenet", "train_images": 4, "test_images": 2}, tiny_images[0])
    assert sorted(dataset.train_labels.tolist()) == [0, 0, 1, 1]
    assert sorted(dataset.test_labels.tolist()) == [0, 1]


def test_a_damaged_archive_is_named_and_stays(tiny_images, one_line):
    folder, _ = tiny_images
    path = folder / tiny_imagenet.ARCHIVE.name
    content = put(path, path.read_bytes()[:-5])
    with one_line(ValueError, path, "damaged", tiny_imagenet.ARCHIVE.md5):
        prepared({"source": "tiny_imagenet"}, folder)
    assert path.read_bytes() == content


# A folder of pictures


@pytest.fixture
def folder(tmp_path):
    """6 training and 4 test images of 10x8 in two classes, class by class, of three formats."""
    folder = tmp_path / "pictures"
    for split, per_class in (("train", 3), ("test", 2)):
        for label, name in enumerate(["ant", "bee"]):
            for number in range(per_class):
                kind = ("PNG", "JPEG", "WEBP")[number]
                content = encoded(noise(8, 10, 3, seed=label * 10 + number + per_class * 100), kind)
                put(folder / split / name / f"{number}.{kind.lower()}", content)
    for name in ("ant/.DS_Store", "ant/Thumbs.db", "bee/desktop.ini", "__MACOSX/ant"):
        put(folder / "train" / name, b"no image")
    return folder


def of_folder(folder, **more):
    return prepared({"source": "image_folder", "path": str(folder), **more})


def test_an_image_folder(folder):
    dataset = of_folder(folder)
    assert (dataset.classes, dataset.shape) == (2, (3, 8, 10))
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.test_labels.tolist() == [0, 0, 1, 1]
    assert sorted(dataset.split("alignment")[1].tolist()) == [0, 0, 1, 1]
    expected = [pixels(path.read_bytes()) for path in sorted((folder / "train").glob("*/[0-9]*"))]
    assert np.array_equal(dataset.train_images, np.stack(expected))
    values = dataset.train_images.double() / 255
    np.testing.assert_allclose(dataset.mean, values.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(dataset.std, values.std((0, 2, 3)), atol=1e-6)


def test_a_folder_of_grey_images_has_one_channel(folder):
    for path in folder.glob("*/*/[0-9]*"):
        put(path, encoded(noise(8, 10, seed=len(path.name)), "PNG"))
    assert of_folder(folder).shape == (1, 8, 10)
    put(folder / "test" / "bee" / "9.png", encoded(noise(8, 10, 3), "PNG"))
    assert of_folder(folder).shape == (3, 8, 10)


def test_images_are_cut_to_their_middle_square_and_resized(folder):
    columns = np.zeros((8, 10, 3), np.uint8)
    columns[:, 1:9] = 200  # what the square leaves out is black
    put(folder / "train" / "ant" / "0.png", encoded(columns))
    put(folder / "train" / "ant" / "1.jpeg", encoded(np.full((30, 16, 3), 77, np.uint8)))
    dataset = of_folder(folder, size=8)
    assert dataset.shape == (3, 8, 8)
    assert (dataset.train_images[0] == 200).all()
    assert (dataset.train_images[1] == 77).all()
    assert of_folder(folder, size=16).shape == (3, 16, 16)


BAD_FOLDERS = {
    "no folder": (lambda f: f.rename(f.with_name("away")), ["train", "does not exist", "image_folder"]),
    "no test": (lambda f: f.joinpath("test").rename(f / "validation"), ["test", "does not exist"]),
    "no classes": (lambda f: shutil.rmtree(f / "train") or put(f / "train/a.png", b""), ["train", "has no folders"]),
    "empty class": (lambda f: f.joinpath("train", "cat").mkdir(), ["train/cat", "is empty"]),
    "class without test images": (lambda f: put(f / "train/cat/0.png", PICTURE), ["test has no", "cat"]),
    "class of the test alone": (lambda f: put(f / "test/cat/0.png", PICTURE), ["train has no", "cat"]),
    "no image": (lambda f: put(f / "train/bee/notes.txt", b"hello"), ["train/bee/notes.txt is no image", "Pillow"]),
    "empty file": (lambda f: put(f / "train/bee/0.png", b""), ["train/bee/0.png is no image"]),
    "folder in a class": (lambda f: f.joinpath("train/bee/more").mkdir(), ["train/bee/more", "cannot be read"]),
    "truncated JPEG": (
        lambda f: put(f / "test/bee/1.jpeg", f.joinpath("test/bee/1.jpeg").read_bytes()[:300]),
        ["test/bee/1.jpeg", "cannot be read"],
    ),
    "truncated PNG": (lambda f: put(f / "test/bee/0.png", PICTURE[:-30]), ["test/bee/0.png", "cannot be read"]),
    "truncated AVIF": (
        lambda f: put(f / "test/bee/1.avif", encoded(noise(16, 16, 3), "AVIF")[:-20]),
        ["test/bee/1.avif", "cannot be read"],
    ),
    "one class": (
        lambda f: [shutil.rmtree(f / split / "bee") for split in ("train", "test")],
        ["all labels are the same", "at least two classes"],
    ),
    "another size": (
        lambda f: put(f / "train/bee/0.png", encoded(noise(9, 11, 3))),
        ["train/bee/0.png", "11x9", "train/ant/0.png", "10x8", "size"],
    ),
    "more than eight bits": (
        lambda f: put(f / "train/bee/0.png", encoded(np.zeros((8, 10), np.uint16))),
        ["train/bee/0.png", "more than eight bits"],
    ),
}


@pytest.mark.parametrize(("spoil", "words"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_a_folder_that_is_not_as_it_should_be_is_one_line(folder, one_line, spoil, words):
    spoil(folder)
    with one_line(ValueError, *words):
        of_folder(folder)


def layer(colour, alpha):
    """A picture (8, 10) of one colour, the rest of it in its transparency: alpha (8, 10)."""
    return np.dstack([np.broadcast_to(np.uint8(colour), (8, 10, 3)), alpha])


def palette(colour, alpha):
    """A PNG of two colours, the second of them transparent."""
    image = Image.fromarray((alpha > 127).astype(np.uint8))
    image.putpalette([*colour, 0, 0, 0])
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=1)
    return stream.getvalue()


SHAPE = noise(8, 10, seed=3)
LAYERS = {
    "RGBA": lambda grey: encoded(layer([grey] * 3, SHAPE)),
    "LA": lambda grey: encoded(np.dstack([np.full((8, 10), grey, np.uint8), SHAPE])),
    "palette": lambda grey: palette([grey] * 3, SHAPE),
    "WEBP": lambda grey: encoded(layer([grey] * 3, np.where(SHAPE > 127, 255, 0).astype(np.uint8)), "WEBP"),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("grey", "background"), [(0, None), (0, [128, 128, 128]), (255, [0, 0, 0])])
def test_what_is_transparent_is_laid_on_the_background(folder, kind, grey, background):
    put(folder / "train/ant/0.png", LAYERS[kind](grey))
    with pytest.warns(remarks.Remark, match=r"1 of 6 images are transparent.*train/ant/0\.png"):
        dataset = of_folder(folder, **({"background": background} if background else {}))
    behind = (background or [255])[0]
    if kind in ("RGBA", "LA"):
        expected = (grey * (SHAPE / 255) + behind * (1 - SHAPE / 255)).round()
    else:
        opaque = SHAPE > 127 if kind == "WEBP" else SHAPE <= 127
        expected = np.where(opaque, grey, behind)
    assert np.abs(dataset.train_images[0].numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", LAYERS)
def test_content_that_vanishes_on_the_background_is_refused(folder, one_line, kind):
    """White shapes on white were trained on, to a barrier of zero."""
    put(folder / "test/bee/0.png", LAYERS[kind](255))
    with one_line(ValueError, "test/bee/0.png", "[255, 255, 255]", "transparency", "another background", "[0, 0, 0]"):
        of_folder(folder)
    put(folder / "test/bee/0.png", LAYERS[kind](4))
    with one_line(ValueError, "test/bee/0.png", "[0, 0, 0]"):
        of_folder(folder, background=[0, 0, 0])


def test_an_opaque_layer_changes_no_bit(folder, recwarn):
    put(folder / "train/ant/0.png", encoded(np.dstack([noise(8, 10, 3), np.full((8, 10), 255, np.uint8)])))
    assert np.array_equal(of_folder(folder, background=[1, 2, 3]).train_images[0], noise(8, 10, 3).transpose(2, 0, 1))
    assert not recwarn.list


def of_two_frames(kind):
    stream = io.BytesIO()
    frames = [Image.fromarray(noise(8, 10, 3, seed=seed)) for seed in (0, 1)]
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def of_16_bits():
    """A PNG of 10x8 pixels in colour with 16 bits a channel, which Pillow reads but cannot write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = np.random.default_rng(0).integers(0, 2**16, (8, 10 * 3)).astype(">u2")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 8, 16, 2, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + content + chunk(b"IEND", b"")


def in_cmyk():
    stream = io.BytesIO()
    Image.fromarray(noise(8, 10, 3)).convert("CMYK").save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (of_two_frames("GIF"), "several frames, of which the first"),
        (of_two_frames("PNG"), "several frames, of which the first"),
        (of_16_bits(), "16 bits a channel"),
        (b"P6 10 8 65535\n" + noise(8, 10, 6).tobytes(), "16 bits a channel"),
        (in_cmyk(), "another colour space"),
    ],
)
def test_what_is_left_out_or_converted_is_said(folder, content, words):
    put(folder / "train/ant/0.png", content)
    with pytest.warns(remarks.Remark) as said:
        of_folder(folder)
    assert len(said) == 1 and "1 of 6 images" in str(said[0].message)
    assert words in str(said[0].message) and "train/ant/0.png" in str(said[0].message)


def test_ordinary_pictures_need_no_remark(folder, recwarn):
    of_folder(folder)
    assert not recwarn.list


def test_one_coloured_pixel_is_said_by_its_file(folder):
    for path in folder.glob("*/*/[0-9]*"):
        put(path, encoded(noise(8, 10)))
    array = np.repeat(noise(8, 10)[..., None], 3, axis=2)
    array[4, 4, 0] ^= 255
    put(folder / "test/ant/1.jpeg", encoded(array))
    with pytest.warns(remarks.Remark, match=r"in 1 of 10 images.*three channels.*test/ant/1\.jpeg"):
        assert of_folder(folder).shape == (3, 8, 10)


def test_files_beside_the_folders_of_classes_are_said(folder):
    put(folder / "train/0.png", PICTURE)
    with pytest.warns(remarks.Remark, match=r"1 files lie beside.*train/0\.png"):
        of_folder(folder)


def test_splits_of_different_sizes_are_one_line(folder, one_line):
    for path in folder.glob("test/*/[0-9]*"):
        put(path, encoded(noise(12, 12, 3)))
    with one_line(ValueError, "test images", "(3, 12, 12)", "(3, 8, 10)"):
        of_folder(folder)


def test_progress_is_a_line_for_each_tenth(capsys):
    pictures.decoded(range(40), lambda number: encoded(noise(4, 4, seed=number)))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"decode: {done} of 40 images" for done in range(4, 41, 4)]


# Arrays of one's own


def arrays(**changes):
    """4 images of 5x6 in two classes for training and 2 for testing, with some arrays replaced or, if None, absent."""
    found = {"x_train": noise(4, 5, 6, 3), "y_train": np.array([0, 0, 1, 1]), "x_test": noise(2, 5, 6, 3, seed=1)}
    found |= {"y_test": np.array([1, 0])} | changes
    return {name: array for name, array in found.items() if array is not None}


@pytest.fixture
def of_arrays(tmp_path):
    def prepare(**changes):
        np.savez(tmp_path / "own.npz", **arrays(**changes))
        return prepared({"source": "npz", "path": str(tmp_path / "own.npz")})

    return prepare


def test_an_npz_of_images(of_arrays):
    dataset = of_arrays()
    assert (dataset.classes, dataset.shape) == (2, (3, 5, 6))
    assert dataset.train_images.dtype == torch.uint8
    assert np.array_equal(dataset.train_images.permute(0, 2, 3, 1), noise(4, 5, 6, 3))
    assert dataset.test_labels.tolist() == [1, 0]


def test_an_npz_of_grey_images(of_arrays):
    dataset = of_arrays(x_train=noise(4, 5, 6), x_test=noise(2, 5, 6))
    assert np.array_equal(dataset.train_images[:, 0], noise(4, 5, 6))


def test_an_npz_of_floats_gives_networks_what_bytes_give(of_arrays):
    floats = of_arrays(x_train=noise(4, 5, 6, 3) / 255, x_test=noise(2, 5, 6, 3, seed=1) / 255)
    assert floats.train_images.dtype == torch.float32
    pixels = of_arrays()
    torch.testing.assert_close(floats.example(4), pixels.example(4))
    np.testing.assert_allclose(floats.mean, pixels.mean, atol=1e-6)
    np.testing.assert_allclose(floats.std, pixels.std, atol=1e-6)


@pytest.mark.parametrize("kind", [">f4", np.longdouble, np.float16])
def test_an_npz_of_any_floats(of_arrays, kind):
    pixels = of_arrays(x_train=(noise(4, 5, 6) / 255).astype(kind), x_test=(noise(2, 5, 6) / 255).astype(kind))
    torch.testing.assert_close(
        pixels.example(4)[:, 0], torch.from_numpy(noise(4, 5, 6) / 255).float(), atol=1e-3, rtol=0
    )


def test_an_npz_of_features(of_arrays):
    features = np.random.default_rng(0).normal(5, 100, (4, 7))
    dataset = of_arrays(x_train=features, x_test=features[:2])
    assert dataset.shape == (7, 1, 1)
    np.testing.assert_allclose(dataset.example(4)[:, :, 0, 0], features.astype(np.float32))
    np.testing.assert_allclose(dataset.mean, features.mean(0), rtol=1e-6)
    np.testing.assert_allclose(dataset.std, features.std(0, ddof=1), rtol=1e-6)


BAD_ARRAYS = {
    "missing array": ({"y_test": None}, ["own.npz", "no array y_test"]),
    "labels that are no integers": ({"y_train": np.array([0.0, 0, 1, 1])}, ["y_train", "float64", "integers"]),
    "labels of two axes": ({"y_train": np.eye(4, dtype=int)}, ["y_train", "(4, 4)", "integers"]),
    "too few labels": ({"y_test": np.array([1])}, ["y_test", "1 labels for 2 images"]),
    "negative label": ({"y_test": np.array([1, -1])}, ["y_test", "-1"]),
    "test without a class": ({"y_test": np.array([1, 1])}, ["class 0 of 2", "no test image"]),
    "class that is only tested": ({"y_test": np.array([1, 2])}, ["class 2 of 3", "no training image"]),
    "images of integers": ({"x_train": noise(4, 5, 6, 3).astype(int)}, ["x_train", "int64", "uint8"]),
    "pixels up to 255 as floats": ({"x_train": noise(4, 5, 6, 3) * 1.0}, ["x_train", "outside [0, 1]", "divide"]),
    "not finite": ({"x_test": np.full((2, 5, 6, 3), np.nan)}, ["x_test", "not finite"]),
    "channels first": ({"x_train": noise(4, 3, 5, 6)}, ["x_train", "(4, 3, 5, 6)", "channels first"]),
    "one axis": ({"x_train": noise(4)}, ["x_train", "(4,)", "N×H×W"]),
    "two types": ({"x_test": noise(2, 5, 6, 3) / 255}, ["x_train and x_test", "float"]),
    "two sizes": ({"x_test": noise(2, 6, 6, 3)}, ["test images", "(3, 6, 6)", "(3, 5, 6)"]),
    "no images": ({"x_train": noise(0, 5, 6, 3), "y_train": np.array([], int)}, ["no training images"]),
    "labels that are no numbers of classes": ({"y_train": np.array([0, 0, 1, 10**12])}, ["y_train", "without gaps"]),
    "empty images": ({"x_train": noise(4, 0, 6, 3)}, ["x_train", "(4, 0, 6, 3)", "nothing"]),
    "one class": (
        {"y_train": np.zeros(4, int), "y_test": np.zeros(2, int)},
        ["all labels are the same", "two classes"],
    ),
    "floats too large": ({"x_train": np.full((4, 3), 1e300)}, ["x_train", "too large for float32"]),
    "objects": ({"y_train": np.array([0, 0, 1, None])}, ["own.npz", "plain arrays"]),
}


@pytest.mark.parametrize(("changes", "words"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_that_are_not_as_they_should_be_are_one_line(of_arrays, one_line, changes, words):
    with one_line(ValueError, *words):
        of_arrays(**changes)


def test_a_class_that_is_cut_away_names_the_keys_that_cut_it(tmp_path, one_line):
    np.savez(tmp_path / "own.npz", **arrays())
    own = {"source": "npz", "path": str(tmp_path / "own.npz")}
    for cut in ({"hold_out": 3}, {"train_images": 1}):
        with one_line(ValueError, "no training image", "raise train_images, or lower hold_out"):
            prepared({**own, **cut})
    with one_line(ValueError, "hold_out 4", "only 4 images"):
        prepared({**own, "hold_out": 4})
    with one_line(ValueError, "no test image", "raise test_images"):
        prepared({**own, "test_images": 1})


LARGE = np.array([[1e9, 1], [1e9 + 1, 2], [1e9 + 2, 3], [1e9 + 3, 4]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_train": LARGE, "x_test": LARGE[:2] % 1e9}, "x_train is float64.*1 of 2 features lose digits.*feature 0"),
        ({"x_train": LARGE * 1e-60, "x_test": LARGE[:2] % 1e9}, "x_train is float64.*2 of 2 features lose digits"),
        ({name: np.repeat(noise(n, 5, 6, 1), 3, 3) for name, n in (("x_train", 4), ("x_test", 2))}, "three channels"),
    ],
)
def test_arrays_that_may_not_be_meant_are_said(of_arrays, changes, words):
    with pytest.warns(remarks.Remark, match=words):
        of_arrays(**changes)


def test_ordinary_arrays_need_no_remark(of_arrays, recwarn):
    features = np.random.default_rng(0).normal(5, 100, (4, 7))
    features[:, 0] = 0.1
    of_arrays(x_train=features, x_test=features[:2])
    of_arrays(x_train=noise(4, 5, 6, 3) / 255, x_test=noise(2, 5, 6, 3) / 255)
    of_arrays()
    assert not recwarn.list


def test_a_share_that_leaves_no_image_for_alignment_is_one_line(of_arrays, one_line, monkeypatch):
    monkeypatch.setitem(SPLITS, "alignment_fraction", 0.1)
    with one_line(ValueError, "alignment_fraction 0.1 of 4 training images", "raise it"):
        of_arrays()


def test_a_file_that_is_no_npz_is_one_line(tmp_path, one_line):
    path = tmp_path / "own.npz"
    with one_line(ValueError, path, "is no file"):
        prepared({"source": "npz", "path": str(path)})
    for content in (b"", b"hello", b"PK\x03\x04 and no more"):
        path.write_bytes(content)
        with one_line(ValueError, path, "no .npz"):
            prepared({"source": "npz", "path": str(path)})
    np.save(tmp_path / "own.npy", np.zeros(3))
    with one_line(ValueError, "own.npy", "no .npz", "single array"):
        prepared({"source": "npz", "path": str(tmp_path / "own.npy")})


# Points


MOONS = {"source": "moons", "count": 200, "noise": 0.1, "test_fraction": 0.5}


@pytest.mark.parametrize(
    ("source", "points", "labels"),
    [
        (MOONS, *make_moons(200, noise=0.1, random_state=0)),
        (MOONS | {"source": "blobs", "noise": 2}, *make_blobs(200, centers=2, cluster_std=2, random_state=0)),
        (
            MOONS | {"source": "gaussian_quantiles"},
            *make_gaussian_quantiles(n_samples=200, n_classes=2, random_state=0),
        ),
    ],
    ids=["moons", "blobs", "gaussian_quantiles"],
)
def test_points_are_those_of_scikit_learn(source, points, labels):
    dataset = prepared(source)
    assert (dataset.classes, dataset.shape) == (2, (2, 1, 1))
    assert len(dataset.train_labels) == len(dataset.test_labels) == 100
    found = torch.cat([dataset.train_images, dataset.test_images]).flatten(1)
    of = dict(zip(map(tuple, points.astype(np.float32).tolist()), labels.tolist()))
    known = [of[tuple(point)] for point in found.tolist()]
    assert known == torch.cat([dataset.train_labels, dataset.test_labels]).tolist()


def test_the_nearer_half_of_gaussian_quantiles_is_a_class():
    dataset = prepared({"source": "gaussian_quantiles", "count": 200, "test_fraction": 0.5})
    radii = torch.cat([dataset.train_images, dataset.test_images]).flatten(1).norm(dim=1)
    labels = torch.cat([dataset.train_labels, dataset.test_labels])
    assert radii[labels == 0].max() < radii[labels == 1].min()


def test_a_population_learns_moons(tmp_path):
    tensors, metadata = datasets.prepare({**SPLITS, **MOONS})
    artifacts.save(tmp_path / "moons", tensors, {"rule": "prepare_data", **metadata})
    dataset = Dataset.of(*artifacts.load(tmp_path / "moons"), "cpu")
    population = [networks.of({"family": "mlp", "hidden": [16], "norm": "none"}, dataset, seed) for seed in (1, 2, 3)]
    functional = Functional(population[0])
    vectors, buffers = functional.stack(network.state_dict() for network in population)
    vectors.requires_grad_(True)
    optimizer = torch.optim.Adam([vectors], 0.1)
    objective = classification.objective_of(functional, vectors, buffers, None)
    for epoch in range(30):
        for batch in datasets.batches(dataset, [1, 2, 3], epoch, 0, 50, {"shift": 0}):
            optimizer.zero_grad()
            objective(batch)[0].sum().backward()
            optimizer.step()
    _, accuracy = classification.evaluate(functional, vectors.detach(), buffers, *dataset.split("test"), 50)
    # A straight line gets no more than nine in ten.
    assert accuracy.min() > 0.95
