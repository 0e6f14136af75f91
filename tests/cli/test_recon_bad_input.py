"""Bad images, angles, supports and volumes through the command line: one sentence, the exit code, nothing left behind.

Truth: a sound simulated series and what is done to damage it; the answers are those of the conventions, by hand.
"""

import contextlib
import resource

import numpy as np
import pytest
from ase.io import write
from commands import done, files, refused
from scipy.io import savemat

from aet2dft import memory, store
from aet2dft.recon.atoms.simulate import Noise, simulate

TILTS = np.linspace(-66.0, 64.0, 15)
PIXEL = 0.5
QUICK = ("--algorithm", "lsq", "--iterations", 2, "--held-out", 0)


@pytest.fixture(scope="module")
def piece(fept):
    """Ball of 11 Å cut from the measured particle."""
    ball = fept[np.linalg.norm(fept.positions - fept.positions.mean(axis=0), axis=1) < 5.5]
    ball.positions -= ball.positions.mean(axis=0)
    return ball


@pytest.fixture(scope="module")
def sound(piece):
    """Its images (15, 36, 32)."""
    noise = Noise(counts=300, read_noise=1)
    return simulate(piece, TILTS, shape=(36, 32), pixel_size=PIXEL, noise=noise, seed=2).projections


@pytest.fixture
def series(tmp_path):
    """Write images and angles; gives the words of a command line."""

    def words(images, angles=TILTS, *more, pixel_size=PIXEL):
        np.save(tmp_path / "images.npy", np.ascontiguousarray(images))
        np.savetxt(tmp_path / "angles.txt", angles)
        given = ("--angles", tmp_path / "angles.txt", "--pixel-size", pixel_size, *QUICK, *more)
        return ("reconstruct", tmp_path / "images.npy", *given, "-o", tmp_path / "run.h5")

    return words


def put(images, where, value):
    changed = np.array(images)
    changed[where] = value
    return changed


REFUSED = {
    "one angle less": (lambda b: (b, TILTS[1:]), ["angles.txt", "14 angles", "images.npy", "(15, 36, 32)"]),
    "radians": (lambda b: (b, np.radians(TILTS)), ["radians", "--angle-unit"]),
    "transposed": (lambda b: (b.transpose(0, 2, 1), TILTS), ["transposed", "axis 1", "turn every image"]),
    "NaN": (lambda b: (put(b, (3, 4, 5), np.nan), TILTS), ["image 3, pixel (4, 5)", "NaN", "--fill median"]),
    "infinite": (lambda b: (put(b, (0, 1), np.inf), TILTS), ["32 pixels in 1 of 15", "infinite", "--fill"]),
    "constant": (lambda b: (put(b, 3, 7.0), TILTS), ["image 3", "all pixels are 7", "--exclude 3"]),
    "empty": (lambda b: (b * 0, TILTS), ["all 15 images show nothing"]),
    "dark object": (lambda b: (b.max() - b, TILTS), ["darker", "invert the contrast"]),
    "identical": (lambda b: (put(b, 9, b[2]), TILTS), ["images 2 and 9 are identical", "--exclude 9"]),
    "angle of NaN": (lambda b: (b, put(TILTS, 3, np.nan)), ["angles.txt, line 4", "±360"]),
    "angle of 700": (lambda b: (b, put(TILTS, 3, 700.0)), ["angles.txt, line 4", "700", "±360"]),
    "no images": (lambda b: (b[:0], TILTS[:0]), ["angles.txt", "no numbers"]),
    "no pixels": (lambda b: (b[:, :0], TILTS), ["images.npy", "holds no pixel"]),
    "not a stack": (lambda b: (b[0], TILTS), ["images.npy", "(36, 32)"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_images_and_angles_that_cannot_be_right_are_refused(name, sound, series, tmp_path):
    damage, named = REFUSED[name]
    sentence = refused(*series(*damage(sound)))
    assert all(word in sentence for word in named), sentence
    assert set(files(tmp_path)) == {"images.npy", "angles.txt"}


NOTED = {
    "nothing": (lambda b: (b, TILTS), None),
    "square or not, cut at the side": (lambda b: (b[:, :, 4:-4], TILTS), None),
    "negative pixels": (lambda b: (b - np.float32(0.2 * b.max()), TILTS), None),
    "repeated angle": (lambda b: (b, put(TILTS, 4, TILTS[5])), "1 angle repeats an earlier one"),
    "one image": (lambda b: (b[5:6], TILTS[5:6]), "nothing is known of the depth"),
    "few images": (lambda b: (b[::3], TILTS[::3]), "5 images over 111 degrees: the volume will be elongated by 1.6"),
    "short range": (lambda b: (b[4:9], TILTS[4:9]), "over 37 degrees"),
    "another brightness": (lambda b: (put(b, 7, 2 * b[7]), TILTS), "image 7 2.0"),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_is_unusual_is_said_and_worked_with(name, sound, series):
    change, note = NOTED[name]
    found = done(*series(*change(sound)))
    assert found["status"] == "done"
    # the calibration of so few pixels and iterations is not at stake here
    said = [text for text in found["warnings"] if "rotation center" not in text and "were made equal" not in text]
    assert any(note in text for text in said) if note else said == [], said


@pytest.mark.parametrize(("size", "meant"), [(0.05 * PIXEL, None), (0.1 * 0.3725, "0.3725 Å"), (37.25, "0.3725 Å")])
def test_a_pixel_size_in_another_unit_is_refused_with_the_right_one(size, meant, sound, series):
    sentence = refused(*series(sound, pixel_size=size))
    assert "--any-pixel-size" in sentence
    assert meant is None or meant in sentence


def test_options_of_reading_are_for_the_array_that_is_verified_and_not_for_the_known_model(piece, tmp_path):
    """Truth: the same atoms, in Å with elements and in voxels of 0.35 Å with types."""
    write(tmp_path / "known.xyz", piece)
    types = 1 + (piece.symbols == "Pt")
    savemat(tmp_path / "voxels.mat", {"model": piece.positions.T / 0.35, "types": types[None]})
    pair, options = (tmp_path / "voxels.mat", tmp_path / "known.xyz"), ("--species", "1=Fe,2=Pt", "--voxel-size", 0.35)
    for one, other in (pair, pair[::-1]):
        said = done("verify", one, "--truth", other, *options)
        assert said["fraction_identified"] == 1
        assert said["rmsd"] < 1e-5
        assert all(text.startswith("voxels.mat: ") for text in said["warnings"])
    sentence = refused("verify", pair[0], "--truth", pair[1], *options[:2])
    assert "voxels.mat: coordinates are not in Å" in sentence


def test_usage_errors_point_to_the_help_of_the_verb():
    for words in (("reconstruct", "a.npy", "--algorithm", "foo"), ("trace", "a.npy", "--wrong")):
        sentence = refused(*words, code=2)
        assert f"(see `aet2dft {words[0]} --help`)" in sentence
        assert "Value error" not in sentence


def support(tmp_path, values):
    np.save(tmp_path / "support.npy", values)
    return ("--support", tmp_path / "support.npy")


@pytest.mark.parametrize(
    ("where", "named"),
    [
        (np.s_[:, 28:, :], "the object is elsewhere"),
        (np.s_[:0], "empty"),
        (None, "(36, 32, depth)"),
        (np.s_[4, 5, 6], "NaN"),
    ],
    ids=["beside the object", "empty", "of another shape", "not finite"],
)
def test_a_support_without_the_object_is_refused(where, named, sound, series, tmp_path):
    region = np.zeros((36, 32, 36) if where is not None else (30, 32, 36))
    if where is not None:
        region[where] = np.nan if named == "NaN" else 1
    words = series(sound, TILTS, *support(tmp_path, region))
    assert named in refused(*words)
    assert "run.h5" not in files(tmp_path)


def test_memory_that_does_not_suffice_is_said_before_anything_is_written(sound, series, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1e5)
    sentence = refused(*series(sound), code=4)
    assert "are free" in sentence
    assert "run.h5" not in files(tmp_path)


@contextlib.contextmanager
def no_room_for_files_above(size):
    """As on a full disk, every file of this process that grows longer fails; Python ignores the signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [100, 30_000])
def test_a_full_disk_leaves_no_part_of_a_project(room, sound, series, tmp_path):
    words = series(sound)
    before = files(tmp_path)
    with no_room_for_files_above(room):
        sentence = refused(*words, code=4)
    assert "free space" in sentence
    assert "run.h5" in sentence
    assert files(tmp_path) == before


def test_a_project_that_another_process_writes_is_left_alone(sound, series, tmp_path):
    words = series(sound)
    with store.locked(tmp_path / "run.h5"):
        assert "another aet2dft process" in refused(*words, code=7)
    assert done(*words)["status"] == "done"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (np.zeros((12, 12, 12)), "all voxels"),
        (np.full((12, 12, 12), np.nan), "NaN"),
        (-np.ones((12, 12, 12)) * np.arange(1, 13), "no positive maximum"),
        (np.ones((12, 12)), "no volume"),
    ],
    ids=["zeros", "NaN", "negative", "an image"],
)
def test_a_volume_without_atoms_is_refused_by_trace(values, named, tmp_path):
    np.save(tmp_path / "volume.npy", values)
    sentence = refused("trace", tmp_path / "volume.npy", "--voxel-size", 0.35, "-o", tmp_path / "run.h5")
    assert named in sentence
    assert set(files(tmp_path)) == {"volume.npy"}


def test_more_species_than_populations_are_refused_with_the_number_there_is(piece, tmp_path):
    clean = simulate(
        piece, TILTS, shape=(36, 32), pixel_size=PIXEL, intensity=np.where(piece.symbols == "Pt", 4.0, 1.0)
    )
    np.save(tmp_path / "images.npy", clean.projections)
    np.savetxt(tmp_path / "angles.txt", TILTS)
    project = tmp_path / "run.h5"
    given = ("--angles", tmp_path / "angles.txt", "--pixel-size", PIXEL, "--iterations", 40)
    done("reconstruct", tmp_path / "images.npy", *given, "-o", project)
    done("trace", project)
    before = files(tmp_path)
    sentence = refused("classify", project, "--species", "Fe,Co,Pt")
    assert "population" in sentence
    assert "give" in sentence
    assert files(tmp_path) == before


def test_foreign_atoms_need_angles_and_a_pixel_size_of_their_images(piece, sound, series, tmp_path):
    _, images, *_ = series(sound)
    write(tmp_path / "atoms.xyz", piece)
    words = ("refine", tmp_path / "atoms.xyz", "--images", images, "-o", tmp_path / "run.h5")
    angles = ("--angles", tmp_path / "angles.txt")
    assert "--angles" in refused(*words, "--pixel-size", PIXEL)
    assert "--pixel-size" in refused(*words, *angles)
    size = refused(*words, *angles, "--pixel-size", 0.0372)
    assert "0.372 Å" in size
    assert "--any-pixel-size" not in size
    np.savez(tmp_path / "two.npz", first=sound, second=sound)
    given = ("--images", tmp_path / "two.npz", *angles, "--pixel-size", PIXEL, "-o", tmp_path / "run.h5")
    several = refused("refine", tmp_path / "atoms.xyz", *given)
    assert "first, second may all be the images" in several
    assert "--variable" not in several
    assert "save the images as .npy" in several
    np.savetxt(tmp_path / "radians.txt", np.radians(np.loadtxt(tmp_path / "angles.txt")))
    radians = refused(*words, "--angles", tmp_path / "radians.txt", "--pixel-size", PIXEL)
    assert "these look like radians" in radians
    assert "the angles as text in degrees" in radians
    assert "run.h5" not in files(tmp_path)
