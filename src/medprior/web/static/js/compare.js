// Several results side by side.

import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "./api.js";
import { link, Loading, Problem, titled } from "./kit.js";
import { layersOf } from "./runs.js";
import { Viewer } from "./viewer.js";

export function ComparePage({ query }) {
  const [runs, set] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    Promise.all((query.runs ?? "").split(",").filter(Boolean).map((id) => get(`/runs/${id}`))).then(set, setError);
  }, [query.runs]);
  if (!runs) return h("div", null, h("h1", null, "Side by side"), error ? h(Problem, { error }) : h(Loading));
  return h("div", null,
    h("h1", null, "Side by side"),
    h("div", { class: "beside" }, runs.map((run) =>
      h("section", { key: run.id, "aria-label": run.folder },
        h("h2", null, h("a", { href: link(`run/${run.id}`) }, titled(run.job))),
        run.headline.map((line) => h("p", null, line)),
        layersOf(run).length > 0 && h(Viewer, { layers: layersOf(run).slice(0, 6) }),
        h("dl", null, run.facts.filter(([what]) => ["Prior", "Seed", "Time"].includes(what)).map(([what, words]) => [h("dt", null, what), h("dd", null, words)]))))));
}
