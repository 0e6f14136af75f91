"""The README as a user meets it: its Python runs as written and prints what it says, its commands are understood.

Truth: the README itself.
"""

import contextlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from commands import aet2dft as carry_out
from small_particle import write_xyz
from small_tomography import small_tomography
from typer.main import get_command

import aet2dft.cli.recon_verbs
import aet2dft.cli.verbs  # noqa: F401 - both register verbs
from aet2dft.cli.framework import app

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def blocks(text, language):
    """Contents of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def shell_commands():
    """Every `aet2dft` command line in a shell block of the README and the documentation."""
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8"), "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["aet2dft"]:
                    yield pytest.param(words[1:], id=f"{page.stem}: {line}")


@pytest.fixture(scope="module")
def quick_start(tmp_path_factory):
    """Folder in which the Python of the README ran, and what it printed."""
    [code] = blocks(README, "python")
    folder, printed = tmp_path_factory.mktemp("reader"), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    return folder, printed.getvalue()


def test_the_quick_start_is_at_most_ten_lines_and_prints_what_the_readme_says(quick_start):
    [code], [said] = blocks(README, "python"), blocks(README, "text")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    assert quick_start[1] == said


def test_every_deck_folder_of_the_readme_is_written_once():
    [code], shell = blocks(README, "python"), "".join(blocks(README, "sh"))
    folders = re.findall(r'write_decks\(Path\("(\w+)"', code) + re.findall(r"^aet2dft inputs .* -o (\w+)$", shell, re.M)
    assert len(folders) == len(set(folders)) == 2


@pytest.mark.slow
def test_the_commands_of_the_readme_work_one_after_the_other_beside_its_python(quick_start, monkeypatch):
    folder, small = quick_start[0], small_tomography()
    monkeypatch.chdir(folder)
    shipped, twin = Path("aet2dft/data/fept_2017"), Path("demo/twin")  # small ones in the place of what is there
    assert (REPOSITORY / shipped / "FePt_cns_final.xyz").exists()
    shipped.mkdir(parents=True)
    twin.mkdir(parents=True)
    write_xyz(shipped / "FePt_cns_final.xyz")
    np.save(twin / "images.npy", small.series.projections)
    np.savetxt(twin / "angles.txt", small.series.tilt_angles)
    for line in "".join(blocks(README, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words[0] == "aet2dft":
            skipped = ["--dry-run"] if words[1] == "run" else []  # Quantum ESPRESSO would take hours
            answer = carry_out(*words[1:], *skipped)
            assert answer.code == 0, f"{line}\n{answer.err}"


@pytest.mark.parametrize("words", list(shell_commands()))
def test_every_command_in_the_documentation_is_understood(words):
    command = get_command(app)
    if words[0].startswith("-"):
        assert words[0] in {flag for option in command.params for flag in option.opts}
        return
    verb = command.commands[words[0]]
    with verb.make_context(words[0], list(words[1:])) as context:
        assert context.command is verb


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_link_to_a_file_leads_to_one(page):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    files = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in files if not (page.parent / target).exists()] == []


def test_the_verbs_of_the_readme_are_those_of_the_command_line():
    listed = re.findall(r"^\| \[`(\w+)`\]", README, flags=re.MULTILINE)
    assert sorted(listed) == sorted(get_command(app).commands)
