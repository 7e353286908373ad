// Many images of one run on one page; each opens in the viewer.

import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "./api.js";
import { Picture } from "./kit.js";
import { layersOf, layerTitle } from "./runs.js";
import { Viewer } from "./viewer.js";

function Shot({ run, layer, onOpen }) {
  const [page, set] = useState(null);
  useEffect(() => {
    get(`/runs/${run.id}/seen/${layer.name}`).then(set, () => set(null));
  }, [run.id, layer.name]);
  const view = page?.planes[0];
  return h("button", { type: "button", class: "shot", onClick: onOpen },
    page
      ? h(Picture, { path: `/runs/${run.id}/plane/${layer.name}?${new URLSearchParams({ plane: view.name, at: Math.floor(view.count / 2), low: page.presets[0].low, high: page.presets[0].high })}`, alt: "" })
      : h("span", { class: "blank" }),
    h("span", { class: "small" }, layerTitle(layer.name)));
}

export function Gallery({ run }) {
  const images = run.layers.filter((layer) => layer.kind === "grey");
  const [open, set] = useState(null);
  const [most, setMost] = useState(24);
  return h("div", null,
    open && h("div", null,
      h("p", null, h("button", { type: "button", onClick: () => set(null) }, "Back to all images")),
      h(Viewer, { layers: layersOf({ ...run, layers: [open, ...run.layers.filter((layer) => layer.kind === "labels")] }).reverse() })),
    !open && h("div", { class: "gallery" }, images.slice(0, most).map((layer) => h(Shot, { run, layer, key: layer.name, onOpen: () => set(layer) }))),
    !open && images.length > most && h("button", { type: "button", onClick: () => setMost(most + 48) }, `Show more of ${images.length}`),
    run.job === "synthesize" && h("p", { class: "soft" }, "Every image is synthetic: it shows no patient. The report shows each beside the training image nearest to it, where the data set was given."));
}
