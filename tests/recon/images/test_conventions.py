"""The check of the convention of angles. Truth: simulated series whose angles are then given in another convention."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aet2dft.config import ImagesSettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms.simulate import simulate
from aet2dft.recon.geometry import euler_rotations
from aet2dft.recon.images.conventions import check_conventions, is_quick
from aet2dft.recon.images.readers import read_tilt_series
from aet2dft.recon.tilt_series import TiltSeries

PIXEL = 1.2
SHAPE = (22, 20)
RANDOM = np.random.default_rng(3)
TILTS = np.sort(RANDOM.uniform(-68, 61, 15))
EULER = np.column_stack([RANDOM.uniform(-12, 12, 15), TILTS, RANDOM.uniform(-12, 12, 15)])


@pytest.fixture(scope="module")
def lopsided(fept):
    """Piece of the measured particle that no rotation or reflection maps on itself."""
    points = fept.positions - fept.positions.mean(axis=0)
    inside = (np.abs(points / (9.0, 7.0, 5.0)) < 1).all(axis=1) & (points @ (0.5, 0.7, 0.3) < 4)
    piece = fept[inside & ~((points > (-2, 0, 1)).all(axis=1))]
    piece.positions = points[inside & ~((points > (-2, 0, 1)).all(axis=1))]
    return piece


def images(atoms, angles):
    return simulate(atoms, angles, shape=SHAPE, pixel_size=PIXEL, width=0.7).projections


@pytest.fixture(scope="module")
def tilted(lopsided):
    """Images about one axis."""
    return images(lopsided, TILTS)


@pytest.fixture(scope="module")
def turned(lopsided):
    """Images with three angles each."""
    return images(lopsided, EULER)


def check(stack, angles):
    return check_conventions(TiltSeries.from_angles(np.ascontiguousarray(stack), angles, pixel_size=PIXEL))


def test_one_axis_leaves_its_direction_and_the_order_of_the_images(tilted):
    found = check(tilted, TILTS)
    given = "R = Rz(phi) Ry(theta) Rx(psi)"
    assert found.names == (given, f"{given}; images transposed", f"{given}; angles in the opposite order")
    assert (found.verdict, found.best, found.warnings) == ("as_given", 0, ())
    assert found.margin > 1.3
    assert is_quick(TiltSeries.from_angles(tilted, TILTS, pixel_size=PIXEL))


def test_the_sign_of_the_tilts_cannot_be_told(tilted):
    given, reversed_tilts = check(tilted, TILTS), check(tilted, -TILTS)
    assert "R = Rz(phi) Ry(-theta) Rx(psi)" in given.indistinguishable
    assert reversed_tilts.verdict == "as_given"
    np.testing.assert_allclose(reversed_tilts.r_factor[0], given.r_factor[0], rtol=0.02)


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda stack: (stack.transpose(0, 2, 1), TILTS), "images transposed"),
        (lambda stack: (stack, TILTS[::-1]), "angles in the opposite order"),
    ],
)
def test_a_wrong_axis_or_order_of_a_series_about_one_axis_is_named(tilted, damage, name):
    found = check(*damage(tilted))
    assert found.verdict == "another"
    assert found.names[found.best].endswith(name)
    assert name in found.warnings[0]
    assert found.margin < 0.8


def euler(sequence):
    return Rotation.from_matrix(euler_rotations(EULER)).as_euler(sequence, degrees=True)


def upright(angles):
    """The other three angles of the same z, y, z rotation where the first ones turn the object around."""
    other = (np.column_stack([angles[:, 0] + 180, -angles[:, 1], angles[:, 2] + 180]) + 180) % 360 - 180
    return np.where(np.abs(angles[:, :1]) > 90, other, angles)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("angles", "name"),
    [
        (lambda: EULER, "R = Rz(phi) Ry(theta) Rx(psi)"),
        (lambda: upright(euler("ZYZ")), "R = Rz(phi) Ry(theta) Rz(psi)"),
        (lambda: euler("XYZ"), "R = Rx(phi) Ry(theta) Rz(psi)"),
        (lambda: EULER[:, ::-1], "R = Rz(psi) Ry(theta) Rx(phi)"),
        (lambda: EULER * (-1, 1, 1), "R = Rz(-phi) Ry(theta) Rx(psi)"),
        (lambda: EULER * (1, -1, 1), "R = Rz(phi) Ry(theta) Rx(-psi)"),
    ],
    ids=["as given", "z, y, z", "x, y, z", "columns exchanged", "sign of phi", "sign of theta"],
)
def test_the_axes_order_and_signs_of_three_angles_are_found(turned, angles, name):
    found = check(turned, angles())
    assert found.names[found.best] == name
    assert (found.best == 0) == (name == found.names[0])
    assert found.fits_better[found.best] > 0.9 or found.best == 0
    assert len(found.indistinguishable) == 1


def test_images_of_different_brightness_are_told_apart_as_those_of_one_are(tilted):
    """Truth: the verdict and nearly the margin of the images as they were."""
    scale = np.random.default_rng(5).uniform(0.6, 1.4, (15, 1, 1)).astype(np.float32)
    even, uneven = check(tilted, TILTS), check(scale * tilted, TILTS)
    assert uneven.verdict == "as_given"
    assert uneven.margin == pytest.approx(even.margin, rel=0.05)


def test_noise_alone_decides_nothing():
    noise = np.random.default_rng(0).normal(1, 1, (15, *SHAPE)).astype(np.float32)
    assert check(noise, TILTS).verdict == "undecided"


def test_too_few_images_are_refused_and_not_checked_unasked(tilted):
    with pytest.raises(InputError, match="4 images fit any convention"):
        check(tilted[:4], TILTS[:4])
    assert not is_quick(TiltSeries.from_angles(tilted[:4], TILTS[:4], pixel_size=PIXEL))


@pytest.mark.parametrize("shape", [(72, 2), (2, 72)])
def test_long_narrow_images_are_compared_too(shape):
    stack = np.random.default_rng(0).normal(1, 1, (15, *shape)).astype(np.float32)
    found = check(stack, TILTS)
    assert np.isfinite(found.r_factor).all()


def test_many_conventions_on_small_images_take_too_long_to_be_checked_unasked(turned):
    assert not is_quick(TiltSeries.from_angles(turned, EULER, pixel_size=PIXEL))


PUBLISHED = [
    ("resire_sample_amorphous/sample_projections_amorphous", "resire_sample_amorphous/sample_angles_amorphous"),
    ("genfire_workshop_fept/projections_FePt", "genfire_workshop_fept/angles"),
    ("genfire_workshop_fept/projections_FePt_noisy", "genfire_workshop_fept/angles"),
    ("genfire_workshop_fept/projections_FePt_mw", "genfire_workshop_fept/angles_mw"),
    ("angle_refinement_fept64/pj_new_Turbu3_1015", "angle_refinement_fept64/angles_usedin_refine_1015"),
    ("paet_np1_asi208/projections_Dose8p0e3_ForBM3D", "paet_np1_asi208/Si_Angle"),
    ("paet_np1_asi208/projections_Dose1p6e4_ForBM3D", "paet_np1_asi208/Si_Angle"),
    ("paet_np1_asi208/projections_Dose1p6e5_ForBM3D", "paet_np1_asi208/Si_Angle"),
    ("ta_film_experimental/Projections_area24", "ta_film_experimental/angles"),
    ("ta_film_experimental/Projections_area25", "ta_film_experimental/angles"),
    ("ta_film_experimental/Projections_area26", "ta_film_experimental/angles"),
]


def published(data_dir, images, angles):
    chosen = ImagesSettings(angles=data_dir / f"{angles}.mat", pixel_size=0.35)
    return read_tilt_series(data_dir / f"{images}.mat", chosen)[0]


@pytest.mark.needs_data
@pytest.mark.parametrize(("stack", "angles"), PUBLISHED)
def test_published_series_fit_their_convention_and_not_when_they_are_transposed(data_dir, stack, angles):
    series = published(data_dir, stack, angles)
    found = check_conventions(series)
    assert found.verdict == "as_given"
    assert found.margin > 1.0
    broken = check(series.projections.transpose(0, 2, 1), series.tilt_angles)
    assert broken.verdict == "another"
    assert broken.names[broken.best].endswith("images transposed")


@pytest.mark.needs_data
def test_misaligned_images_are_not_blamed_on_the_convention(data_dir):
    folder = "genfire_workshop_fept"
    found = check_conventions(published(data_dir, f"{folder}/projections_FePt_misaligned", f"{folder}/angles"))
    assert found.best == 0


@pytest.mark.slow
@pytest.mark.needs_data
def test_published_euler_angles_are_of_this_convention_and_of_no_other(data_dir):
    folder = "angle_refinement_fept64"
    series = published(data_dir, f"{folder}/pj_new_Turbu3_1015", f"{folder}/GroundTruth_angles_Turbu3_1015")
    found = check_conventions(series)
    assert (found.verdict, len(found.names) > 20) == ("as_given", True)
    assert found.margin > 1.5
    turned = Rotation.from_matrix(series.rotations).as_euler("ZYZ", degrees=True)
    other = check(series.projections, upright(turned))
    assert other.names[other.best] == "R = Rz(phi) Ry(theta) Rz(psi)"


def test_a_crystal_that_looks_the_same_along_two_axes_is_told_apart_on_finer_images(fept):
    # on the coarse ones, whose pixels are wider than its layers, transposed images fit 82 % of the images better
    points = fept.positions - fept.positions.mean(axis=0)
    piece = fept[np.linalg.norm(points, axis=1) < 12.0]
    piece.positions -= piece.positions.mean(axis=0)
    series = simulate(piece, np.linspace(-65.6, 64.0, 40), shape=(88, 88), pixel_size=0.3725)
    found = check_conventions(series)
    assert found.verdict == "as_given"
    assert found.binning == 1
    assert found.margin > 1.5
