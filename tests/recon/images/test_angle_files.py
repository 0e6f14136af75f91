"""Files of angles. Truth: tables written here; published angle files (data)."""

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import savemat

from aet2dft.errors import InputError
from aet2dft.recon.images.angle_files import read_angles

TILTS = np.linspace(-70, 68, 24)
EULER = np.stack([np.full(24, 0.5), TILTS, np.full(24, -0.25)], axis=1)


def text(tmp_path, content, name="angles.txt"):
    path = tmp_path / name
    path.write_text(content)
    return path


def stored(tmp_path, suffix, **arrays):
    path = tmp_path / f"angles{suffix}"
    if suffix == ".mat":
        savemat(path, arrays)
    elif suffix == ".npz":
        np.savez(path, **arrays)
    else:
        np.save(path, next(iter(arrays.values())))
    return path


@pytest.mark.parametrize("suffix", [".mat", ".npz", ".npy"])
@pytest.mark.parametrize("shape", [(24, 1), (1, 24), (24,)])
def test_tilts_come_from_arrays_of_any_shape(tmp_path, suffix, shape):
    angles, notes = read_angles(stored(tmp_path, suffix, angles=TILTS.reshape(shape)))
    assert_allclose(angles, TILTS)
    assert notes == ()


@pytest.mark.parametrize("suffix", [".mat", ".npz", ".npy"])
def test_euler_angles_with_images_along_the_second_axis_are_transposed_and_that_is_said(tmp_path, suffix):
    assert_allclose(read_angles(stored(tmp_path, suffix, a=EULER))[0], EULER)
    angles, notes = read_angles(stored(tmp_path, suffix, a=EULER.T))
    assert_allclose(angles, EULER)
    assert "transposed" in notes[0]


def test_text_may_have_comments_names_and_any_separator(tmp_path):
    rows = "# tilt series\n\n phi, theta ,psi\n1.5, -60, 0 % first\n2,0,0\n0.5, 60.0 ,0\n"
    assert_array_equal(read_angles(text(tmp_path, rows))[0], [[1.5, -60, 0], [2, 0, 0], [0.5, 60, 0]])
    assert_array_equal(read_angles(text(tmp_path, "-60\n0\n60\n", "a.tlt"))[0], [-60, 0, 60])
    assert_array_equal(read_angles(text(tmp_path, "-60;0;60;70\n", "a.csv"))[0], [-60, 0, 60, 70])


@pytest.mark.parametrize("name", ["Kippwinkel", "tilt (rad)"])
def test_an_unusual_name_of_a_single_column_is_said(tmp_path, name):
    angles, notes = read_angles(text(tmp_path, f"{name}\n-60\n0\n61\n", "a.csv"))
    assert_array_equal(angles, [-60, 0, 61])
    assert notes == (f"column {name} of a.csv taken for the tilt, in degrees unless --angle-unit says radians",)
    assert read_angles(text(tmp_path, "tilt_deg\n-60\n0\n61\n", "b.csv"))[1] == ()


def test_degree_signs_and_degrees_that_are_called_radians_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.csv, line 2: '0°' has a degree sign; write the numbers alone"):
        read_angles(text(tmp_path, "-62.2°\n0°\n61°\n", "a.csv"))
    with pytest.raises(InputError, match=r"b\.csv: most of its angles .* radians; leave out --angle-unit"):
        read_angles(text(tmp_path, "-62.2\n0\n61\n", "b.csv"), unit="radians")
    assert_allclose(read_angles(text(tmp_path, "-1\n0\n1.1\n", "c.csv"), unit="radians")[0], np.degrees([-1, 0, 1.1]))


def test_named_columns_are_put_in_order(tmp_path):
    path = text(tmp_path, "theta psi phi\n10 20 30\n11 21 31\n")
    assert_array_equal(read_angles(path)[0], [[30, 10, 20], [31, 11, 21]])


@pytest.mark.parametrize("names", ["image,tilt_deg,dose", "file name, Tilt angle (deg) ,dose", "n;alpha [°];dose/e"])
def test_the_column_that_is_named_tilt_is_taken_and_the_others_are_said(tmp_path, names):
    mark = ";" if ";" in names else ","
    rows = "".join(f"{k}{mark}{tilt}{mark}{9 * k}\n" for k, tilt in enumerate((-60.5, 0, 61)))
    angles, notes = read_angles(text(tmp_path, f"{names}\n{rows}", "a.csv"))
    assert_array_equal(angles, [-60.5, 0, 61])
    assert "not read" in notes[0]
    assert "dose" in notes[0]


def test_a_column_that_is_not_read_may_hold_words(tmp_path):
    assert_array_equal(read_angles(text(tmp_path, "file,tilt\na.tif,-60\nb.tif,5\nc.tif,60\n"))[0], [-60, 5, 60])


def test_a_comment_above_the_rows_may_name_the_columns(tmp_path):
    assert_array_equal(read_angles(text(tmp_path, "# theta phi psi\n60 1 2\n6 3 4\n"))[0], [[1, 60, 2], [3, 6, 4]])
    assert_array_equal(read_angles(text(tmp_path, "# n,tilt\n7,-60\n9,6\n"))[0], [-60, 6])
    for title in ("# tilts by hand", "# tilt series of FePt", "Euler angles", "# tilt: phi, theta, psi, FePt"):
        assert_array_equal(read_angles(text(tmp_path, f"{title}\n1 60 2\n3 6 4\n"))[0], [[1, 60, 2], [3, 6, 4]])


SYMMETRIC = [(2, 4, 1.0), (3, -4, 1.5), (4, 12, 2.5), (5, -12, 3.5)]
"""Number, tilt and dose of images as instruments list them that begin at zero and go to both sides."""


@pytest.mark.parametrize(
    "head",
    [
        "Frame #,Tilt,Dose",
        "Image,Tilt,Dose (%)",
        "#,Tilt,Dose",
        "#\tTilt\tDose",
        "# Frame #,Tilt,Dose",
        "# Frame Tilt Dose",
        "# FePt of today\n# Frame, Tilt, Dose\n# one, degrees, e\n",
        "# FePt of today\nFrame,Tilt,Dose  # degrees",
        "Frame Tilt (deg) Dose",
        "# Frame  Tilt (deg)  Dose (%)",
        "# Frame Tilt Dose\n\n# - deg e/A2",
        '"Frame, no";"Tilt, deg";"Dose"',
        '"Frame no","Tilt (deg, stage)","Dose"',
        "Frame,alpha/°,Dose",
        ",Tilt,Dose",
        "\ufeffFrame;Tilt [°];Dose",
    ],
)
@pytest.mark.parametrize("mark", [", ", "\t", ";"])
def test_heads_of_instruments_say_which_column_is_the_tilt(tmp_path, head, mark):
    rows = "".join(f"{mark.join(map(str, row))}\n" for row in SYMMETRIC)
    assert_array_equal(read_angles(text(tmp_path, f"{head}\n{rows}", "a.csv"))[0], [4, -4, 12, -12])


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("Frame # Tilt Dose", "'Frame # Tilt Dose' above three columns may name others than phi, theta, psi"),
        ("Tilt series of FePt\nFrame,Tilt,Dose", "line 2: 'Frame Tilt Dose' are no numbers"),
        ("Frame no  Tilt angle  Dose", "may name others"),
        ('"Frame no" "Tilt angle" "Dose"', "'Frame no Tilt angle Dose' may be a title or names of columns"),
        ("# tilt of FePt", "may name others"),
        ("# Nr, Kippung, Dosis", "'Nr, Kippung, Dosis' above three columns may name others"),
        ("# Image,Tilt", "may name others"),
        ("Image;Tilt", r"2 names \(Image, Tilt\) stand above 3 columns"),
        ('"Frame, no","Tilt"', r"2 names \(Frame, no, Tilt\) stand above 3 columns"),
        ("# phi, tilt, dose", "its column phi turns the object too"),
    ],
)
def test_heads_that_may_say_something_else_never_make_three_angles(tmp_path, head, message):
    rows = "".join(" ".join(map(str, row)) + "\n" for row in SYMMETRIC)
    with pytest.raises(InputError, match=message):
        read_angles(text(tmp_path, f"{head}\n{rows}", "a.csv"))


@pytest.mark.parametrize("column", ["Frame", "Image #", "Tilt no.", "z", "Slice number", ""])
@pytest.mark.parametrize("first", [0, 1, 17])
def test_rows_are_put_in_the_order_of_a_column_that_numbers_the_images(tmp_path, column, first):
    for order in (range(23, -1, -1), np.random.default_rng(3).permutation(24)):
        rows = "".join(f"{first + k},{TILTS[k]},3.2\n" for k in order)
        angles, notes = read_angles(text(tmp_path, f"{column},Tilt,Dose\n{rows}", "a.csv"))
        assert_allclose(angles, TILTS)
        said = f"rows of a.csv put in the order of its column {column or 'unnamed'}"
        assert notes == (said, "angles: Tilt of a.csv; Dose not read")
    rows = "".join(f"{first + k},{EULER[k, 1]},0.5,-0.25\n" for k in order)
    assert_allclose(read_angles(text(tmp_path, f"{column},theta,phi,psi\n{rows}", "a.csv"))[0], EULER)


def test_a_line_is_named_as_it_stands_where_rows_are_sorted(tmp_path):
    with pytest.raises(InputError, match=r"line 2: 400\.0 is no angle"):
        read_angles(text(tmp_path, "Frame,Tilt\n3,400\n2,0\n1,-60\n", "a.csv"))


@pytest.mark.parametrize(
    "column", ["1 2 5 9", "1 1 2 2", "7 7 7 7", "0.5 0.1 0.3 0.2", "a9.tif a10.tif a11.tif b1.tif"]
)
def test_rows_stay_where_the_column_rises_or_is_no_number_of_images(tmp_path, column):
    rows = "".join(f"{word},{tilt}\n" for word, tilt in zip(column.split(), (-60, 3, 20, 61), strict=True))
    angles, notes = read_angles(text(tmp_path, f"z,Tilt\n{rows}", "a.csv"))
    assert_array_equal(angles, [-60, 3, 20, 61])
    assert notes == ("angles: Tilt of a.csv; z not read",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("Frame,Tilt\n5,60\n3,4\n2,-60\n", r"column Frame \(5, 3 \.\.\.\) neither rises nor counts without gaps"),
        ("Frame,Tilt\n3,60\n2,4\n2,-60\n", "neither rises nor counts"),
        ("File,Tilt\na10.tif,60\na9.tif,4\na8.tif,-60\n", "column File .* is not in the order of the numbers in it"),
        ("Image,Frame,Tilt\n1,3,60\n2,2,4\n3,1,-60\n", "columns Frame and Image number its rows differently"),
        ("Frame,Tilt\n3,-60\n1,4\n2,60\n", "in the order of the tilt, but not of its column Frame"),
    ],
)
def test_tables_that_do_not_say_the_order_of_the_images_are_refused(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        read_angles(text(tmp_path, rows, "a.csv"))


COUNT, DOSE, CONSTANT = np.arange(24) + 5.0, np.arange(1, 25) * 3.33, np.full(24, 0.5)


@pytest.mark.parametrize(
    ("columns", "which"),
    [
        ((TILTS, COUNT, DOSE), 2),
        ((TILTS, CONSTANT, COUNT), 3),
        ((0 * TILTS, TILTS, COUNT[::-1]), 3),
        ((DOSE, TILTS, CONSTANT), 1),
        ((CONSTANT, TILTS, np.sqrt(DOSE)), 3),
        ((CONSTANT, TILTS, np.roll(DOSE, 9)), 3),
    ],
)
@pytest.mark.parametrize("transposed", [False, True])
def test_three_columns_with_numbers_of_images_or_doses_are_no_angles(tmp_path, columns, which, transposed):
    table = np.round(np.stack(columns, axis=0 if transposed else 1), 2)
    np.savetxt(tmp_path / "a.txt", table, fmt="%g")
    with pytest.raises(InputError, match=f"column {which} of its three, .* looks like numbers of images or a dose"):
        read_angles(tmp_path / "a.txt")


@pytest.mark.parametrize("tilts", [np.arange(180.0), np.arange(-70.0, 71.0), 3.0 * np.arange(60)])
@pytest.mark.parametrize("axis", [0, 1])
def test_tilts_that_count_degrees_beside_corrections_are_angles(tmp_path, tilts, axis):
    table = np.random.default_rng(0).integers(-45, 45, (len(tilts), 3)) / 10
    table[:, axis] = tilts
    np.savetxt(tmp_path / "a.txt", table)
    assert_array_equal(read_angles(tmp_path / "a.txt")[0], table)


def test_columns_without_names_are_no_angles_where_they_may_be_numbers_of_images(tmp_path):
    rows = "5,-12,3\n3,-4,1\n1,0,0\n2,4,1\n4,12,2\n"
    with pytest.raises(InputError, match=r"column 1 of its three, 5, 3, 1 \.\.\., looks like numbers of images"):
        read_angles(text(tmp_path, rows, "a.csv"))
    with pytest.raises(InputError, match="three rows and two columns do not say which are images"):
        read_angles(text(tmp_path, "2,-12\n5,-4\n7,0\n", "a.csv"))


def test_a_table_may_be_utf_16_with_decimal_commas_and_powers_of_ten(tmp_path):
    (tmp_path / "a.txt").write_text("Frame\tTilt\n3\t-1,25E+01\n5\t4,5\n", encoding="utf-16")
    assert_array_equal(read_angles(tmp_path / "a.txt")[0], [-12.5, 4.5])
    with pytest.raises(InputError, match=r"angles of shape \(2, 2\)"):
        read_angles(text(tmp_path, "-1,25E+01;0\n4,5E+00;0\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,dose,x\n0,1,2\n1,2,7\n", "of its columns image, dose, x none is called tilt"),
        ("dose\n10\n20\n", "of its columns dose none is called tilt"),
        ("tilt,angle\n0,1\n1,2\n", "several may be the tilt"),
        ("tilt angles\n0 1\n1 2\n", "'tilt angles' may be a title or names of columns"),
        ("alpha,beta\n-60,1\n60,2\n", "its column beta turns the object too"),
        ("Tilt,Beta tilt (deg)\n-60,1\n60,2\n", r"its column Beta tilt \(deg\) turns the object too"),
        ("Tilt,β-tilt\n-60,1\n60,2\n", "its column β-tilt turns the object too"),
        ("Tilt,Tilt Y\n-60,1\n60,2\n", "its column Tilt Y turns the object too"),
        (
            "No,Nominal tilt,Refined tilt\n1,0,1\n2,9,8\n",
            "none is called tilt, though Nominal tilt and Refined tilt may",
        ),
        ("1,-68,00\n2,-64,56\n3,-61,13\n", "-68,00 in its line 1 may be -68.00 with a decimal comma"),
        ("image,tilt,dose\n1,-68,00\n2,-64,56\n", "-68,00 in its line 2 may be -68.00 with a decimal comma"),
        ("image,tilt,dose\n1,-68,25\n2,-64,56\n3,-61,13\n", "may be -68.25 with a decimal comma"),
        ("Frame,Tilt\n1,-68,00\n2,-64,56\n", "give one name for each, and decimal points where commas are"),
        ("tilt,dose\n-60,1,2\n60,2,3\n", r"2 names \(tilt, dose\) stand above 3 columns"),
        ("0,-60,3\n1,0,6\n2,61,9\n3,65,12\n", "column 1 of its three, 0, 1, 2 ..., looks like numbers of images"),
        ("0,10\n1,20\n2,30\n", "may be numbers of images beside angles, or have decimal commas"),
    ],
)
def test_columns_that_may_be_something_else_are_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_angles(text(tmp_path, content, "a.csv"))


@pytest.mark.parametrize(
    "rows", ["1,-60,10\n2,5,10\n3,61,10\n", "1,-60,10\n2,5,20\n3,61,30\n", "1;-60;25\n2;5;17\n3;61;20\n"]
)
def test_whole_numbers_beside_whole_tilts_are_no_decimals_where_they_rise_or_semicolons_stand(tmp_path, rows):
    head = "image,tilt,dose" if "," in rows else "image;tilt;dose"
    assert_array_equal(read_angles(text(tmp_path, f"{head}\n{rows}", "a.csv"))[0], [-60, 5, 61])


def test_a_second_tilt_of_zero_and_other_columns_of_tilts_turn_nothing(tmp_path):
    rows = "Tilt,Beta tilt (deg),Tilt error,Tilt axis angle\n-60,0,0.1,84\n60,0,0.2,85\n"
    assert_array_equal(read_angles(text(tmp_path, rows, "a.csv"))[0], [-60, 60])


def test_the_line_of_spreadsheets_that_says_the_separator_is_passed_over(tmp_path):
    angles, _ = read_angles(text(tmp_path, "sep=;\nFrame;Tilt\n1;-66,5\n2;3\n", "a.csv"))
    assert_array_equal(angles, [-66.5, 3])


def test_numbers_of_images_beside_angles_are_taken_for_such(tmp_path):
    for first in (0, 1):
        rows = "".join(f"{k},{tilt}\n" for k, tilt in enumerate((-60, 2, 61), start=first))
        angles, notes = read_angles(text(tmp_path, rows, "a.csv"))
        assert_array_equal(angles, [-60, 2, 61])
        assert "taken for the numbers of the images" in notes[0]


@pytest.mark.parametrize(
    "content",
    [
        "angle;x\n-66,5;0\n0;0\n61,25;0\n",
        "-66,5\n0\n61,25\n",
        "-66,5\n0,0\n61,25\n",
        "tilt dose\n-66,5\t1\n0\t2\n61,25\t3\n",
    ],
)
def test_decimal_commas_are_read_as_such_and_that_is_said(tmp_path, content):
    angles, notes = read_angles(text(tmp_path, content, "a.csv"))
    assert_array_equal(angles, [-66.5, 0, 61.25])
    assert notes[0] == "decimal commas of a.csv read as points"


def test_angles_of_one_and_two_images_are_three_as_well(tmp_path):
    assert read_angles(text(tmp_path, "1 60 2\n"))[0].tolist() == [[1, 60, 2]]
    assert read_angles(text(tmp_path, "1 -60 0\n2 60 1\n"))[0].shape == (2, 3)


def test_three_by_three_needs_names(tmp_path):
    square = "1 2 3\n4 5 6\n7 8 9\n"
    with pytest.raises(InputError, match="begins with phi,theta,psi"):
        read_angles(text(tmp_path, square))
    assert read_angles(text(tmp_path, "phi theta psi\n" + square))[0].shape == (3, 3)


def test_of_several_arrays_the_only_one_that_fits_is_taken_and_named(tmp_path):
    path = stored(tmp_path, ".mat", images=np.zeros((8, 8, 24)), tilt=TILTS)
    assert read_angles(path)[1] == ("angles: tilt of angles.mat",)
    two = stored(tmp_path, ".mat", first=TILTS, second=-TILTS)
    with pytest.raises(InputError, match=r"several arrays.*--angles-variable"):
        read_angles(two)
    assert_allclose(read_angles(two, variable="second")[0], -TILTS)


def test_texts_and_empty_arrays_of_matlab_are_no_numbers(tmp_path):
    """As MATLAB 7.3 writes them: texts are uint16, empty arrays hold their shape, and attributes say so."""
    arrays = {
        "angles": (TILTS[:, None], {"MATLAB_class": b"double"}),
        "name": (np.frombuffer("FePt".encode("utf-16-le"), np.uint16)[:, None], {"MATLAB_class": b"char"}),
        "empty": (np.zeros(2, np.uint64), {"MATLAB_class": b"double", "MATLAB_empty": np.uint8(1)}),
    }
    with h5py.File(tmp_path / "a.mat", "w") as file:
        for name, (values, said) in arrays.items():
            file.create_dataset(name, data=values).attrs.update(said)
    angles, notes = read_angles(tmp_path / "a.mat")
    assert_allclose(angles, TILTS)
    assert notes == ()
    with pytest.raises(InputError, match="holds no 'name'; it holds angles"):
        read_angles(tmp_path / "a.mat", variable="name")


def test_radians_are_recognized_and_converted_only_when_asked(tmp_path):
    path = stored(tmp_path, ".npy", a=np.radians(TILTS))
    with pytest.raises(InputError, match="these look like radians"):
        read_angles(path)
    assert_allclose(read_angles(path, unit="radians")[0], TILTS)
    assert_allclose(read_angles(path, unit="degrees")[0], np.radians(TILTS))
    with pytest.raises(InputError, match="all 3 angles lie within"):
        read_angles(stored(tmp_path, ".npy", a=np.radians(TILTS[:3])))
    for few in (TILTS[:2], np.zeros(12), np.zeros((5, 3))):
        assert read_angles(stored(tmp_path, ".npy", a=np.radians(few)))[0].shape == few.shape


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n2\nnan\n", r"line 3: nan is no angle within ±360"),
        ("1\n\n400\n", "line 3"),
        ("1 2 400 3\n", "row 2: 400.0 is no angle"),
        ("1 2 3\n4 5\n", "line 2: 2 columns, where most rows have 3"),
        ("1,,3\n4,5,6\n7,8,9\n", "line 1: a cell of this line is empty"),
        ("frame,tilt\n1,5\n2,\n3,9\n", "line 3: a cell of this line is empty"),
        ("1\ntwo\n", "line 2: 'two' are no numbers"),
        ("1 2\n3 4\n5 6\n7 8\n", r"shape \(4, 2\) are neither"),
        ("phi\n", "holds no numbers"),
        ("", "holds no numbers"),
    ],
)
def test_text_that_holds_no_angles_is_refused_with_the_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_angles(text(tmp_path, content))


def test_arrays_that_hold_no_angles_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no array of angles.*a \(4, 5\)"):
        read_angles(stored(tmp_path, ".npz", a=np.zeros((4, 5))))
    with pytest.raises(InputError, match=r"row 5: nan is no angle"):
        read_angles(stored(tmp_path, ".npy", a=np.where(np.arange(24) == 5, np.nan, TILTS)))
    with pytest.raises(InputError, match="no such file"):
        read_angles(tmp_path / "missing.txt")
    with pytest.raises(InputError, match="holds no 'b'"):
        read_angles(stored(tmp_path, ".mat", a=TILTS), variable="b")


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resire_sample_amorphous/sample_angles_amorphous.mat", (41, 3)),
        ("genfire_workshop_fept/angles.mat", (37, 3)),
        ("ta_film_experimental/angles.mat", (46, 3)),
        ("metallic_glass_2021/Angles.mat", (55, 3)),
        ("mea_hea_2023/angle_HEA3.mat", (51, 3)),
        ("paet_np1_asi208/Si_Angle.mat", (60, 3)),
    ],
)
def test_published_angles_are_read_as_they_are(data_dir, name, shape):
    angles, notes = read_angles(data_dir / name)
    assert angles.shape == shape
    assert np.abs(angles[:, 1]).max() > 50
    assert notes == ()
