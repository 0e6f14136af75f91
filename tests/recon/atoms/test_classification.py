"""Species by brightness. Truth: made intensities of known species, and the published silicon tracing."""

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_array_equal
from scipy.io import loadmat

from aet2dft.config import ClassifySettings
from aet2dft.errors import InputError
from aet2dft.recon.atoms.classification import by_brightness, classify
from aet2dft.recon.metrics import match
from aet2dft.recon.tilt_series import Volume

FE_PT = ClassifySettings(species=("Fe", "Pt"))
BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def candidates(intensities, *, sigma=None, seed=0):
    """Candidates X at random places 2.7 Å apart on average."""
    n = len(intensities)
    atoms = Atoms("X" * n, positions=np.random.default_rng(seed).uniform(0, 2.7 * n ** (1 / 3), (n, 3)))
    atoms.set_array("intensity", np.asarray(intensities, dtype=float))
    if sigma is not None:
        atoms.set_array("position_sigma", np.repeat(np.asarray(sigma)[:, None], 3, axis=1))
    return atoms


def populations(seed, means, sigmas, counts):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(means)), counts))
    return np.asarray(means)[labels] + np.asarray(sigmas)[labels] * random.standard_normal(len(labels)), labels


def miscalibrated(confidence, right):
    """Bins where the stated errors are not within 1.5 of thirty or more, nor else in Wilson's 95 % interval."""
    said = []
    for number in np.unique(np.digitize(confidence, BINS)):
        of = np.digitize(confidence, BINS) == number
        n, wrong, stated = of.sum(), (~right[of]).sum(), (1.0 - confidence[of]).sum()
        p, z2 = wrong / n, 1.96**2
        middle, half = p + z2 / (2 * n), 1.96 * np.sqrt(p * (1 - p) / n + z2 / (4 * n**2))
        low, high = (n * (middle + sign * half) / (1 + z2 / n) for sign in (-1, 1))
        if wrong >= 30:
            low, high = wrong / 1.5, wrong * 1.5
        if not low - 1e-9 <= stated <= high + 1e-9:
            said.append((BINS[number - 1], int(n), int(wrong), round(float(stated), 1)))
    return said


def test_two_populations_six_standard_deviations_apart_are_told_apart_completely():
    values, labels = populations(0, (0.4, 1.0), (0.06, 0.06), (1500, 2500))
    far = np.abs(values - 0.7) > 1e-2
    atoms, result = classify(candidates(values), None, FE_PT)
    assert_array_equal((atoms.symbols == "Pt")[far], (labels == 1)[far])
    assert (atoms.symbols == "Pt").sum() == pytest.approx(2500, abs=4)
    assert (result.n_rejected, result.has_non_atoms) == (0, False)


def test_a_gradient_of_30_percent_across_the_particle_is_survived():
    values, labels = populations(1, (0.6, 1.0), (0.05, 0.05), (3000, 3000))
    atoms = candidates(values)
    x = atoms.positions[:, 0]
    atoms.arrays["intensity"] *= 0.85 + 0.3 * x / x.max()
    plain = by_brightness(np.zeros((6000, 3)), atoms.arrays["intensity"], 2)[0]
    found, result = classify(atoms, None, FE_PT)
    assert ((found.symbols == "Pt") == (labels == 1)).mean() > 0.999 > 0.995 > (plain == labels).mean()
    assert result.drift[0] < 0.9
    assert result.drift[1] > 1.1


def test_an_antisite_amid_the_other_species_keeps_its_species():
    values, _ = populations(2, (1.0,), (0.05,), (3000,))
    values[:20] = 0.55
    found, _ = classify(candidates(values), None, FE_PT)
    assert_array_equal(np.flatnonzero(found.symbols == "Fe"), np.arange(20))


def test_where_species_are_separated_in_space_no_drift_is_made_of_it():
    values, labels = populations(3, (0.7, 1.0), (0.06, 0.06), (2000, 2000))
    atoms = candidates(values)
    order = np.argsort(np.linalg.norm(atoms.positions - atoms.positions.mean(axis=0), axis=1))
    atoms.positions[np.argsort(labels, kind="stable")] = atoms.positions[order]
    found, _ = classify(atoms, None, FE_PT)
    assert ((found.symbols == "Pt") == (labels == 1)).mean() > 0.985


def test_non_atoms_are_left_out_and_kept_in_the_record():
    values, _ = populations(4, (3.4, 12.3, 37.9), (1.7, 2.0, 2.9), (1400, 6500, 16000))
    _, result = classify(candidates(values), None, FE_PT)
    assert result.has_non_atoms
    assert result.n_rejected == len(result.rejected.positions) == pytest.approx(1400, abs=40)
    assert result.composition["Fe"] == pytest.approx(6500, abs=40)
    assert result.composition["Pt"] == 16000


def test_one_species_asked_is_one_and_species_not_given_are_counted():
    values, _ = populations(5, (0.1, 1.0), (0.05, 0.08), (600, 1400))
    found, result = classify(candidates(values), None, ClassifySettings(species=("Si",)))
    assert (result.composition, result.n_rejected) == ({"Si": 1400}, 600)
    found, result = classify(candidates(values[values > 0.5]), None, ClassifySettings())
    assert set(found.get_tags()) == {1}
    assert any("1 population" in text for text in result.warnings)


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [0.1] * 20, [0.0] * 3, [1e30] * 30])
def test_equal_intensities_are_one_species_for_sure(values):
    found, result = classify(candidates(values), None, ClassifySettings(species=("Pt",)))
    assert (result.composition, result.mean_confidence) == ({"Pt": len(values)}, 1.0)
    assert (found.arrays["species_confidence"] == 1.0).all()


def test_three_species_asked_where_two_exist_is_one_clear_sentence():
    values, _ = populations(6, (0.4, 1.0), (0.06, 0.06), (1000, 1000))
    with pytest.raises(InputError, match="2 populations, not 3; give 2 species"):
        classify(candidates(values), None, ClassifySettings(species=("Fe", "Co", "Pt")))


@pytest.mark.parametrize(("method", "taken"), [("auto", "profile"), ("profile", "profile"), ("intensity", "intensity")])
def test_a_volume_is_classified_where_one_is_given(method, taken):
    random = np.random.default_rng(7)
    grid = np.stack(np.meshgrid(*[np.arange(6, 58, 8.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    bright = random.random(len(grid)) < 0.5
    values = random.normal(0, 0.01, (64, 64, 64))
    values[tuple(grid.astype(int).T)] += np.where(bright, 1.0, 0.4)
    volume = Volume(values=values.astype(np.float32), voxel_size=0.35, origin=np.zeros(3))
    settings = ClassifySettings(species=("Fe", "Pt"), method=method)
    found, result = classify(Atoms("X" * len(grid), positions=volume.positions(grid)), volume, settings)
    assert result.method == taken
    assert_array_equal(found.symbols == "Pt", bright)


@pytest.mark.parametrize("gap", [0.2, 0.3])
def test_of_the_atoms_said_to_be_nine_tenths_sure_nine_tenths_are_right(gap):
    """Heights of a fit: scatter by the place, and 0.3 % too bright by what a missed neighbor leaves to them."""
    confidence, right = [], []
    for seed in range(3):
        random = np.random.default_rng(seed)
        labels, scatter = random.integers(0, 2, 5000), random.uniform(0.04, 0.08, 5000)
        height = np.where(labels == 1, 1.0, 1.0 - gap) + scatter * random.standard_normal(5000)
        height += (random.random(5000) < 0.003) * random.uniform(0.1, 0.5, 5000)
        atoms, _ = classify(candidates(height, sigma=scatter / height, seed=seed), None, FE_PT)
        confidence.append(np.asarray(atoms.arrays["species_confidence"]))
        right.append((atoms.symbols == "Pt") == (labels == 1))
    sure, good = np.concatenate(confidence), np.concatenate(right)
    assert miscalibrated(sure, good) == []
    assert (1 - sure).sum() == pytest.approx((~good).sum(), rel=0.1)


@pytest.mark.parametrize("method", ["profile", "intensity"])
def test_without_a_volume_its_intensities_are_refused(method):
    settings = ClassifySettings(species=("Fe", "Pt"), method=method)
    with pytest.raises(InputError, match="no volume; use --method height"):
        classify(candidates(np.arange(1.0, 50.0)), None, settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms[:0], "no candidates"),
        (lambda atoms: atoms.arrays["intensity"].__setitem__(3, np.nan), "NaN"),
        (lambda atoms: atoms.arrays.pop("intensity"), "intensity"),
    ],
)
def test_what_cannot_be_classified_is_refused(change, message):
    atoms = candidates(populations(8, (0.4, 1.0), (0.06, 0.06), (50, 50))[0])
    changed = change(atoms)
    with pytest.raises(InputError, match=message):
        classify(changed if isinstance(changed, Atoms) else atoms, None, FE_PT)


@pytest.mark.parametrize("names", [("Fe", "Xx"), ("Fe", "Fe")])
def test_species_must_be_different_elements(names):
    with pytest.raises(InputError, match=r"Xx|twice"):
        classify(candidates(np.arange(9.0)), None, ClassifySettings(species=names))


@pytest.mark.needs_data
@pytest.mark.parametrize(("dose", "n_published"), [("8p0e3", 199), ("1p6e4", 208), ("1p6e5", 208)])
def test_published_silicon_candidates_give_the_published_atoms_and_no_others(data_dir, dose, n_published):
    """Y. Liao et al., Nature (2026): the maxima they traced, with the values of their fits, against the true atoms."""
    folder = data_dir / "paet_np1_asi208"
    traced = loadmat(folder / f"polyn_tracing_Dose{dose}_BM3D.mat")
    accepted = traced["exitFlagArr"][0] == 0
    atoms = Atoms("X" * accepted.sum(), positions=(traced["TotPosArr"][accepted] / 3 - 2) * 0.195)
    atoms.set_array("intensity", traced["CoeffArr"][0, accepted])
    found, result = classify(atoms, None, ClassifySettings(species=("Si",)))
    truth = Atoms("Si208", positions=np.loadtxt(folder / "aSi_208atoms_GT.txt", comments="%")[:, [2, 1, 3]])
    pairs = match(found, truth, radius=0.9, shift=found.positions.mean(axis=0) - truth.positions.mean(axis=0))
    assert (pairs.n_matched, pairs.n_false) == (n_published, 0)
    assert result.n_rejected == accepted.sum() - n_published
