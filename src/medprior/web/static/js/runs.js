// Results: a list, and one run with everything that it has to say.

import { h } from "preact";
import { useState } from "preact/hooks";
import { fetchFile } from "./api.js";
import { Command, Empty, go, link, Loading, number, Picture, Problem, size, titled, useAnswer } from "./kit.js";
import { Gallery } from "./gallery.js";
import { Viewer } from "./viewer.js";

export function RunsPage() {
  const [runs, error] = useAnswer("/runs", 8000);
  const [chosen, set] = useState([]);
  const toggle = (id) => set((old) => (old.includes(id) ? old.filter((one) => one !== id) : [...old, id]));
  return h(
    "div",
    null,
    h("h1", null, "Results"),
    h(Problem, { error }),
    runs === null
      ? h(Loading)
      : runs.length
        ? [
            h("p", { class: "row" },
              h("button", { type: "button", disabled: chosen.length < 2, onClick: () => go(`compare?runs=${chosen.join(",")}`) }, "Compare side by side"),
              h("span", { class: "soft" }, chosen.length < 2 ? "Tick two or more results to compare them." : `${chosen.length} chosen`)),
            h("ul", { class: "cards" }, runs.map((run) =>
              h("li", { key: run.id, class: "with-tick" },
                h("a", { class: "card", href: link(`run/${run.id}`) },
                  run.preview ? h(Picture, { path: `/runs/${run.id}/preview.png`, alt: "", class: "thumb" }) : h("span", { class: "thumb sign", "aria-hidden": true }, "·"),
                  h("span", { class: "words" }, h("b", null, titled(run.job)), h("span", null, run.result), h("span", { class: "soft small" }, [run.prior, run.finished.slice(0, 16).replace("T", " ")].filter(Boolean).join(" · ")))),
                h("label", { class: "tick" }, h("input", { type: "checkbox", checked: chosen.includes(run.id), onChange: () => toggle(run.id) }), h("span", { class: "hidden" }, `Compare ${run.folder}`))))),
          ]
        : h(Empty, { title: "Nothing has been done yet" },
            h("p", null, "Results of the page and of the command line appear here."),
            h("p", null, h("a", { class: "button main", href: link("scans") }, "Choose a scan"))),
  );
}

const TITLES = { healthy_twin: "Healthy twin", map: "Unusual places", findings: "Findings", reconstruction: "Reconstruction", known: "Known answer", draws: "Draws", spread: "Spread of the draws" };
export const layerTitle = (name) => TITLES[name] ?? name.replaceAll(/[_-]/g, " ").replace(/^./, (c) => c.toUpperCase());

export const layersOf = (run) => [
  ...(run.scan ? [{ kind: "studies", id: run.scan, name: "scan", type: "grey", title: "Scan" }] : []),
  ...run.layers.map((layer) => ({ kind: "runs", id: run.id, name: layer.name, type: layer.kind, title: layerTitle(layer.name), synthetic: layer.kind === "grey" })),
];

export function RunPage({ name }) {
  const [run, error] = useAnswer(`/runs/${name}`);
  const [jump, setJump] = useState(null);
  const [problem, setProblem] = useState(null);
  if (error) return h("div", null, h("h1", null, "Result"), h(Problem, { error }));
  if (!run) return h("div", null, h("h1", null, "Result"), h(Loading));
  const layers = layersOf(run);
  const many = run.layers.filter((layer) => layer.kind === "grey").length > 3;
  const open = (file) => fetchFile(name, file).catch(setProblem);
  return h(
    "div",
    { class: "split" },
    h("div", { class: "wide" },
      h("h1", null, titled(run.job)),
      h("div", { class: "headline" },
        run.headline.slice(0, 3).map((line) => h("p", null, line)),
        run.headline.length > 3 && h("details", null, h("summary", null, `${run.headline.length - 3} more lines`), run.headline.slice(3).map((line) => h("p", null, line)))),
      layers.length > 0 && (many ? h(Gallery, { run }) : h(Viewer, { layers, jump })),
      !layers.length && run.preview && h(Picture, { path: `/runs/${name}/preview.png`, alt: "The result at one glance", class: "preview" })),
    h("aside", { "aria-label": "About this result" },
      h("p", { class: "row" }, h("button", { type: "button", class: "main", onClick: () => open("report.html") }, "Open the report")),
      h(Problem, { error: problem }),
      run.findings.length > 0 && [
        h("h2", null, "Findings"),
        h("ol", { class: "findings" }, run.findings.map((one) =>
          h("li", { key: one.number }, h("button", { type: "button", onClick: () => setJump({ ...one, again: Date.now() }) },
            h("b", null, `Finding ${one.number}`),
            h("span", null, [one.size !== null && `${number(one.size)} ${one.centre.length === 3 && run.layers.some((l) => l.name === "map") ? "ml or mm²" : "mm²"}`, one.p_value !== null ? `p ${number(one.p_value)}` : "not calibrated"].filter(Boolean).join(" · ")))))),
        h("p", { class: "soft small" }, "Each line jumps to the place. p: how many healthy scans show a value as high anywhere."),
      ],
      run.scan && h("p", null, h("a", { href: link(`scan/${run.scan}`) }, "The scan")),
      h("h2", null, "Files"),
      h("ul", { class: "plain files" }, run.files.slice(0, 40).map(([file, bytes]) =>
        h("li", { key: file }, h("button", { type: "button", class: "link", onClick: () => open(file) }, file), h("span", { class: "soft" }, ` ${size(bytes)}`)))),
      run.files.length > 40 && h("p", { class: "soft" }, `and ${run.files.length - 40} more in ${run.folder}`),
      run.command && [h("h2", null, "The same as a command"), h(Command, { text: run.command })],
      h("details", null, h("summary", null, "Facts"), h("dl", null, run.facts.map(([what, words]) => [h("dt", null, what), h("dd", null, words)])))),
  );
}
