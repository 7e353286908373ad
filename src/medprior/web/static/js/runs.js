// Results: a list, and one run with everything that it has to say.

import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { fetchFile, get } from "./api.js";
import { Gallery } from "./gallery.js";
import { Icon } from "./icons.js";
import { Command, Empty, go, Head, link, Loading, number, Picture, Problem, size, titled, useAnswer } from "./kit.js";
import { Answers, Report } from "./report.js";
import { Viewer } from "./viewer.js";

export function RunsPage() {
  const [runs, error] = useAnswer("/runs", 8000);
  const [chosen, set] = useState([]);
  const [job, setJob] = useState("");
  const toggle = (id) => set((old) => (old.includes(id) ? old.filter((one) => one !== id) : [...old, id]));
  const jobs = [...new Set((runs ?? []).map((run) => run.job))];
  const shown = (runs ?? []).filter((run) => !job || run.job === job);
  return h(
    "div",
    null,
    h(Head, { title: "Results", lead: runs?.length ? (chosen.length === 1 ? "Tick one more to compare." : "Tick two or more to see them side by side.") : "" },
      runs?.length > 0 && h("button", { type: "button", class: chosen.length > 1 ? "main" : "", disabled: chosen.length < 2, onClick: () => go(`compare?runs=${chosen.join(",")}`) }, chosen.length > 1 ? `Compare ${chosen.length} side by side` : "Compare side by side")),
    h(Problem, { error }),
    jobs.length > 1 && h("div", { class: "chips", role: "group", "aria-label": "Show" },
      ["", ...jobs].map((one) => h("button", { type: "button", key: one, "aria-pressed": job === one, onClick: () => setJob(one) }, one ? titled(one) : "All"))),
    runs === null
      ? h(Loading)
      : runs.length
        ? h("ul", { class: "cards" }, shown.map((run) =>
            h("li", { key: run.id, class: "with-tick" },
              h("a", { class: "card", href: link(`run/${run.id}`) },
                run.preview ? h(Picture, { path: `/runs/${run.id}/preview.png`, alt: "", class: "thumb" }) : h("span", { class: "thumb sign" }, h(Icon, { name: run.job, size: 44 })),
                h("span", { class: "words" }, h("b", null, titled(run.job)), h("span", null, run.result), h("span", { class: "soft small" }, [run.prior, run.finished.slice(0, 16).replace("T", " ")].filter(Boolean).join(" · ")))),
              h("label", { class: "tick" }, h("input", { type: "checkbox", checked: chosen.includes(run.id), onChange: () => toggle(run.id) }), h("span", { class: "hidden" }, `Compare ${run.folder}`)))))
        : h(Empty, { title: "Nothing has been done yet", icon: "runs" },
            h("p", null, "Choose a scan and a job. What comes out appears here, from this page and from the command line."),
            h("p", null, h("a", { class: "button main", href: link("scans") }, "Choose a scan"))),
  );
}

const TITLES = { healthy_twin: "Healthy twin", map: "Unusual places", findings: "Findings", reconstruction: "Reconstruction", known: "Known answer", draws: "Draws", spread: "Spread of the draws", difference: "What changed" };
export const layerTitle = (name) => TITLES[name] ?? name.replaceAll(/[_-]/g, " ").replace(/^./, (c) => c.toUpperCase());

export const layersOf = (run) => [
  ...(run.scan ? [{ kind: "studies", id: run.scan, name: "scan", type: "grey", title: "Scan" }] : []),
  ...run.layers.map((layer) => ({ kind: "runs", id: run.id, name: layer.name, type: layer.kind, title: layerTitle(layer.name), synthetic: layer.kind === "grey" })),
];

// What to do next with a result: why a model said this, label on, the same with other options.
function Next({ run }) {
  const asked = new URLSearchParams(run.again);
  const why = new URLSearchParams({ input: run.scan, prior: run.prior, ...(run.again.head && { model: run.again.head }) });
  for (const key of ["unit", "modality", "allow_other"]) if (run.again[key]) why.set(key, run.again[key]);
  const links = [
    run.job === "label" && [`label/${run.id}`, "Label these scans", "labels"],
    run.job === "learn" && [`new/predict?head=${run.id}`, "Predict with it", "predict"],
    run.scan && ["predict", "detect"].includes(run.job) && [`new/explain?${why}`, run.job === "predict" ? "Why?" : "Why? Ask a model", "explain"],
    run.scan && [`scan/${run.scan}`, "The scan", "scans"],
    run.again && [...asked].length > 0 && [`new/${run.verb}?${asked}`, "Change and do it again", "jobs"],
  ].filter(Boolean);
  return links.length > 0 && [h("h2", null, "Next"), h("ul", { class: "verbs" }, links.map(([to, words, icon]) => h("li", { key: to }, h("a", { class: "button", href: link(to) }, h(Icon, { name: icon }), h("span", null, words)))))];
}

const Findings = ({ run, onJump }) =>
  run.findings.length > 0 && [
    h("h2", null, "Findings"),
    h("ol", { class: "findings" }, run.findings.map((one) =>
      h("li", { key: one.number }, h("button", { type: "button", onClick: () => onJump({ ...one, again: Date.now() }) },
        h("b", null, `Finding ${one.number}`),
        h("span", null, [one.size !== null && `${number(one.size)} ${one.unit ?? (one.centre.length === 3 ? "ml" : "mm²")}`, one.p_value !== null ? `p ${number(one.p_value)}` : "not calibrated"].filter(Boolean).join(" · ")))))),
    h("p", { class: "soft small" }, "A line jumps to its place. p: how many healthy scans show a value as high anywhere."),
  ];

// Jobs whose result is a picture to look at; of the others the report says more than the pictures.
const LOOKED_AT = ["detect", "reconstruct", "augment", "augment-classical", "synthesize"];

export function RunPage({ name }) {
  const [run, error] = useAnswer(`/runs/${name}`);
  const [sections, setSections] = useState(null);
  const [jump, setJump] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    setSections(null);
    get(`/runs/${name}/sections`).then(setSections, () => setSections([]));
  }, [name]);
  if (error) return h("div", null, h("h1", null, "Result"), h(Problem, { error }));
  if (!run) return h("div", null, h("h1", null, "Result"), h(Loading));
  const layers = layersOf(run);
  const gallery = run.layers.filter((layer) => layer.kind === "grey").length > 3 && run.job !== "explain";
  const open = (file) => fetchFile(name, file).catch(setProblem);
  const [lines, shown] = run.job === "synthesize" ? [[run.result, ...run.headline], 1] : [run.headline, 3];
  const first = LOOKED_AT.includes(run.job) && !run.many;
  const pictures = layers.length > 0 && !run.many && (gallery ? h(Gallery, { run }) : h(Viewer, { layers, jump, key: name }));
  const own = run.files.filter(([file]) => !file.startsWith("scans/")).slice(0, 12), rest = run.files.filter((one) => !own.includes(one));
  const report = sections?.length > 0 && h(Report, { sections, onOpen: open });
  return h(
    "div",
    { class: "split" },
    h("div", { class: "wide" },
      h("h1", null, titled(run.job), run.many > 0 && h("span", { class: "soft" }, ` · ${run.many} scans`)),
      run.answer ? h(Answers, { answer: run.answer }) : null,
      (first || !report) && h("div", { class: "headline" },
        lines.slice(0, shown).map((line) => h("p", { key: line }, line)),
        lines.length > shown && h("details", null, h("summary", null, `${lines.length - shown} more lines`), lines.slice(shown).map((line) => h("p", { key: line }, line)))),
      first && pictures,
      first ? report && h("details", { class: "fold" }, h("summary", null, "What the report says"), report) : report,
      !first && layers.length > 1 && pictures && [h("h2", null, "Look closer"), pictures],
      !layers.length && !report && run.preview && h(Picture, { path: `/runs/${name}/preview.png`, alt: "The result at one glance", class: "preview" })),
    h("aside", { "aria-label": "About this result" },
      h("p", { class: "row" }, h("button", { type: "button", class: "main", onClick: () => open("report.html") }, "Open the report")),
      h(Problem, { error: problem }),
      h(Findings, { run, onJump: setJump }),
      h(Next, { run }),
      h("h2", null, "Files"),
      h("ul", { class: "plain files" }, own.map(([file, bytes]) => h(File, { file, bytes, open, key: file }))),
      rest.length > 0 && h("details", null, h("summary", null, `${rest.length} more files`),
        h("ul", { class: "plain files" }, rest.slice(0, 200).map(([file, bytes]) => h(File, { file, bytes, open, key: file }))),
        rest.length > 200 && h("p", { class: "soft" }, `and ${rest.length - 200} more in ${run.folder}`)),
      run.command && [h("h2", null, "The same as a command"), h(Command, { text: run.command })],
      h("details", null, h("summary", null, "Facts"), h("dl", null, run.facts.map(([what, words]) => [h("dt", null, what), h("dd", null, words)])))),
  );
}

const File = ({ file, bytes, open }) =>
  h("li", null, h("button", { type: "button", class: "link", onClick: () => open(file) }, file), h("span", { class: "soft" }, ` ${size(bytes)}`));
