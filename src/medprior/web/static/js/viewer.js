// Looking: one plane of a scan with its results over it, made by the server, so that every browser can show it.
// Radiological convention: the patient's right is on the left. The colours of an overlay keep their scale.

import { h } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, picture } from "./api.js";
import { Loading, number, Picture, Problem } from "./kit.js";
import { Solid, solidWorks } from "./solid.js";

const where = (layer) => `/${layer.kind}/${layer.id}`;
const planePath = (layer, plane, at, more) =>
  `${where(layer)}/plane/${layer.name}?${new URLSearchParams({ plane, at, ...more })}`;

// (row, column, slice) of a place in millimetres (or voxels): solves the 3 x 3 part of `place`.
function placeToPixel(place, centre) {
  const m = place.map((row) => row.slice(0, 3));
  const b = centre.map((value, n) => value - place[n][3]);
  const det = (a) =>
    a[0][0] * (a[1][1] * a[2][2] - a[1][2] * a[2][1]) - a[0][1] * (a[1][0] * a[2][2] - a[1][2] * a[2][0]) + a[0][2] * (a[1][0] * a[2][1] - a[1][1] * a[2][0]);
  const whole = det(m);
  return [0, 1, 2].map((column) => det(m.map((row, n) => row.map((value, c) => (c === column ? b[n] : value)))) / whole);
}

export function Viewer({ layers, jump = null, digits = true }) {
  const [pages, setPages] = useState(null);
  const [error, setError] = useState(null);
  const key = layers.map((layer) => `${layer.id}/${layer.name}`).join();
  useEffect(() => {
    let wanted = true;
    setPages(null);
    Promise.all(layers.map((layer) => get(`${where(layer)}/seen/${layer.name}`).catch((wrong) => ({ wrong }))))
      .then((found) => {
        if (!wanted) return;
        const good = layers.map((layer, n) => ({ ...layer, ...found[n] })).filter((layer) => !layer.wrong);
        if (good.some((layer) => layer.type === "grey" || layer.type === "film")) setPages(good);
        else setError(found.find((one) => one.wrong)?.wrong ?? new Error("There is no picture here."));
      });
    return () => {
      wanted = false;
    };
  }, [key]);
  if (error) return h(Problem, { error });
  return pages === null ? h(Loading) : h(Stage, { layers: pages, jump, digits, key });
}

const alike = (one, other) => {
  const [a, b] = [one.planes[0], other.planes[0]];
  return one.planes.length === other.planes.length && a.rows === b.rows && a.columns === b.columns && a.count === b.count;
};

function Stage({ layers, jump, digits }) {
  const greys = layers.filter((layer) => layer.type === "grey" || layer.type === "film");
  const [baseAt, setBase] = useState(0);
  const base = greys[baseAt];
  const twins = greys.filter((layer) => layer !== base && alike(layer, base));
  const [twinName, setTwin] = useState(greys.find((layer) => layer.name === "healthy_twin")?.name ?? "");
  const twin = twins.find((layer) => layer.name === twinName);
  const maps = layers.filter((layer) => layer.type === "overlay" && alike(layer, base));
  const masks = layers.filter((layer) => layer.type === "labels" && alike(layer, base));
  const [mapName, setMap] = useState(layers.find((layer) => layer.name === "map")?.name ?? "");
  const map = maps.find((layer) => layer.name === mapName);
  const [shown, setShown] = useState(true);
  const [outlines, setOutlines] = useState(true);
  const [opacity, setOpacity] = useState(0.7);
  const [from, setFrom] = useState(1);
  const [plane, setPlane] = useState(base.planes[0].name);
  const view = base.planes.find((one) => one.name === plane) ?? base.planes[0];
  const [place, setPlace] = useState({});
  const at = Math.min(place[view.name] ?? Math.floor(view.count / 2), view.count - 1);
  const [win, setWin] = useState(base.presets[0]);
  const [split, setSplit] = useState(50);
  const [frame, setFrame] = useState(0);
  const [playing, setPlaying] = useState(false);
  const [points, setPoints] = useState(null);
  const [cursor, setCursor] = useState(null);
  const [mark, setMark] = useState(null);
  const [solid, setSolid] = useState(false);
  const [zoom, setZoom] = useState(1);
  const stage = useRef(null);

  const move = (step) => setPlace((old) => ({ ...old, [view.name]: Math.max(0, Math.min(view.count - 1, at + step)) }));

  useEffect(() => {
    if (!jump) return;
    const pixel = placeToPixel(view.place, [...jump.centre, 0, 0].slice(0, 3));
    setPlace((old) => ({ ...old, [view.name]: Math.max(0, Math.min(view.count - 1, Math.round(pixel[2]))) }));
    setMark({ row: pixel[0], column: pixel[1], at: Math.round(pixel[2]), number: jump.number });
    setSolid(false);
    stage.current?.focus();
  }, [jump]);

  useEffect(() => {
    if (!playing) return undefined;
    const timer = setInterval(() => setFrame((old) => (old + 1) % base.channels), 350);
    return () => clearInterval(timer);
  }, [playing, base]);

  // the neighbours are fetched ahead, so that turning the pages is quick
  const grey = useMemo(() => ({ colours: "grey", low: win.low, high: win.high }), [win]);
  useEffect(() => {
    const timer = setTimeout(() => {
      for (const step of [1, -1, 2]) {
        if (at + step >= 0 && at + step < view.count) picture(planePath(base, view.name, at + step, grey)).catch(() => {});
      }
    }, 60);
    return () => clearTimeout(timer);
  }, [base, view, at, grey]);

  const measured = points?.length === 2 && view.mm ? Math.hypot(points[0].row - points[1].row, points[0].column - points[1].column) * view.mm : null;
  const measure = () => {
    setPoints(points ? null : []);
    setCursor(points ? null : { row: view.rows / 2, column: view.columns / 2 });
    stage.current?.focus();
  };
  const put = (point) => setPoints((old) => (old === null ? null : old.length === 2 ? [point] : [...old, point]));
  const pixelOf = (event) => {
    const box = stage.current.querySelector(".canvas").getBoundingClientRect();
    return { row: ((event.clientY - box.top) / box.height) * view.rows, column: ((event.clientX - box.left) / box.width) * view.columns };
  };

  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const many = event.shiftKey ? 10 : 1;
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const preset = digits ? base.presets[Number(event.key) - 1] : undefined;
    if (points !== null && steps[event.key]) {
      const [down, right] = steps[event.key];
      setCursor((old) => ({
        row: Math.max(0, Math.min(view.rows, old.row + down * many)),
        column: Math.max(0, Math.min(view.columns, old.column + right * many)),
      }));
    } else if (points !== null && event.key === "Enter") put(cursor);
    else if (event.key === "ArrowUp" || event.key === "ArrowRight") move(1);
    else if (event.key === "ArrowDown" || event.key === "ArrowLeft") move(-1);
    else if (event.key === "PageUp") move(10);
    else if (event.key === "PageDown") move(-10);
    else if (event.key === "Home") move(-view.count);
    else if (event.key === "End") move(view.count);
    else if (preset) setWin(preset);
    else if ("acs".includes(event.key)) {
      const wanted = { a: "axial", c: "coronal", s: "sagittal" }[event.key];
      if (base.planes.some((one) => one.name === wanted)) setPlane(wanted);
    } else if (event.key === "o") setShown(!shown);
    else if (event.key === "f") setOutlines(!outlines);
    else if (event.key === "m" && view.mm) measure();
    else if (event.key === "[") setOpacity((old) => Math.max(0, old - 0.1));
    else if (event.key === "]") setOpacity((old) => Math.min(1, old + 0.1));
    else if (event.key === ",") setSplit((old) => Math.max(0, old - 5));
    else if (event.key === ".") setSplit((old) => Math.min(100, old + 5));
    else if (event.key === "+") setZoom((old) => Math.min(4, old + 0.5));
    else if (event.key === "-") setZoom((old) => Math.max(1, old - 0.5));
    else if (event.key === "Escape") (setPoints(null), setMark(null));
    else return;
    event.preventDefault();
  };

  // dragging with the right button, or with shift, sets the window; the wheel turns the pages
  const drag = useRef(null);
  const now = useRef({});
  now.current = { move, win };
  useEffect(() => {
    const element = stage.current;
    if (!element) return undefined;
    const wheel = (event) => {
      event.preventDefault();
      now.current.move(event.deltaY > 0 ? -1 : 1);
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, [solid]);
  const down = (event) => {
    if (event.button === 2 || event.shiftKey) {
      drag.current = { x: event.clientX, y: event.clientY, win };
      stage.current.setPointerCapture(event.pointerId);
    } else if (points !== null) put(pixelOf(event));
    else if (twin) slide(event);
  };
  const slide = (event) => {
    const box = stage.current.querySelector(".canvas").getBoundingClientRect();
    setSplit(Math.max(0, Math.min(100, ((event.clientX - box.left) / box.width) * 100)));
  };
  const dragged = (event) => {
    if (drag.current) {
      const { x, y, win: old } = drag.current;
      const width = Math.max((old.high - old.low) * Math.exp((event.clientX - x) / 250), 1e-6);
      const level = (old.high + old.low) / 2 - ((event.clientY - y) / 250) * (old.high - old.low);
      setWin({ name: "own", low: level - width / 2, high: level + width / 2 });
    } else if (event.buttons === 1 && points === null && twin) slide(event);
  };

  const scale = map?.colours;
  const low = scale ? scale[0] * from : 0;
  const film = base.type === "film" && base.channels > 1;
  const [left, right, top, bottom] = view.letters;
  const edges = [["l", left], ["r", right], ["t", top], ["b", bottom]].filter(([, letter]) => letter);
  const words = `${base.title}, ${view.name}, slice ${at + 1} of ${view.count}`;

  return h(
    "div",
    { class: "viewer" },
    h("div", { class: "bar", role: "toolbar", "aria-label": "Viewer" },
      greys.length > 1 && h("label", null, "Show ", h("select", { value: baseAt, onChange: (e) => { setBase(Number(e.target.value)); setWin(greys[Number(e.target.value)].presets[0]); setPoints(null); } },
        greys.map((layer, n) => h("option", { value: n }, layer.title)))),
      twins.length > 0 && h("label", null, "beside ", h("select", { value: twin?.name ?? "", onChange: (e) => setTwin(e.target.value) },
        h("option", { value: "" }, "nothing"), twins.map((layer) => h("option", { value: layer.name }, layer.title)))),
      base.planes.length > 1 && h("span", { class: "group", role: "group", "aria-label": "Plane" },
        base.planes.map((one) => h("button", { type: "button", "aria-pressed": !solid && one.name === view.name, onClick: () => (setPlane(one.name), setSolid(false), setMark(null)) }, one.name)),
        solidWorks() && h("button", { type: "button", "aria-pressed": solid, onClick: () => setSolid(!solid) }, "3-D")),
      h("label", null, "Window ", h("select", { value: win.name, onChange: (e) => setWin(base.presets.find((one) => one.name === e.target.value) ?? win) },
        base.presets.map((one, n) => h("option", { value: one.name }, `${n + 1} ${one.name}`)),
        win.name === "own" && h("option", { value: "own" }, "own"))),
      view.mm && h("button", { type: "button", "aria-pressed": points !== null, onClick: measure }, "Measure"),
      film && h("button", { type: "button", "aria-pressed": playing, onClick: () => setPlaying(!playing) }, playing ? "Stop the film" : "Play the draws"),
    ),
    solid
      ? h(Solid, { base, map: shown ? map : null, opacity, low, win })
      : h(
          "div",
          {
            class: "stage",
            ref: stage,
            tabindex: 0,
            role: "application",
            "aria-label": `${words}. Arrow keys turn the pages.`,
            "aria-roledescription": "image viewer",
            onKeyDown: keys,
            onPointerDown: down,
            onPointerMove: dragged,
            onPointerUp: () => (drag.current = null),
            onContextMenu: (e) => e.preventDefault(),
          },
          h("div", { class: "canvas", style: { "--ratio": view.columns / view.rows, "--zoom": zoom, "--split": `${split}%`, aspectRatio: `${view.columns} / ${view.rows}` } },
            h(Picture, { path: planePath(base, view.name, at, { ...grey, channel: film ? frame : 0 }), alt: words, class: "base" }),
            twin && h("div", { class: "twin" }, h(Picture, { path: planePath(twin, view.name, at, grey), alt: `${twin.title}, the same slice` })),
            map && shown && scale && h(Picture, { path: planePath(map, view.name, at, { colours: "overlay", low: scale[0], high: scale[1], start: low }), alt: `${map.title} in colours`, class: "layer map", style: { opacity } }),
            outlines && masks.map((mask) => h(Picture, { key: mask.name, path: planePath(mask, view.name, at, { colours: "labels" }), alt: mask.title, class: "layer" })),
            twin && h("span", { class: "cut", "aria-hidden": true }),
            h(Marks, { view, points, cursor, mark: mark && (mark.at === at || view.count === 1) ? mark : null, measured })),
          edges.map(([side, letter]) => h("span", { class: `edge ${side}`, key: side }, letter)),
          h("span", { class: "corner" }, `${at + 1} / ${view.count}`),
          twin && h("span", { class: "corner sides" }, `${base.title} | ${twin.title}`),
          (base.synthetic || twin) && h("span", { class: "made" }, "contains synthetic values")),
    h("div", { class: "bar", role: "group", "aria-label": "Sliders" },
      view.count > 1 && !solid && h("label", { class: "slider" }, h("span", null, "Slice"), h("input", { type: "range", min: 0, max: view.count - 1, value: at, onInput: (e) => setPlace({ ...place, [view.name]: Number(e.target.value) }) }), h("output", null, at + 1)),
      twin && !solid && h("label", { class: "slider" }, h("span", null, `${base.title} to ${twin.title}`), h("input", { type: "range", min: 0, max: 100, value: split, class: "split", onInput: (e) => setSplit(Number(e.target.value)) })),
      film && h("label", { class: "slider" }, h("span", null, "Draw"), h("input", { type: "range", min: 0, max: base.channels - 1, value: frame, onInput: (e) => setFrame(Number(e.target.value)) }), h("output", null, `${frame + 1} of ${base.channels}`)),
      maps.length > 0 && h("label", null, "Overlay ", h("select", { value: map?.name ?? "", onChange: (e) => setMap(e.target.value) }, h("option", { value: "" }, "none"), maps.map((layer) => h("option", { value: layer.name }, layer.title)))),
      map && h("label", { class: "check" }, h("input", { type: "checkbox", checked: shown, onChange: () => setShown(!shown) }), "show"),
      map && h("label", { class: "slider" }, h("span", null, "Opacity"), h("input", { type: "range", min: 0, max: 1, step: 0.05, value: opacity, onInput: (e) => setOpacity(Number(e.target.value)) })),
      map && scale[0] > 0 && h("label", { class: "slider" }, h("span", null, "Colours begin at"), h("input", { type: "range", min: 0.1, max: 1.5, step: 0.05, value: from, onInput: (e) => setFrom(Number(e.target.value)) }), h("output", null, number(low))),
      masks.length > 0 && h("label", { class: "check" }, h("input", { type: "checkbox", checked: outlines, onChange: () => setOutlines(!outlines) }), "outline findings"),
      h("span", { class: "soft small" }, `${number(win.low)} to ${number(win.high)} ${base.unit}`),
    ),
    map && scale && h("figure", { class: "legend" },
      h("span", null, number(scale[0])), h(Picture, { path: "/legend/overlay", alt: "Colours from low to high" }), h("span", null, number(scale[1])),
      h("figcaption", null, map.name === "map"
        ? from < 1
          ? `Shown from ${number(low)} on. Values below ${number(scale[0])} have the lowest colour: healthy scans show them, too.`
          : "Coloured where the map passes what one healthy scan in twenty reaches anywhere."
        : `${map.title}. The scale is that of the whole volume.`)),
    measured !== null && h("p", { role: "status", class: "measured" }, `Distance ${number(measured)} mm`),
    points !== null && measured === null && h("p", { role: "status", class: "soft" }, "Click two places, or move the cross with the arrow keys and press Enter twice."),
    h("details", { class: "keys" }, h("summary", null, "Keys"),
      h("p", null, "arrows slice · PageUp PageDown ten slices · a c s plane · 1 to 6 window · o overlay · [ ] opacity · f outlines · , . slider · m measure · + - zoom · Esc clear. Wheel: slice. Right button or shift with dragging: window.")),
  );
}

const Marks = ({ view, points, cursor, mark, measured }) => {
  const unit = Math.max(view.rows, view.columns) / 100;
  const cross = (point, name) =>
    h("g", { class: name }, h("line", { x1: point.column - 2 * unit, x2: point.column + 2 * unit, y1: point.row, y2: point.row }), h("line", { x1: point.column, x2: point.column, y1: point.row - 2 * unit, y2: point.row + 2 * unit }));
  return h(
    "svg",
    { class: "marks", viewBox: `0 0 ${view.columns} ${view.rows}`, "aria-hidden": true },
    points !== null && cursor && cross(cursor, "cursor"),
    points?.map((point) => cross(point, "point")),
    points?.length === 2 && h("line", { class: "point", x1: points[0].column, y1: points[0].row, x2: points[1].column, y2: points[1].row }),
    mark && h("circle", { class: "found", cx: mark.column, cy: mark.row, r: 4.5 * unit }),
  );
};
