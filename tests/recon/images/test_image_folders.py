"""Folders with one image per file. Truth: files written here, whose order is that of their numbers."""

import resource
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from aet2dft.config import ImagesSettings, ReadSettings
from aet2dft.errors import InputError
from aet2dft.inspection import inspect
from aet2dft.recon.images.image_folders import check_order, folder_stack, image_files
from aet2dft.recon.images.readers import read_tilt_series

IMAGES = np.random.default_rng(0).random((3, 20, 24)).astype(np.float32)
TILTS = np.array([-60.0, 0.0, 60.0])


def folder(tmp_path, names, images=IMAGES):
    (tmp_path / "tilts").mkdir()
    for name, image in zip(names, images, strict=True):
        tifffile.imwrite(tmp_path / "tilts" / name, image)
    return tmp_path / "tilts"


def test_the_files_are_one_series_in_the_order_of_their_numbers_and_that_is_said(tmp_path):
    path = folder(tmp_path, ["im8.tif", "im9.tif", "im10.tif"])
    (path / "notes.txt").write_text("of another kind")
    (path / ".im1.tif").write_bytes(b"of the system")
    np.savetxt(tmp_path / "angles.txt", TILTS)
    series, notes = read_tilt_series(path, ImagesSettings(angles=tmp_path / "angles.txt", pixel_size=0.4))
    assert_array_equal(series.projections, IMAGES)
    assert notes[0] == "3 files of tilts, im8.tif to im10.tif, taken in this order"
    found = inspect(path, None, ReadSettings())
    assert (found["kind"], found["shape"], found["notes"]) == ("tilt_series", [3, 20, 24], [notes[0]])


@pytest.mark.parametrize(
    "names",
    [
        ["a_-60.0.tif", "a_+00.0.tif", "a_+60.0.tif"],
        ["a-60.tif", "a0.tif", "a60.tif"],
        ["2026-01-08.tif", "2026-01-09.tif", "2026-01-10.tif"],
        ["a-2.tif", "a-3.tif", "b-1.tif"],
    ],
)
def test_a_minus_is_a_sign_and_a_hyphen_is_none(tmp_path, names):
    assert [file.name for file in image_files(folder(tmp_path, names))] == names


def test_mrc_files_say_the_size_of_a_pixel(tmp_path):
    for k, image in enumerate(IMAGES):
        with mrcfile.new(tmp_path / f"{k}.mrc") as file:
            file.set_data(np.ascontiguousarray(image.T))
            file.voxel_size = 0.37
    stack, _ = folder_stack(tmp_path)
    assert_array_equal(stack.load(), IMAGES)
    assert stack.pixel_size((1, 2), tmp_path) == pytest.approx(0.37)
    tifffile.imwrite(tmp_path / "3.tif", IMAGES[0])
    with pytest.raises(InputError, match=r"several kinds \(mrc, tif\)"):
        folder_stack(tmp_path)


def test_a_folder_may_hold_more_images_than_files_may_be_open(tmp_path):
    for k in range(30):
        np.save(tmp_path / f"{k}.npy", IMAGES[k % 3])
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, hard))
    try:
        assert_array_equal(folder_stack(tmp_path)[0].load(), np.tile(IMAGES, (10, 1, 1)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def test_files_that_make_no_stack_are_refused(tmp_path):
    path = folder(tmp_path, ["a.tif", "b.tif", "c.tif"], [IMAGES[0], IMAGES[1], IMAGES[2, 1:]])
    with pytest.raises(InputError, match=r"c\.tif has shape \(19, 24\), 2 others \(20, 24\)"):
        folder_stack(path)
    tifffile.imwrite(path / "c.tif", IMAGES, photometric="minisblack")
    with pytest.raises(InputError, match=r"c\.tif: holds an array of shape \(3, 20, 24\), not one image"):
        folder_stack(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is a folder without images"):
        folder_stack(tmp_path / "empty")


def test_tilts_in_the_names_and_in_the_list_must_have_one_order(tmp_path):
    path = folder(tmp_path, ["a_-60.2.tif", "a_0.1.tif", "a_59.9.tif"])
    check_order(path, TILTS)
    check_order(path, np.array([-30.0, 40.0, 50.0]))
    with pytest.raises(InputError, match=r"a_-60\.2\.tif is the image at -60\.2 degrees, by its place .* at 60"):
        check_order(path, TILTS[::-1])
    for file, name in zip(image_files(path), ("a-30.tif", "a-60.tif", "a-70.tif"), strict=True):
        file.rename(path / name)
    with pytest.raises(InputError, match=r"a-30\.tif .* by its place in the list of angles at -70"):
        check_order(path, np.array([-70.0, -60.0, -30.0]))
