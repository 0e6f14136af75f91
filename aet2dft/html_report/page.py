"""The page as a whole: which sections there are, and writing it to disk.

What the sections say lives in the modules named after them; the looks live in the templates.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ase import Atoms
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aet2dft import __version__
from aet2dft.atoms import examine
from aet2dft.dft_inputs.comparison import Comparison
from aet2dft.dft_inputs.run_table import RunTable
from aet2dft.errors import ResourceError
from aet2dft.html_report.dft_sections import comparison_section, inputs_section, results_section
from aet2dft.html_report.gates import gates
from aet2dft.html_report.image_gates import image_gates
from aet2dft.html_report.methods import methods
from aet2dft.html_report.parts import Section, Table
from aet2dft.html_report.structure_section import structure_section
from aet2dft.html_report.summary import sentence, tiles
from aet2dft.html_report.tomography import NO_IMAGES, Tomography, tomography_sections
from aet2dft.html_report.viewer import viewer_data
from aet2dft.structure.chemical_order import Order

_AFTER_IMAGES = ("order", "inputs", "collect", "compare")
"""Verbs whose sections follow those of the verbs between images and atoms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chapter:
    """What a project knows of one verb that ran."""

    verb: str
    """The verb."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Its settings, as plain values."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """versions, seed, seconds, peak_memory_mb, inputs [{path, sha256}], command, time, machine."""
    warnings: tuple[str, ...] = ()
    """What it warned of."""


def report(
    target: Path,
    *,
    title: str,
    atoms: Atoms | None = None,
    tomography: Tomography = NO_IMAGES,
    order: Order | None = None,
    runs: RunTable | None = None,
    comparison: Comparison | None = None,
    inputs: Mapping[str, Any] | None = None,
    chapters: tuple[Chapter, ...] = (),
) -> Path:
    """One HTML page that holds everything it needs: figures, tables, a 3D view, Methods and provenance.

    Parameters
    ----------
    target : Path
        File to write; it takes its name when it is whole.
    title : str
        Heading.
    atoms : Atoms, optional
        The model, with the arrays that the verbs wrote.
    tomography : Tomography
        What the verbs between images and atoms left.
    order, runs, comparison : optional
        Results of the verbs `order`, `collect`, `compare`; a verb that did not run has no section.
    inputs : mapping, optional
        Summary of a deck folder: directory, n_volumes, n_jobs, code, kind, axes, protocol (its name, or its record in
        the manifest with all tags), rejected [{volume, reason}]; or ``{"sets": [summaries]}``, the collected one first.
    chapters : tuple of Chapter
        Settings, warnings and provenance of the verbs, in the order in which they ran.

    Returns
    -------
    Path
        The target.

    Raises
    ------
    ResourceError
        If the page cannot be written.
    """
    text = _render(title, atoms, tomography, order, runs, comparison, inputs, chapters)
    part = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    except OSError as error:
        raise ResourceError(f"{target} cannot be written ({error}); free space or choose another file") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _render(
    title: str,
    atoms: Atoms | None,
    tomography: Tomography,
    order: Order | None,
    runs: RunTable | None,
    comparison: Comparison | None,
    inputs: Mapping[str, Any] | None,
    chapters: tuple[Chapter, ...],
) -> str:
    environment = Environment(
        loader=PackageLoader("aet2dft.html_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    viewed = atoms is not None and len(atoms) > 0
    soundness = None if atoms is None else examine(atoms)
    text = methods(
        atoms=atoms, tomography=tomography, order=order, runs=runs, comparison=comparison, inputs=inputs,
        settings={chapter.verb: chapter.settings for chapter in chapters}, sources=_sources(chapters),
    )  # fmt: skip
    return environment.get_template("page.html.j2").render(
        title=title, version=__version__, sentence=sentence(atoms, order, runs, comparison, tomography),
        tiles=tiles(atoms, order, runs, comparison, tomography),
        gates=(*image_gates(tomography, atoms), *gates(soundness, order, runs, comparison)),
        shipped=runs is not None and runs.shipped,
        sections=_sections(atoms, tomography, order, runs, comparison, inputs, chapters),
        viewer=viewer_data(atoms, order, runs) if viewed and atoms is not None else None, methods=text,
        chapters=[(chapter, _provenance(chapter), _settings(chapter)) for chapter in chapters],
        commands=_commands(chapters, runs),
        library=_library() if viewed else "",
    )  # fmt: skip


def _sections(
    atoms: Atoms | None,
    tomography: Tomography,
    order: Order | None,
    runs: RunTable | None,
    comparison: Comparison | None,
    inputs: Mapping[str, Any] | None,
    chapters: tuple[Chapter, ...],
) -> list[Section]:
    """Sections of the verbs that ran, in the order of the flow; those before `order` as they ran."""
    warned = {chapter.verb: chapter.warnings for chapter in chapters}
    drawn = tomography_sections(tomography, atoms, warned)
    plain = {c.verb: _plain_section(c) for c in chapters if c.verb not in _AFTER_IMAGES}
    found = list((plain | drawn).values())
    if order is not None:
        found.append(structure_section(atoms, order, warned.get("order", ())))
    if inputs is not None:
        found.append(inputs_section(inputs, warned.get("inputs", ())))
    if runs is not None:
        found.append(results_section(runs, order, inputs, warned.get("collect", ())))
    if comparison is not None:
        found.append(comparison_section(atoms, comparison, warned.get("compare", ())))
    return found


def _plain_section(chapter: Chapter) -> Section:
    """What is known of a verb that has no figures of its own."""
    seconds = chapter.provenance.get("seconds")
    took = f" It took {float(seconds):,.1f} s." if seconds is not None else ""
    table = Table(title="Settings", header=("setting", "value"), rows=_settings(chapter), folded=True)
    return Section(
        id=f"verb-{chapter.verb}", title=chapter.verb.capitalize(), text=f"The verb {chapter.verb} ran.{took}",
        warnings=chapter.warnings, tables=(table,) if table.rows else (),
    )  # fmt: skip


def _settings(chapter: Chapter) -> tuple[tuple[str, str], ...]:
    return tuple((str(key), "–" if value is None else str(value)) for key, value in chapter.settings.items())


def _provenance(chapter: Chapter) -> tuple[tuple[str, str], ...]:
    """Rows of the table of provenance: what is known, in words."""
    known = chapter.provenance
    rows = [
        ("command", str(known.get("command", ""))),
        ("time", str(known.get("time", ""))),
        ("took", f"{float(known['seconds']):,.1f} s" if "seconds" in known else ""),
        ("peak memory of process", f"{float(known['peak_memory_mb']):,.0f} MB" if "peak_memory_mb" in known else ""),
        ("seed", str(known.get("seed", ""))),
        ("machine", _flat(known.get("machine", ""))),
        ("versions", _flat(known.get("versions", ""))),
        *((f"input {k}", _source(entry)) for k, entry in enumerate(known.get("inputs", ()), start=1)),
    ]
    return tuple((name, value) for name, value in rows if value)


def _commands(chapters: tuple[Chapter, ...], runs: RunTable | None) -> list[str]:
    """What to type to do it all again: every folder of decks, and the calculations before they were collected."""
    found: list[str] = []
    for chapter in chapters:
        known = chapter.provenance
        found += [str(decks["command"]) for decks in known.get("sets", ()) if decks.get("command")]
        if "command" not in known:
            continue
        if chapter.verb == "collect" and runs is not None and runs.has_run:
            run = shlex.join(["aet2dft", "run", _folder(str(known["command"]), known.get("manifest", {}))])
            found.append(f"{run}  # here: outputs that came with the package" if runs.shipped else run)
        found.append(str(known["command"]))
    return list(dict.fromkeys(found))


def _folder(command: str, manifest: Mapping[str, Any]) -> str:
    """Folder of decks as the command that collected them names it, else its whole path."""
    whole = str(manifest.get("directory", ""))
    words = shlex.split(command)[2:]
    return next((word for word in words if Path(word).parts and Path(whole).match(word)), whole)


def _flat(value: Any) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else str(value)


def _source(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return str(entry)
    return f"{entry.get('path', '')}, sha256 {entry.get('sha256', entry.get('digest', ''))}"


def _sources(chapters: tuple[Chapter, ...]) -> tuple[str, ...]:
    return tuple(_source(entry) for chapter in chapters for entry in chapter.provenance.get("inputs", ()))


def _library() -> Markup:
    """The 3D library, as it stands in the package."""
    text = files("aet2dft").joinpath("data", "3dmol", "3Dmol-min.js").read_text(encoding="utf-8")
    # a closing tag inside a string of the library would end the script element
    return Markup(text.replace("</script", "<\\/script"))
