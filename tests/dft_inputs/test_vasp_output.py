"""Reader of VASP outputs; truth: outputs generated here, because no output of a licensed VASP may be shipped.

The generator follows the layout documented in the VASP wiki (OUTCAR, LORBIT, SAXIS): it shows that the reader undoes
what is documented, not that every version of VASP writes it.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from deck_examples import l10_cell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aet2dft.config import InputsSettings
from aet2dft.dft_inputs.decks import write_decks
from aet2dft.dft_inputs.directions import angles, saxis_rotation
from aet2dft.dft_inputs.input_sets import inputs
from aet2dft.dft_inputs.results import collect
from aet2dft.dft_inputs.run_result import STATUSES
from aet2dft.dft_inputs.vasp_output import parse

CELL = np.diag([2.7223611076, 2.7223611076, 3.71])
COMPONENTS = "xyz"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run to be printed: FePt in two atoms, moments in the frame of the lattice."""

    saxis: tuple[float, float, float] | None = None
    moments: np.ndarray
    energies: tuple[float, ...] = (-15.25,)
    n_steps: int = 0
    icharg: int = 2
    isif: int = 2
    final_positions: np.ndarray | None = None
    last_loop: str = "aborting loop because EDIFF is reached"
    relaxed: bool = True
    spin_orbit: bool = True
    print_angles: bool = True
    decimals: int = 3


COLLINEAR = Run(moments=np.array([3.07, 0.323]), spin_orbit=False)
ALONG_X = Run(saxis=(1, 0, 0), moments=np.array([[3.051, 0, 0], [0.348, 0, 0]]), icharg=11)
POSITIONS = np.array([[0, 0, 0], [0.5, 0.5, 0.5]]) @ CELL


def rows(table, form="{:13.9f}"):
    return ["".join(form.format(value) for value in row) for row in table]


def header(run):
    vectors = run.saxis is not None
    lines = [
        " vasp.6.4.2 20Jul23 (build of nowhere) complex",
        "   VRHFIN =Fe:  d7 s1",
        "   VRHFIN =Pt: s1d9",
        "   ions per type =               1   1",
        " generate k-points for:    4    4    3",
        "   k-points           NKPTS =     12   k-points in BZ     NKDIM =     12   number of bands    NBANDS=     32",
        f"   ISPIN  =      {1 if vectors else 2}    spin polarized calculation?",
        f"   LNONCOLLINEAR =      {'T' if vectors else 'F'} non collinear calculations",
        f"   LSORBIT =      {'T' if vectors and run.spin_orbit else 'F'}    spin-orbit coupling",
        f"   ICHARG = {run.icharg:6d}    charge: 1-file 2-atom 10-const",
        f"   NSW    = {run.n_steps:6d}    number of steps for IOM",
        f"   IBRION = {2 if run.n_steps else -1:6d}    ionic relax: 0-MD 1-quasi-New 2-CG",
        f"   ISIF   = {run.isif:6d}    stress and relaxation",
        "   NELECT =      18.0000    total number of electrons",
        "      direct lattice vectors                 reciprocal lattice vectors",
        *rows(np.hstack([CELL, np.linalg.inv(CELL).T])),
        "",
        " position of ions in cartesian coordinates  (Angst):",
        *rows(POSITIONS, "{:12.8f}"),
        "",
    ]
    if vectors and run.print_angles:
        beta, alpha = np.radians(angles(run.saxis))
        lines += [f" Euler angles ALPHA= {alpha:14.9f}  BETA= {beta:14.9f}", ""]
    return lines


def moment_table(component, column, run):
    digits = run.decimals
    return [
        "", f" magnetization ({component})", "", "# of ion       s       p       d       tot", "-" * 42,
        *(f"{i:5d}        0.010  -0.020   0.000  {m:{digits + 6}.{digits}f}" for i, m in enumerate(column, 1)),
        "-" * 50, f"tot          0.010  -0.020   0.000  {sum(column):{digits + 6}.{digits}f}", "",
    ]  # fmt: skip


def ionic_step(run, number, energy, positions):
    vectors = run.saxis is not None
    in_saxis_frame = run.moments @ saxis_rotation(run.saxis) if vectors else run.moments[:, None]
    total = "".join(f"{value:16.7f}" for value in in_saxis_frame.sum(axis=0))
    lines = []
    for iteration in (1, 2):
        lines += [
            f"{'-' * 39} Iteration {number:6d}({iteration:4d})  {'-' * 39}",
            "  Free energy of the ion-electron system (eV)",
            "  entropy T*S    EENTRO =        -0.01250000",
            "  eigenvalues    EBANDS =      -101.50000000",
            f"  free energy    TOTEN  =   {energy + 1:18.8f} eV",
        ]
        lines += [f" number of electron      18.0000000 magnetization {total}"]
    lines += [f"------------------------ {run.last_loop} ----------------------------------------", ""]
    lines += [" E-fermi :   7.1234     XC(G=0):  -9.5000     alpha+bet : -8.1000"]
    for component, column in zip(COMPONENTS, in_saxis_frame.T, strict=False):
        lines += moment_table(component, column, run)
    return [
        *lines,
        "      direct lattice vectors                 reciprocal lattice vectors",
        *rows(np.hstack([CELL, np.linalg.inv(CELL).T])),
        "",
        " POSITION                                       TOTAL-FORCE (eV/Angst)",
        " " + "-" * 83,
        *rows(np.hstack([positions, np.zeros((2, 3))]), "{:13.5f}"),
        " " + "-" * 83,
        "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)",
        f"  free  energy   TOTEN  = {energy:18.8f} eV",
        f"  energy  without entropy= {energy:16.8f}  energy(sigma->0) = {energy:16.8f}",
        "",
    ]


def outcar(run):
    final = POSITIONS if run.final_positions is None else run.final_positions
    lines = header(run)
    for number, energy in enumerate(run.energies, 1):
        lines += ionic_step(run, number, energy, final if number == len(run.energies) else POSITIONS)
    if run.n_steps and run.relaxed:
        lines += [" reached required accuracy - stopping structural energy minimisation"]
    lines += [
        " General timing and accounting informations for this job:",
        " ========================================================",
        "                  Total CPU time used (sec):       12.500",
        "                         Elapsed time (sec):       14.000",
        "                 Voluntary context switches:           53",
    ]
    return "\n".join(lines) + "\n"


def written(run, folder, incar=""):
    (folder / "OUTCAR").write_text(outcar(run))
    if incar:
        (folder / "INCAR").write_text(incar)
    return folder


def assert_no_numbers(result):
    kept = {"status", "reason", "code", "version", "calculation", "labels", "spin_orbit", "noncollinear"}
    for field in fields(result):
        value = getattr(result, field.name)
        assert field.name in kept | {"pseudo_md5", "warnings"} or value is None or np.size(value) == 0, field.name


def test_a_collinear_run(tmp_path):
    result = parse(written(COLLINEAR, tmp_path))
    assert (result.status, result.code, result.version, result.calculation) == ("ok", "vasp", "6.4.2", "scf")
    assert (result.energy, result.band_energy, result.smearing_energy) == (-15.25, -101.5, -0.0125)
    assert result.free_band_energy == -101.5125
    assert (result.fermi_energy, result.n_electrons) == (7.1234, 18)
    assert (result.k_mesh, result.n_k_points, result.labels) == ((4, 4, 3), 12, ("Fe", "Pt"))
    assert (result.cpu_seconds, result.wall_seconds) == (12.5, 14)
    assert_allclose(result.moments, [3.07, 0.323])
    assert_allclose(result.total_moment, [0, 0, 3.393])
    assert_allclose(result.cell, CELL, atol=1e-8)
    assert_allclose(result.input_positions, POSITIONS, atol=1e-8)
    assert (result.noncollinear, result.spin_orbit, result.start_axis) == (False, False, None)


def test_every_result_says_that_the_version_is_untested(tmp_path):
    assert parse(written(COLLINEAR, tmp_path)).warnings[0].startswith("untested_version: VASP 6.4.2")


def test_a_force_theorem_run_along_x_gives_moments_along_x(tmp_path):
    result = parse(written(ALONG_X, tmp_path), axis=(1, 0, 0))
    assert (result.status, result.calculation, result.spin_orbit) == ("ok", "nscf", True)
    assert_allclose(result.moments, ALONG_X.moments, atol=1e-8)
    assert_allclose(result.total_moment, [3.399, 0, 0], atol=1e-6)
    assert_allclose(result.start_axis, [1, 0, 0], atol=1e-8)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    saxis=st.tuples(*[st.floats(-3, 3)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1),
    moments=st.lists(st.floats(-4, 4), min_size=6, max_size=6),
    print_angles=st.booleans(),
)
def test_moments_of_any_saxis_come_back_in_the_frame_of_the_lattice(saxis, moments, print_angles, tmp_path):
    moments = np.array(moments).reshape(2, 3)
    run = Run(saxis=saxis, moments=moments, print_angles=print_angles, decimals=9)
    incar = "SAXIS = {!r} {!r} {!r}\n".format(*saxis)
    assert_allclose(parse(written(run, tmp_path, incar)).moments, moments, rtol=0, atol=1e-6)


def test_without_saxis_in_the_incar_the_frame_is_that_of_the_lattice(tmp_path):
    run = replace(ALONG_X, saxis=(0, 0, 1), print_angles=False)
    assert_allclose(parse(written(run, tmp_path, "LSORBIT = .TRUE.\n")).moments, run.moments, atol=1e-8)


def test_moments_of_an_unknown_frame_are_left_out_with_a_warning(tmp_path):
    result = parse(written(replace(ALONG_X, print_angles=False), tmp_path))
    assert (result.status, result.moments, result.total_moment) == ("ok", None, None)
    assert result.warnings[1].startswith("saxis_unknown")


def test_runs_with_different_potcar_files_are_not_compared(tmp_path):
    settings = InputsSettings(kind="atoms", code="vasp", protocol="mae_scf", set={"kmesh": "4x4x3"})
    write_decks(tmp_path, inputs(l10_cell(), settings=settings))
    axes = {"axis_100": (1, 0, 0), "axis_001": (0, 0, 1)}
    for (step, axis), energy in zip(axes.items(), (-15.248, -15.25), strict=True):
        moments = np.outer([3.051, 0.348], axis)
        run = Run(saxis=axis, moments=moments, energies=(energy,))
        written(run, tmp_path / "volumes" / "v00000" / step)
    unknown = collect(tmp_path)
    assert any(text.startswith("potcar_unknown") and text.endswith("(2 jobs)") for text in unknown.warnings)
    for step in axes:
        (tmp_path / "volumes" / "v00000" / step / "POTCAR.sha256").write_text(f"{'a' * 64}  POTCAR\n")
    same = collect(tmp_path)
    assert_allclose([unknown.volumes.mae[0], same.volumes.mae[0]], 1.0)
    assert not any("potcar_unknown" in text for text in same.warnings)
    (tmp_path / "volumes" / "v00000" / "axis_001" / "POTCAR.sha256").write_text(f"{'b' * 64}  POTCAR\n")
    volumes = collect(tmp_path).volumes
    assert (volumes.status[0], np.isnan(volumes.mae[0]), "pseudo_md5" in volumes.reason[0]) == ("failed", True, True)


def test_a_relaxation_gives_all_its_energies_and_its_last_positions(tmp_path):
    moved = POSITIONS + np.array([[0, 0, 0.02], [0, 0, -0.02]])
    run = replace(COLLINEAR, n_steps=60, energies=(-15.0, -15.2, -15.25), final_positions=moved)
    result = parse(written(run, tmp_path))
    assert (result.status, result.calculation) == ("ok", "relax")
    assert_allclose(result.ionic_energies, [-15.0, -15.2, -15.25])
    assert_allclose(result.positions, moved, atol=1e-5)
    assert_allclose(result.input_positions, POSITIONS, atol=1e-8)
    assert parse(written(replace(run, relaxed=False), tmp_path)).status == "not_relaxed"
    assert parse(written(replace(run, isif=3), tmp_path)).calculation == "vc-relax"


@pytest.mark.parametrize("last_loop", ["aborting loop EDIFF was not reached (unconverged)", "-"])
def test_only_the_last_electronic_loop_decides_about_convergence(last_loop, tmp_path):
    run = replace(COLLINEAR, n_steps=60, energies=(-15.0, -15.2))
    text = outcar(run)
    first, second = text.split(run.last_loop, 1)
    (tmp_path / "OUTCAR").write_text(first + run.last_loop + second.replace(run.last_loop, last_loop))
    assert parse(tmp_path).status == "not_converged"
    (tmp_path / "OUTCAR").write_text(first + last_loop + second)
    assert parse(tmp_path).status == "ok"


@pytest.mark.parametrize("run", [COLLINEAR, ALONG_X, replace(COLLINEAR, n_steps=9, energies=(-15.0, -15.2))])
def test_no_cut_gives_a_number(run, tmp_path):
    text = outcar(run)
    end = text.index("Voluntary")
    for percent in range(1, 100):
        (tmp_path / "OUTCAR").write_text(text[: min(len(text) * percent // 100, text.index("Elapsed") + 20)])
        result = parse(tmp_path)
        assert result.status == "incomplete"
        assert_no_numbers(result)
    (tmp_path / "OUTCAR").write_text(text[:end])
    assert parse(tmp_path).status == "ok"


def test_windows_line_ends_change_nothing(tmp_path):
    (tmp_path / "OUTCAR").write_bytes(outcar(ALONG_X).replace("\n", "\r\n").encode())
    result = parse(tmp_path)
    assert result.status == "ok"
    assert_allclose(result.moments, ALONG_X.moments, atol=1e-8)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("free  energy   TOTEN  =       -15.25000000", "free  energy   TOTEN  = ******************"),
        ("   3.070", "   *****"),
        ("EBANDS =      -101.50000000", "EBANDS = NaN"),
        ("   VRHFIN =Pt: s1d9\n", ""),
        ("   NELECT =      18.0000", "   NELECTRONS"),
        ("  2.722361108  0.000000000", "  2.722361108  ***********"),
    ],
)
def test_a_damaged_number_fails_the_run_without_an_exception(old, new, tmp_path):
    text = outcar(COLLINEAR)
    assert old in text
    (tmp_path / "OUTCAR").write_text(text.replace(old, new))
    result = parse(tmp_path)
    assert result.status == "failed"
    assert_no_numbers(result)


def test_the_words_of_the_code_are_the_reason(tmp_path):
    text = outcar(COLLINEAR)[:2000] + " VERY BAD NEWS! internal error in subroutine IBZKPT:\n"
    (tmp_path / "OUTCAR").write_text(text)
    result = parse(tmp_path)
    assert (result.status, "VERY BAD NEWS" in result.reason) == ("failed", True)


def test_the_exit_status_helps_to_judge(tmp_path):
    written(COLLINEAR, tmp_path)
    assert parse(tmp_path, exit_status=0).status == "ok"
    assert parse(tmp_path, exit_status=1).status == "failed"
    (tmp_path / "OUTCAR").write_text(outcar(COLLINEAR)[:1500])
    assert parse(tmp_path, exit_status=137).status == "incomplete"
    assert parse(tmp_path, exit_status=1).status == "failed"


def test_a_stopcar_leaves_the_run_incomplete(tmp_path):
    stopped = outcar(COLLINEAR).replace(" General", " soft stop encountered!  aborting job ...\n General")
    (tmp_path / "OUTCAR").write_text(stopped)
    result = parse(tmp_path)
    assert result.status == "incomplete"
    assert_no_numbers(result)


def test_a_collapsed_moment_is_found(tmp_path):
    assert parse(written(replace(COLLINEAR, moments=np.array([0.4, 0.1])), tmp_path)).status == "moment_collapsed"


def test_a_run_without_the_spin_orbit_coupling_that_its_incar_asks_for(tmp_path):
    run = replace(ALONG_X, spin_orbit=False)
    assert parse(written(run, tmp_path, "LSORBIT = .TRUE.\nSAXIS = 1 0 0\n")).status == "no_spin_orbit"


def test_moments_that_leave_their_axis_are_found(tmp_path):
    tilted = np.array([[3.0, 0, 0.3], [0.3, 0, 0.03]])
    assert parse(written(replace(ALONG_X, moments=tilted), tmp_path), axis=(1, 0, 0)).status == "axis_drifted"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.floats(0, 0.9999), min_size=1, max_size=5), byte=st.binary(max_size=3))
def test_changed_bytes_never_raise(places, byte, tmp_path):
    data = bytearray(outcar(ALONG_X).encode())
    for place in places:
        start = int(place * len(data))
        data[start : start + 1] = byte
    (tmp_path / "OUTCAR").write_bytes(data)
    assert parse(tmp_path).status in STATUSES


def test_folders_without_output(tmp_path):
    assert parse(tmp_path / "nowhere").status == "missing"
    assert parse(tmp_path).status == "not_started"
    (tmp_path / "vasp.out").write_text("running")
    assert parse(tmp_path).status == "incomplete"
    (tmp_path / "OUTCAR").write_bytes(b"")
    assert parse(tmp_path).status == "incomplete"
