"""Truth: the check sums that pw.x 6.7 printed for the package's files in real runs, and headers made by hand."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from deck_examples import real_text

from aet2dft.dft_inputs.pseudopotentials import choose, find, read_upf
from aet2dft.errors import InputError

HEADER = (
    '<UPF version="2.0.1">\n<PP_HEADER element="{element}" pseudo_type="{kind}" has_so="{so}" '
    'functional="{functional}" z_valence="{valence}"/>\n</UPF>\n'
)


def upf(folder: Path, name: str, element="Co", kind="US", so="F", functional="PBE", valence=" 9.000E+00") -> Path:
    path = folder / name
    path.write_text(HEADER.format(element=element, kind=kind, so=so, functional=functional, valence=valence))
    return path


@pytest.fixture
def cobalt(tmp_path):
    upf(tmp_path, "Co.pbe.UPF")
    upf(tmp_path, "Co.rel-pbe.UPF", so="T")
    return tmp_path


@pytest.mark.parametrize(("folder", "relativistic"), [("scf", False), ("soc_x", True)])
def test_the_check_sums_of_the_package_are_those_that_the_code_printed(folder, relativistic):
    printed = re.findall(r"MD5 check sum:\s*(\w+)", real_text(folder, "pw.out"))
    ours = [pseudo.md5 for pseudo in find(["Fe", "Pt"]) if pseudo.relativistic == relativistic]
    assert ours == printed


def test_headers_of_the_package_are_read():
    fe, fe_rel, pt, pt_rel = find(["Fe", "Pt"])
    assert [p.file for p in (fe, fe_rel)] == ["Fe.pbe-small.UPF", "Fe.rel-pbe-small.UPF"]
    assert [(p.element, p.z_valence, p.kind, p.functional) for p in (fe, pt)] == [
        ("Fe", 8.0, "US", "PBE"),
        ("Pt", 10.0, "US", "PBE"),
    ]
    assert [p.relativistic for p in (fe, fe_rel, pt, pt_rel)] == [False, True, False, True]
    assert hashlib.sha256(fe.content()).hexdigest() == fe.sha256


@pytest.mark.parametrize(("word", "cutoff"), [("", 0.0), ('wfc_cutoff="9.0D+01"', 90.0), ('wfc_cutoff=" 0.0E0 "', 0.0)])
def test_the_cutoff_that_a_header_names_is_read(word, cutoff, tmp_path):
    path = upf(tmp_path, "Co.UPF")
    path.write_text(path.read_text().replace("z_valence", f"{word} z_valence"))
    assert read_upf(path).wfc_cutoff == cutoff


def test_only_the_kinds_that_are_needed_are_asked_for(cobalt):
    assert [p.relativistic for p in find(["Co"], directory=cobalt)] == [False, True]
    (cobalt / "Co.rel-pbe.UPF").unlink()
    assert [p.relativistic for p in find(["Co"], directory=cobalt, spin_orbit=False)] == [False]
    with pytest.raises(InputError, match=r"no fully relativistic UPF file, only Co\.pbe\.UPF"):
        find(["Co"], directory=cobalt)


def test_files_of_other_elements_are_not_even_read(cobalt):
    (cobalt / "C.UPF").write_text("damaged")
    (cobalt / "Cu_pbe.UPF").write_text("damaged")
    assert len(find(["Co"], directory=cobalt)) == 2


def test_long_names_of_functionals_are_understood(tmp_path):
    path = upf(tmp_path, "Co.UPF", functional=" SLA  PW   PBX  PBC", so=".true.")
    assert read_upf(path).functional == "PBE"
    assert read_upf(path).relativistic


def test_packed_files_give_the_digests_of_their_content(cobalt):
    plain = read_upf(cobalt / "Co.pbe.UPF")
    packed = cobalt / "Co.packed.UPF.gz"
    packed.write_bytes(gzip.compress(plain.content()))
    assert (read_upf(packed).md5, read_upf(packed).file) == (plain.md5, "Co.packed.UPF")


def test_a_file_of_another_functional_is_refused(tmp_path):
    upf(tmp_path, "Co.pz.UPF", functional="SLA PZ NOGX NOGC")
    with pytest.raises(InputError, match="functional PZ, the protocol for PBE"):
        find(["Co"], directory=tmp_path, spin_orbit=False)


def test_two_files_that_do_not_share_a_density_are_refused(cobalt):
    upf(cobalt, "Co.rel-pbe.UPF", so="T", valence="17.0")
    with pytest.raises(InputError, match="not of one family"):
        find(["Co"], directory=cobalt)


def test_two_candidates_are_refused_by_name(cobalt):
    upf(cobalt, "Co_other.UPF")
    with pytest.raises(InputError, match=r"2 scalar-relativistic UPF files \(Co.pbe.UPF, Co_other.UPF\)"):
        find(["Co"], directory=cobalt)


def test_a_missing_element_and_a_missing_folder_are_named(cobalt):
    with pytest.raises(InputError, match="no UPF file of Ni"):
        find(["Co", "Ni"], directory=cobalt)
    with pytest.raises(InputError, match="--pseudo-dir"):
        find(["Co"], directory=cobalt / "nowhere")


def test_paw_is_refused_for_the_force_theorem_only(tmp_path):
    upf(tmp_path, "Co.paw.UPF", kind="PAW", so="T")
    pseudos = find(["Co"], directory=tmp_path, scalar=False)
    assert choose(pseudos, "Co", spin_orbit=True).kind == "PAW"
    with pytest.raises(InputError, match=r"PAW .* mae_scf"):
        choose(pseudos, "Co", spin_orbit=True, force_theorem=True)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<PP_HEADER>\n   0 Version Number\n  Co Element\n</PP_HEADER>",
        b'<PP_HEADER element="Co" pseudo_type="US" has_so="T" functional="PBE"/>',
        b'<PP_HEADER element="Co" pseudo_type="US" has_so="T" functional="PBE" z_valence="****"/>',
    ],
)
def test_a_damaged_header_is_refused_with_the_name_of_the_file(tmp_path, content):
    (tmp_path / "Co.UPF").write_bytes(content)
    with pytest.raises(InputError, match=r"Co\.UPF"):
        find(["Co"], directory=tmp_path)


def test_a_truncated_archive_is_refused(tmp_path):
    packed = gzip.compress(find(["Fe"])[0].content())
    (tmp_path / "Fe.UPF.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        find(["Fe"], directory=tmp_path)
