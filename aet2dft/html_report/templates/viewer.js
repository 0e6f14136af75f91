(() => {
  "use strict";
  const element = (id) => document.getElementById(id);
  const canvas = element("view-canvas");
  const n = VIEW.site.length;
  const missing = "#8c959f";
  const small = 0.2; // atoms without a value hide nothing
  const background = () => getComputedStyle(document.documentElement).getPropertyValue("--card").trim();
  let viewer;
  try {
    viewer = $3Dmol.createViewer(canvas, { backgroundColor: background(), antialias: true, hoverDuration: 80, orthographic: true });
  } catch (error) {
    viewer = null;
  }
  if (!viewer) {
    canvas.textContent = "This browser has no WebGL; the 3D view needs it.";
    return;
  }
  const species = VIEW.colorings[0];
  const atoms = Array.from({ length: n }, (_, i) => ({
    x: VIEW.positions[3 * i] / 100, y: VIEW.positions[3 * i + 1] / 100, z: VIEW.positions[3 * i + 2] / 100,
    elem: species.names[species.values[i]], serial: i, bonds: [], bondOrder: [],
  }));
  const reach = [0, 1, 2].map((k) => atoms.reduce((most, atom) => Math.max(most, Math.abs(atom["xyz"[k]])), 1));
  const model = viewer.addModel();
  model.addAtoms(atoms);

  const shade = (coloring, value) => {
    if (value === null) return missing;
    if (coloring.kind === "classes") return coloring.colors[value];
    const [low, high] = coloring.range;
    const last = coloring.colors.length - 1;
    return coloring.colors[Math.round(last * Math.min(1, Math.max(0, (value - low) / (high - low))))];
  };
  const chosen = () => VIEW.colorings[Number(element("view-color").value)];
  const slab = () => {
    const axis = Number(element("view-axis").value);
    return {
      letter: "xyz"[axis],
      at: Number(element("view-position").value) * reach[axis],
      half: Number(element("view-thickness").value) * 1.02 * reach[axis],
      whole: Number(element("view-thickness").value) >= 1,
    };
  };
  const draw = () => {
    const coloring = chosen();
    const cut = slab();
    element("view-position-value").textContent = cut.whole ? "" : `${cut.at.toFixed(1)} Å`;
    element("view-thickness-value").textContent = cut.whole ? "all" : `${(2 * cut.half).toFixed(1)} Å`;
    viewer.setStyle({}, {});
    const shown = (a) => cut.whole || Math.abs(a[cut.letter] - cut.at) <= cut.half;
    species.names.forEach((name, kind) => {
      for (const without of [false, true]) {
        const here = (a) => species.values[a.serial] === kind && (coloring.values[a.serial] === null) === without && shown(a);
        const radius = VIEW.radius[kind] * (without ? small : 1);
        viewer.setStyle({ predicate: here }, { sphere: { radius, colorfunc: (a) => shade(coloring, coloring.values[a.serial]) } });
      }
    });
    viewer.render();
  };
  const swatch = (color) => {
    const box = document.createElement("span");
    box.className = "swatch";
    box.style.background = color;
    return box;
  };
  const legend = () => {
    const place = element("view-legend");
    const coloring = chosen();
    place.replaceChildren();
    if (coloring.kind === "classes") {
      coloring.names.forEach((name, k) => {
        const item = document.createElement("span");
        item.append(swatch(coloring.colors[k]), name);
        place.append(item);
      });
      return;
    }
    const digits = coloring.range[1] - coloring.range[0] < 1 ? 3 : coloring.range[1] - coloring.range[0] < 10 ? 2 : 1;
    const bar = document.createElement("span");
    bar.className = "bar";
    bar.style.background = `linear-gradient(to right, ${coloring.colors.join(",")})`;
    place.append(`${coloring.range[0].toFixed(digits)}`, bar, `${coloring.range[1].toFixed(digits)} ${coloring.unit}`);
    if (coloring.values.includes(null)) place.append(swatch(missing), "no value, drawn small");
  };
  const describe = (i) => {
    const coloring = chosen();
    const parts = [`site ${VIEW.site[i]}`, species.names[species.values[i]]];
    if (VIEW.confidence) parts.push(`confidence ${VIEW.confidence[i]}`);
    const grain = VIEW.colorings.find((c) => c.key === "grain");
    if (grain) parts.push(grain.values[i] ? `grain ${grain.names[grain.values[i]]}` : "no grain");
    if (coloring.key !== "species" && coloring.key !== "grain") {
      const value = coloring.values[i];
      const text = coloring.kind === "classes" ? coloring.names[value] : value === null ? "no value" : `${value} ${coloring.unit}`;
      parts.push(`${coloring.label}: ${text}`);
    }
    return parts.join(" · ");
  };
  viewer.setHoverable({}, true,
    (atom) => { if (atom) element("view-hover").textContent = describe(atom.serial); },
    () => { element("view-hover").textContent = "\u00a0"; });

  let waiting = 0;
  const soon = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  };
  element("view-color").addEventListener("change", () => { legend(); draw(); });
  for (const id of ["view-axis", "view-position", "view-thickness"]) element(id).addEventListener("input", soon);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { viewer.setBackgroundColor(background()); viewer.render(); });
  element("view-controls").reset();
  legend();
  draw();
  viewer.zoomTo();
  viewer.rotate(-70, "x");
  viewer.rotate(25, "y");
  viewer.zoom(0.95);
  viewer.render();
  canvas.dataset.atoms = String(n);
})();
