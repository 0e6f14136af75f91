"""Images and volumes from files of every kind. Truth: arrays written by the formats' libraries; published files."""

import logging

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
from ase import Atoms
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import loadmat, savemat
from scipy.ndimage import affine_transform

from aet2dft.config import ImagesSettings, VolumeSettings
from aet2dft.errors import InputError, ParseError
from aet2dft.recon.atoms.simulate import simulate
from aet2dft.recon.geometry import euler_rotations
from aet2dft.recon.images.array_files import stored_arrays
from aet2dft.recon.images.readers import read_support, read_tilt_series, read_volume

TILTS = np.linspace(-70.0, 60.0, 14)
SHAPE = (24, 20)


@pytest.fixture(scope="module")
def images():
    """Images (14, 24, 20) of a few atoms: no two are equal, and no two axes have the same length."""
    random = np.random.default_rng(5)
    atoms = Atoms("Pt9", positions=random.uniform(-2, 2, (9, 3)))
    return simulate(atoms, TILTS, shape=SHAPE, pixel_size=0.37).projections


def hdf5(path, images, name="data", **attributes):
    with h5py.File(path, "w") as file:
        file[name] = images
        file.attrs.update(attributes)


def mat_7_3(path, images):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["images"] = images.T  # MATLAB counts the other way round
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def mrc(path, images):
    with mrcfile.new(path) as file:
        file.set_data(np.ascontiguousarray(images.transpose(0, 2, 1)))  # sections of (y, x)
        file.voxel_size = 0.37


def pages(path, images):
    """As software writes that has the images one after the other."""
    with tifffile.TiffWriter(path) as file:
        for image in images:
            file.write(image)


WRITERS = {
    "a.npy": np.save,
    "b.npy": lambda path, images: np.save(path, np.moveaxis(images, 0, 2)),
    "a.npz": lambda path, images: np.savez(path, images=images, other=np.zeros(3)),
    "a.mat": lambda path, images: savemat(path, {"images": np.moveaxis(images, 0, 2)}),
    "b.mat": lambda path, images: mat_7_3(path, np.moveaxis(images, 0, 2)),
    "a.h5": hdf5,
    "a.emd": lambda path, images: hdf5(path, np.moveaxis(images, 0, 2), "data/Image/0/Data"),
    "a.tif": lambda path, images: tifffile.imwrite(path, images),
    "b.tif": pages,
    "a.mrc": mrc,
    "a.st": mrc,
}


def settings(tmp_path, angles=TILTS, **kwargs):
    np.savetxt(tmp_path / "angles.txt", angles)
    return ImagesSettings(**({"angles": tmp_path / "angles.txt", "pixel_size": 0.37} | kwargs))


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_images_that_were_written(tmp_path, images, name):
    WRITERS[name](tmp_path / name, images)
    series, notes = read_tilt_series(tmp_path / name, settings(tmp_path))
    assert series.projections.dtype == np.float32
    assert_array_equal(series.projections, images)
    assert_allclose(series.tilt_angles, TILTS)
    assert series.is_single_axis
    assert_array_equal(series.center, [[12, 10]] * 14)
    assert any("images of a.npz" in note for note in notes) == (name == "a.npz")


def test_the_pixel_size_of_an_mrc_file_is_taken_unless_it_is_given(tmp_path, images):
    mrc(tmp_path / "a.mrc", images)
    for given, expected in [(None, 0.37), (0.4, 0.4)]:
        series, _ = read_tilt_series(tmp_path / "a.mrc", settings(tmp_path, pixel_size=given))
        assert series.pixel_size == pytest.approx(expected)


def volume_mrc(path, values, **header):
    """A volume (x, y, z), and what the header says instead of the truth."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(np.ascontiguousarray(values.T))
        file.voxel_size = header.pop("voxel_size", 0.37)
        for name, value in header.items():
            setattr(file.header, name, value)


VOLUME = np.random.default_rng(7).random((6, 7, 8)).astype(np.float32)


def test_an_mrc_volume_with_exchanged_axes_is_put_in_order(tmp_path):
    """Truth: columns along z, rows along x, sections along y."""
    volume_mrc(tmp_path / "v.mrc", VOLUME.transpose(2, 0, 1), mapc=3, mapr=1, maps=2)
    assert_array_equal(read_volume(tmp_path / "v.mrc")[0].values, VOLUME)


def test_an_mrc_file_without_stamp_is_read_and_one_that_is_cut_off_refused(tmp_path):
    volume_mrc(tmp_path / "v.mrc", VOLUME, map=b"")
    assert_array_equal(read_volume(tmp_path / "v.mrc")[0].values, VOLUME)
    (tmp_path / "v.mrc").write_bytes((tmp_path / "v.mrc").read_bytes()[:-5])
    with pytest.raises(InputError, match="is cut off: 2363 bytes"):
        read_volume(tmp_path / "v.mrc")


@pytest.mark.parametrize("size", [9, 1000, 8500])
def test_a_tiff_file_that_is_cut_is_refused_and_its_library_adds_nothing(tmp_path, images, caplog, monkeypatch, size):
    logger = logging.getLogger("tifffile")
    monkeypatch.setattr(logger, "disabled", False)
    pages(tmp_path / "a.tif", images)
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:size])
    with pytest.raises(ParseError, match=r"a\.tif: "):
        read_tilt_series(tmp_path / "a.tif", settings(tmp_path))
    assert not caplog.records
    assert not logger.disabled


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"voxel_size": (0.37, 0.37, 0.74)}, "0.37 x 0.37 x 0.74 Å; only squares and cubes"),
        ({"mx": 0, "my": 0, "mz": 0}, "v.mrc: does not say how large a pixel is; give --voxel-size"),
        ({"cella": (0, 0, 0)}, "v.mrc: does not say how large a pixel is; give --voxel-size"),
    ],
)
def test_a_header_without_a_size_of_voxels_asks_for_it(tmp_path, header, message):
    volume_mrc(tmp_path / "v.mrc", VOLUME, **header)
    with pytest.raises(InputError, match=message):
        read_volume(tmp_path / "v.mrc")
    assert read_volume(tmp_path / "v.mrc", VolumeSettings(voxel_size=0.4))[0].voxel_size == 0.4


def test_complex_values_are_refused(tmp_path, images):
    volume_mrc(tmp_path / "v.mrc", VOLUME.astype(np.complex64))
    savemat(tmp_path / "v.mat", {"v": VOLUME + 1j})
    for name in ("v.mrc", "v.mat"):
        with pytest.raises(InputError, match="complex"):
            read_volume(tmp_path / name, VolumeSettings(voxel_size=0.4))


def test_sections_of_a_stack_may_be_as_far_apart_as_they_like_and_a_size_of_one_is_doubted(tmp_path, images):
    volume_mrc(tmp_path / "a.mrc", images.transpose(1, 2, 0), voxel_size=(1.0, 1.0, 14.0))
    series, notes = read_tilt_series(tmp_path / "a.mrc", settings(tmp_path, pixel_size=None))
    assert series.pixel_size == 1.0
    assert "pixels of 1 Å, as a.mrc says, which is what much software writes" in notes[0]


@pytest.mark.parametrize(("unit", "length"), [("[n_m]", 10.0), ("Å", 1.0), (b"A", 1.0), ("[p_x]", None)])
def test_the_coordinates_beside_the_array_of_an_emd_file_give_the_size_of_a_pixel(tmp_path, images, unit, length):
    with h5py.File(tmp_path / "a.emd", "w") as file:
        file["data/tilts/data"] = np.moveaxis(images, 0, 2)
        for k, size in enumerate(SHAPE, start=1):
            file[f"data/tilts/dim{k}"] = np.arange(size) * 0.037
            file[f"data/tilts/dim{k}"].attrs["units"] = unit
        file["data/tilts/dim3"] = np.array(TILTS)
    words = settings(tmp_path, pixel_size=None)
    if length is None:
        with pytest.raises(InputError, match=r"a\.emd: does not say how large a pixel is"):
            read_tilt_series(tmp_path / "a.emd", words)
        return
    if length == 1.0:
        words = words.model_copy(update={"any_pixel_size": True})
    series, notes = read_tilt_series(tmp_path / "a.emd", words)
    assert series.pixel_size == pytest.approx(0.037 * length)
    assert any("as a.emd says" in note for note in notes)


def test_a_size_of_pixels_that_the_header_denies_is_said(tmp_path, images):
    mrc(tmp_path / "a.mrc", images)
    for given, said in [(0.35, True), (0.371, False)]:
        _, notes = read_tilt_series(tmp_path / "a.mrc", settings(tmp_path, pixel_size=given))
        assert ("--pixel-size 0.35 taken; a.mrc says 0.37 Å" in notes) == said


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize(("name", "unit", "factor"), [("tilt", b"[deg]", 1.0), ("Angles", "rad", np.pi / 180)])
def test_an_emd_file_may_say_the_tilts(tmp_path, images, axis, name, unit, factor):
    hdf5(tmp_path / "a.emd", np.moveaxis(images, 0, axis), "data/tilts/data")
    with h5py.File(tmp_path / "a.emd", "a") as file:
        dim = file["data/tilts"].create_dataset(f"dim{axis + 1}", data=TILTS * factor)
        dim.attrs.update({"name": name, "units": unit})
    series, notes = read_tilt_series(tmp_path / "a.emd", ImagesSettings(pixel_size=0.37))
    assert_allclose(series.tilt_angles, TILTS)
    assert_array_equal(series.projections, images)
    assert notes[0] == "angles as a.emd says beside data/tilts/data: -70 to 60 degrees"
    assert_allclose(read_tilt_series(tmp_path / "a.emd", settings(tmp_path, -TILTS))[0].tilt_angles, -TILTS)


def test_without_angles_an_mrc_file_says_that_its_extended_header_is_not_read(tmp_path, images):
    mrc(tmp_path / "a.mrc", images)
    with pytest.raises(
        InputError, match=r"not known \(those in extended headers of MRC files are not read\).*--angles"
    ):
        read_tilt_series(tmp_path / "a.mrc", ImagesSettings(pixel_size=0.37))


@pytest.mark.parametrize(
    ("name", "shape", "n"),
    [("v", (5, 20, 20), 5), ("v", (24, 20, 7), 7), ("v", (20, 20, 11), 11), ("my_proj", (24, 16, 11), 11)],
)
def test_a_volume_that_may_be_a_stack_of_images_is_said(tmp_path, name, shape, n):
    np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).random(shape))
    notes = read_volume(tmp_path / f"{name}.npy", VolumeSettings(voxel_size=0.4))[1]
    assert f"a stack of {n} images" in notes[0]


@pytest.mark.parametrize(("name", "shape"), [("v", (24, 20, 12)), ("v", (20, 8, 20)), ("my_proj", (20, 20, 18))])
def test_what_has_the_shape_of_a_volume_is_one(tmp_path, name, shape):
    np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).random(shape))
    assert read_volume(tmp_path / f"{name}.npy", VolumeSettings(voxel_size=0.4))[1] == ()


def test_the_axis_that_has_the_length_of_the_angles_counts_the_images(tmp_path, images):
    cube = np.random.default_rng(0).uniform(size=(14, 14, 9)).astype(np.float32)
    np.save(tmp_path / "cube.npy", cube)
    with pytest.raises(InputError, match=r"has 14 along several axes; say which with --image-axis"):
        read_tilt_series(tmp_path / "cube.npy", settings(tmp_path))
    series, _ = read_tilt_series(tmp_path / "cube.npy", settings(tmp_path, image_axis=1))
    assert_array_equal(series.projections, cube.transpose(1, 0, 2))


def test_numbers_of_images_and_angles_that_differ_are_refused_with_both(tmp_path, images):
    np.save(tmp_path / "a.npy", images)
    with pytest.raises(InputError, match=r"angles.txt holds 13 angles.*a\.npy.*\(14, 24, 20\)"):
        read_tilt_series(tmp_path / "a.npy", settings(tmp_path, TILTS[1:]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda stack: stack[9, 2].fill(np.nan), "first: image 9, pixel"),
        (lambda stack: stack[9].fill(np.nan), "leave out with --exclude 9$"),
        (lambda stack: stack[9].fill(3.0), "first: image 9, all pixels are 3.*--exclude 9$"),
        (lambda stack: stack.__setitem__(9, stack[6]), "images 6 and 9 are identical; leave one out with --exclude 9"),
    ],
)
def test_messages_number_the_images_as_the_file_does_where_some_are_left_out(tmp_path, images, damage, message):
    stack = images.copy()
    damage(stack)
    np.save(tmp_path / "a.npy", stack)
    with pytest.raises(InputError, match=message):
        read_tilt_series(tmp_path / "a.npy", settings(tmp_path, exclude=(0, 3)))


def test_of_several_stacks_one_must_be_named(tmp_path, images):
    np.savez(tmp_path / "a.npz", clean=images, noisy=images + 1)
    with pytest.raises(InputError, match=r"clean, noisy may all be the images; name one with --variable"):
        read_tilt_series(tmp_path / "a.npz", settings(tmp_path))
    named, notes = read_tilt_series(tmp_path / "a.npz", settings(tmp_path, variable="noisy"))
    assert_array_equal(named.projections, images + 1)
    assert "images: noisy" in notes[0]
    with pytest.raises(InputError, match=r"holds no 'raw'; it holds clean, noisy"):
        read_tilt_series(tmp_path / "a.npz", settings(tmp_path, variable="raw"))


def test_one_image_is_a_series_of_one(tmp_path, images):
    np.save(tmp_path / "a.npy", images[3])
    series, notes = read_tilt_series(tmp_path / "a.npy", settings(tmp_path, [12.0]))
    assert_array_equal(series.projections, images[3:4])
    assert "nothing is known of the depth" in notes[-1]


def test_images_and_their_angles_are_left_out_together(tmp_path, images):
    blank = images.copy()
    blank[5] = 0
    np.save(tmp_path / "a.npy", blank)
    with pytest.raises(InputError, match="--exclude 5"):
        read_tilt_series(tmp_path / "a.npy", settings(tmp_path))
    series, _ = read_tilt_series(tmp_path / "a.npy", settings(tmp_path, exclude="0,5"))
    keep = [k for k in range(14) if k not in (0, 5)]
    assert_array_equal(series.projections, images[keep])
    assert_allclose(series.tilt_angles, TILTS[keep])
    with pytest.raises(InputError, match="there are 14 images"):
        read_tilt_series(tmp_path / "a.npy", settings(tmp_path, exclude="14"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_size": None}, "give --pixel-size in Å"),
        ({"pixel_size": 0.037}, r"0\.037 looks like nm, 0\.37 Å\?"),
        ({"pixel_size": 37.0}, r"37 looks like pm, 0\.37 Å\?"),
    ],
)
def test_what_is_missing_or_in_another_unit_is_said(tmp_path, images, change, message):
    np.save(tmp_path / "a.npy", images)
    with pytest.raises(InputError, match=message):
        read_tilt_series(tmp_path / "a.npy", settings(tmp_path, **change))
    with pytest.raises(InputError, match="give their file with --angles"):
        read_tilt_series(tmp_path / "a.npy", ImagesSettings(pixel_size=0.37))


def test_any_pixel_size_is_taken_when_asked(tmp_path, images):
    np.save(tmp_path / "a.npy", images)
    chosen = settings(tmp_path, pixel_size=3.7, any_pixel_size=True)
    assert read_tilt_series(tmp_path / "a.npy", chosen)[0].pixel_size == 3.7


@pytest.mark.parametrize("name", [n for n in WRITERS if n != "b.npy"])
def test_a_damaged_file_is_refused_as_damaged(tmp_path, images, name):
    WRITERS[name](tmp_path / name, images)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 3])
    with pytest.raises(InputError, match=r"restore|damaged"):
        read_tilt_series(tmp_path / name, settings(tmp_path))


def test_a_cut_tiff_file_is_never_a_smaller_stack(tmp_path, images):
    pages(tmp_path / "a.tif", images)
    whole = (tmp_path / "a.tif").read_bytes()
    for length in range(1000, len(whole), 997):
        (tmp_path / "a.tif").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"restore|damaged"):
            next(iter(stored_arrays(tmp_path / "a.tif").values())).load()


def test_files_of_other_kinds_and_other_values_are_refused(tmp_path, images):
    (tmp_path / "a.png").write_bytes(b"png")
    np.save(tmp_path / "words.npy", np.full((14, 4, 4), "word"))
    np.save(tmp_path / "complex.npy", images.astype(complex))
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name, message in [
        ("a.png", "of no known kind"),
        ("missing.npy", "no such file"),
        ("words.npy", "give real numbers"),
        ("complex.npy", "give real numbers"),
        ("object.npy", "damaged"),
    ]:
        with pytest.raises(InputError, match=message):
            read_tilt_series(tmp_path / name, settings(tmp_path))


def test_a_published_object_of_matlab_is_called_one(data_dir):
    with pytest.raises(InputError, match=r"holds no arrays, and obj is a MATLAB object"):
        stored_arrays(data_dir / "resire_sample_amorphous" / "sample_amorphous_res.mat")


def test_an_archive_that_declares_more_than_it_can_hold_is_not_read(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", images=np.zeros((14, 1024, 1024)))
    with pytest.raises(InputError, match="it is not read"):
        read_tilt_series(tmp_path / "bomb.npz", settings(tmp_path))


@pytest.mark.parametrize("name", ["v.npy", "v.npz", "v.mat", "v.h5", "v.tif", "v.mrc"])
def test_a_volume_comes_back_from_every_format(tmp_path, name):
    values = np.random.default_rng(1).normal(size=(7, 6, 5)).astype(np.float32)
    path = tmp_path / name
    if name == "v.mrc":
        with mrcfile.new(path) as file:
            file.set_data(np.ascontiguousarray(values.T))  # x runs fastest
            file.voxel_size = 0.4
    elif name == "v.mat":
        savemat(path, {"volume": values})
    elif name == "v.npz":
        np.savez(path, volume=values)
    else:
        {".npy": np.save, ".h5": hdf5, ".tif": tifffile.imwrite}[path.suffix](path, values)
    volume, notes = read_volume(path, VolumeSettings() if name == "v.mrc" else VolumeSettings(voxel_size=0.4))
    assert_array_equal(volume.values, values)
    assert volume.voxel_size == pytest.approx(0.4)
    assert volume.history == (f"read from {name}",)
    assert len(notes) == (name == "v.mrc")


def test_a_volume_that_cannot_be_used_is_refused(tmp_path):
    values = np.zeros((6, 6, 6))
    np.savez(tmp_path / "two.npz", a=values, b=values)
    np.save(tmp_path / "flat.npy", values)
    np.save(tmp_path / "table.npy", np.zeros((40, 3)))
    values[1, 2, 3] = np.nan
    np.save(tmp_path / "nan.npy", values)
    size = VolumeSettings(voxel_size=0.4)
    for name, chosen, message in [
        ("two.npz", size, "several volumes.*--variable"),
        ("flat.npy", size, "all voxels of flat are 0"),
        ("nan.npy", size, r"1 voxel of nan is NaN.*\(1, 2, 3\)"),
        ("table.npy", size, "holds no volume"),
        ("flat.npy", VolumeSettings(), "--voxel-size"),
        ("flat.npy", VolumeSettings(voxel_size=0.04), r"looks like nm.*--any-voxel-size"),
    ]:
        with pytest.raises(InputError, match=message):
            read_volume(tmp_path / name, chosen)


def test_a_support_has_the_shape_of_the_images_and_is_not_empty(tmp_path):
    inside = np.zeros((6, 5, 4))
    np.save(tmp_path / "empty.npy", inside)
    inside[2:4] = 1
    np.save(tmp_path / "support.npy", inside)
    assert_array_equal(read_support(tmp_path / "support.npy", (6, 5)), inside > 0)
    with pytest.raises(InputError, match=r"shape \(6, 5, 4\), the images want \(5, 6, depth\)"):
        read_support(tmp_path / "support.npy", (5, 6))
    with pytest.raises(InputError, match="is empty"):
        read_support(tmp_path / "empty.npy", (6, 5))


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("folder", "images", "angles", "shape", "single"),
    [
        ("resire_sample_amorphous", "sample_projections_amorphous", "sample_angles_amorphous", (41, 64, 64), True),
        ("genfire_workshop_fept", "projections_FePt", "angles", (37, 68, 68), True),
        ("genfire_workshop_fept", "projections_FePt_noisy", "angles", (37, 68, 68), True),
        ("genfire_workshop_fept", "projections_FePt_mw", "angles_mw", (21, 68, 68), True),
        ("angle_refinement_fept64", "pj_new_Turbu3_1015", "GroundTruth_angles_Turbu3_1015", (41, 64, 64), False),
        ("paet_np1_asi208", "projections_Dose8p0e3_ForBM3D", "Si_Angle", (60, 128, 128), True),
        ("ta_film_experimental", "Projections_area25", "angles", (46, 151, 77), False),
    ],
)
def test_published_series_are_read_without_a_hint(data_dir, folder, images, angles, shape, single):
    chosen = ImagesSettings(angles=data_dir / folder / f"{angles}.mat", pixel_size=0.35)
    series, _ = read_tilt_series(data_dir / folder / f"{images}.mat", chosen)
    assert series.projections.shape == shape
    assert series.is_single_axis == single


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("folder", "images", "angles", "volume", "correlation"),
    [
        (
            "resire_sample_amorphous",
            "sample_projections_amorphous",
            "sample_angles_amorphous",
            "ground_truth_amorphous_vol",
            0.9998,
        ),
        (
            "angle_refinement_fept64",
            "pj_new_Turbu3_1015",
            "GroundTruth_angles_Turbu3_1015",
            "FePt_Vol_64_asymmetric",
            0.9994,
        ),
    ],
)
def test_published_images_are_projections_of_the_published_volumes(
    data_dir, folder, images, angles, volume, correlation
):
    place = data_dir / folder
    series, _ = read_tilt_series(
        place / f"{images}.mat", ImagesSettings(angles=place / f"{angles}.mat", pixel_size=0.35)
    )
    values = read_volume(place / f"{volume}.mat", VolumeSettings(voxel_size=0.35))[0].values
    right = _correlations(values, series, series.rotations)
    other_order = euler_rotations(np.roll(loadmat(place / f"{angles}.mat")[_name(place, angles)], 1, axis=1))
    assert np.mean(right) >= correlation - 5e-4
    assert np.mean(_correlations(values, series, np.swapaxes(series.rotations, 1, 2))) < 0.95
    assert np.mean(_correlations(values, series, other_order)) < 0.95


def _name(place, stem):
    return next(name for name in loadmat(place / f"{stem}.mat") if not name.startswith("__"))


def _correlations(values, series, rotations):
    """Correlations of some images with the sum along the beam of the turned volume (cubic splines)."""
    middle = np.array(values.shape) // 2
    found = []
    for k in range(0, series.n_images, 10):
        turned = affine_transform(values, rotations[k], offset=middle - rotations[k] @ middle, order=3)
        found.append(np.corrcoef(turned.sum(axis=2).ravel(), series.projections[k].ravel())[0, 1])
    return found
