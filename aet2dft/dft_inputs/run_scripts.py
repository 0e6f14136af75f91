"""Text of the POSIX shell script in every job folder; it needs nothing of this package where it runs."""

from __future__ import annotations

_START = """\
#!/bin/sh
# {title}
# AET2DFT_COMMAND: how the code is started, e.g. "mpirun -n 4 {program}".
unset CDPATH
cd -- "$(dirname -- "$0")" || exit 3
refuse() {{
    echo "$(pwd): $1" >&2
    exit 3
}}
"""

_ESPRESSO_PARENT = """\
save=../{parent}/out/job.save
[ "$(cat ../{parent}/exit_status 2>/dev/null)" = 0 ] && grep -q 'JOB DONE' ../{parent}/pw.out ||
    refuse "{parent} has not ended well, run it first"
set -- "$save"/charge-density.*
[ -f "$1" ] && [ -f "$save/data-file-schema.xml" ] ||
    refuse "{parent} has left no charge density, run it again"
"""

_ESPRESSO_CLEAN = """\
rm -rf exit_status pw.out pw.out.part data-file-schema.xml CRASH out
mkdir -p out/job.save
"""

_ESPRESSO_COPY = """\
cp "$@" "$save/data-file-schema.xml" out/job.save/ || refuse "cannot copy the charge density"
"""

_ESPRESSO_RUN = """\
keep_result() {
    result=data-file-schema.xml
    cp "out/job.save/$result" "$result.part" 2>/dev/null && mv "$result.part" "$result"
}
command=${AET2DFT_COMMAND:-pw.x}
# a path with spaces is one program; anything else is a program and its arguments
set -f
if [ -x "$command" ]; then
    "$command" -in pw.in
else
    $command -in pw.in
fi < /dev/null > pw.out.part 2>&1
status=$?
set +f
"""

_ESPRESSO_END = """\
keep_result
rm -rf out/job.wfc* out/job.save/wfc*
mv pw.out.part pw.out
"""

_ESPRESSO_CHILD_END = """\
# a run that died early leaves the file of its parent, which is no result of this one
cmp -s "$save/data-file-schema.xml" out/job.save/data-file-schema.xml || keep_result
rm -rf out/job.wfc* out/job.save/wfc* out/job.save/charge-density.*
mv pw.out.part pw.out
"""

_VASP_PARENT = """\
[ "$(cat ../{parent}/exit_status 2>/dev/null)" = 0 ] &&
    grep -q 'General timing and accounting' ../{parent}/OUTCAR &&
    grep -q 'because EDIFF is reached' ../{parent}/OUTCAR ||
    refuse "{parent} has not ended well, run it first"
[ -s ../{parent}/CHGCAR ] || refuse "{parent} has left no CHGCAR, run it again"
"""

_VASP_CLEAN = """\
rm -f exit_status OUTCAR OSZICAR vasprun.xml vasp.out CHGCAR WAVECAR
"""

_VASP_POTCAR = """\
# VASP_PP_PATH: folder that holds Fe_pv/POTCAR, or potpaw_PBE/Fe_pv/POTCAR
rm -f POTCAR
[ -n "$VASP_PP_PATH" ] || refuse "set VASP_PP_PATH to the folder of the POTCAR files"
while read -r name; do
    potcar=$VASP_PP_PATH/$name/POTCAR
    [ -f "$potcar" ] || potcar=$VASP_PP_PATH/potpaw_PBE/$name/POTCAR
    [ -f "$potcar" ] || refuse "VASP_PP_PATH=$VASP_PP_PATH has no $name/POTCAR"
    grep -q "PAW_PBE $name " "$potcar" || refuse "$potcar is not the data set PAW_PBE $name"
    cat "$potcar" >> POTCAR || refuse "cannot write POTCAR"
done < POTCAR.spec
{ sha256sum POTCAR || shasum -a 256 POTCAR; } > POTCAR.sha256 2>/dev/null
"""

_VASP_COPY = """\
cp ../{parent}/CHGCAR CHGCAR || refuse "cannot copy CHGCAR"
"""

_VASP_RUN = """\
command=${{AET2DFT_COMMAND:-{program}}}
# one command serves all steps: vasp_std and vasp_ncl stand for each other
case $command in *vasp_std | *vasp_ncl) command=${{command%vasp_*}}{program} ;; esac
set -f
if [ -x "$command" ]; then
    "$command"
else
    $command
fi < /dev/null > vasp.out 2>&1
status=$?
set +f
"""

_VASP_END = """\
# POTCAR is licensed: it does not stay in a folder that is passed on
rm -f POTCAR WAVECAR
"""

_END = """\
echo "$status" > exit_status.part && mv exit_status.part exit_status
exit "$status"
"""

_ARRAY = """\
#!/bin/sh
# Runs the jobs of volume number N of manifest.csv, or without a number those of all; what ended well is left alone.
# Slurm: sbatch --array=1-{count} {name}    PBS: qsub -J 1-{count} {name}    here: sh {name} [N]
unset CDPATH
cd -- "${{SLURM_SUBMIT_DIR:-${{PBS_O_WORKDIR:-$(dirname -- "$0")}}}}" || exit 3
awk -F, -v task="${{SLURM_ARRAY_TASK_ID:-${{PBS_ARRAY_INDEX:-$1}}}}" '
    NR > 1 && !($2 in number) {{ number[$2] = ++count }}
    NR > 1 && (task == "" || number[$2] == task) {{ print $NF }}
' manifest.csv | while read -r folder; do
    [ "$(cat "$folder/exit_status" 2>/dev/null)" = 0 ] || sh "$folder/run.sh" < /dev/null
done
"""

ARRAY_SCRIPT = "run_array.sh"
"""Name of the script at the top of a deck folder."""


def array_script(n_volumes: int) -> str:
    """Script that runs the jobs of one volume, for the arrays of Slurm and PBS; reads ``manifest.csv`` beside it."""
    return _ARRAY.format(count=max(n_volumes, 1), name=ARRAY_SCRIPT)


def espresso_script(*, parent: str | None) -> str:
    """``run.sh`` of a Quantum ESPRESSO job.

    Parameters
    ----------
    parent : str, optional
        Step beside this one whose charge density it starts from.
    """
    title = f"Runs pw.x from the charge density of {parent}." if parent else "Runs pw.x."
    start = _START.format(title=title, program="pw.x")
    if parent is None:
        return start + _ESPRESSO_CLEAN + _ESPRESSO_RUN + _ESPRESSO_END + _END
    check = _ESPRESSO_PARENT.format(parent=parent)
    return start + check + _ESPRESSO_CLEAN + _ESPRESSO_COPY + _ESPRESSO_RUN + _ESPRESSO_CHILD_END + _END


def vasp_script(*, parent: str | None, noncollinear: bool) -> str:
    """``run.sh`` of a VASP job.

    Parameters
    ----------
    parent : str, optional
        Step beside this one whose CHGCAR it starts from.
    noncollinear : bool
        Whether it needs vasp_ncl.
    """
    program = "vasp_ncl" if noncollinear else "vasp_std"
    title = f"Runs {program} from the charge density of {parent}." if parent else f"Runs {program}."
    start = _START.format(title=title, program=program)
    run = _VASP_RUN.format(program=program)
    if parent is None:
        return start + _VASP_POTCAR + _VASP_CLEAN + run + _VASP_END + _END
    check, copy = _VASP_PARENT.format(parent=parent), _VASP_COPY.format(parent=parent)
    end = _VASP_END.replace("WAVECAR", "WAVECAR CHGCAR")
    return start + check + _VASP_POTCAR + _VASP_CLEAN + copy + run + end + _END
