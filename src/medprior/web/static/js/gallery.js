// Many images of one run on one page; each opens in the viewer.

import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "./api.js";
import { Picture, useAnswer } from "./kit.js";
import { layersOf, layerTitle } from "./runs.js";
import { Viewer } from "./viewer.js";

// The scan of a data set that is most alike, beside the image.
function Nearest({ run, layer, of }) {
  const [found, error] = useAnswer(`/runs/${run.id}/nearest/${layer.name}?of=${encodeURIComponent(of)}`);
  if (error) return h("span", { class: "small problem" }, error.message);
  return h("span", { class: "beside-it" },
    h(Picture, { path: `/runs/${run.id}/nearest/${layer.name}/picture?of=${encodeURIComponent(of)}`, alt: found ? `Most alike: ${found.name}` : "" }),
    h("span", { class: "small" }, found ? `${found.name.split("/").pop()} · ${found.alike.toFixed(2)}` : "…"));
}

function Shot({ run, layer, onOpen, of }) {
  const [page, set] = useState(null);
  useEffect(() => {
    get(`/runs/${run.id}/seen/${layer.name}`).then(set, () => set(null));
  }, [run.id, layer.name]);
  const view = page?.planes[0];
  const shot = h("button", { type: "button", class: "shot", onClick: onOpen },
    page
      ? h(Picture, { path: `/runs/${run.id}/plane/${layer.name}?${new URLSearchParams({ plane: view.name, at: Math.floor(view.count / 2), low: page.presets[0].low, high: page.presets[0].high })}`, alt: "" })
      : h("span", { class: "blank" }),
    h("span", { class: "small" }, layerTitle(layer.name)));
  return of ? h("div", { class: "twosome" }, shot, h(Nearest, { run, layer, of })) : shot;
}

export function Gallery({ run }) {
  const images = run.layers.filter((layer) => layer.kind === "grey");
  const [open, set] = useState(null);
  const [most, setMost] = useState(24);
  const [studies] = useAnswer("/studies");
  const [named] = useAnswer("/sets");
  const [of, setOf] = useState(run.again.data ?? "");
  const sets = [...(named ?? []).map((one) => [one, one]), ...(studies ?? []).filter((one) => one.kind === "set").map((one) => [one.id, one.name])];
  return h("div", null,
    open && h("div", null,
      h("p", null, h("button", { type: "button", onClick: () => set(null) }, "Back to all images")),
      h(Viewer, { layers: layersOf({ ...run, layers: [open, ...run.layers.filter((layer) => layer.kind === "labels")] }).reverse() })),
    !open && run.job === "synthesize" && h("p", { class: "row" }, sets.length
      ? h("label", null, "Beside each, the nearest scan of ", h("select", { value: of, onChange: (e) => setOf(e.target.value) }, h("option", { value: "" }, "no data set"), sets.map(([key, words]) => h("option", { key, value: key }, words))))
      : h("span", { class: "soft" }, "Hand in the data set behind the prior, and each image stands beside the scan nearest to it.")),
    !open && h("div", { class: of ? "gallery pairs" : "gallery" }, images.slice(0, most).map((layer) => h(Shot, { run, layer, of, key: layer.name, onOpen: () => set(layer) }))),
    !open && images.length > most && h("button", { type: "button", onClick: () => setMost(most + 48) }, `Show more of ${images.length}`),
    run.job === "synthesize" && h("p", { class: "soft" }, "Every image is synthetic: it shows no patient.", of && " The number is the correlation at 64 × 64 pixels. The copy audit of the report looks closer."));
}
