// Scans: hand them in, look at them, choose what to do.

import { h } from "preact";
import { useRef, useState } from "preact/hooks";
import { post, remove, send } from "./api.js";
import { Icon } from "./icons.js";
import { ago, go, Head, link, Loading, Picture, Problem, titled, useAnswer } from "./kit.js";
import { Viewer } from "./viewer.js";

// Every file below what was dropped, folders included.
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) found.push(await new Promise((yes, no) => entry.file(yes, no)));
    else {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((yes, no) => reader.readEntries(yes, no));
        if (!some.length) break;
        for (const one of some) await walk(one);
      }
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

export async function handIn(files, onStep, asSet = "") {
  const { upload } = await post("/uploads");
  try {
    const wanted = [...files].filter((file) => !file.name.startsWith(".") && file.size > 0);
    let done = 0;
    const queue = wanted.values();
    const worker = async () => {
      for (const file of queue) {
        await send(`/uploads/${upload}/files?name=${encodeURIComponent(file.name)}`, file);
        onStep(++done, wanted.length);
      }
    };
    await Promise.all([worker(), worker(), worker()]);
    onStep(wanted.length, wanted.length, true);
    return await post(`/uploads/${upload}/end`, { as_set: asSet });
  } catch (error) {
    await remove(`/uploads/${upload}`).catch(() => {});
    throw error;
  }
}

function Drop({ onDone, large }) {
  const [over, setOver] = useState(false);
  const [step, setStep] = useState(null);
  const [error, setError] = useState(null);
  const [refused, setRefused] = useState([]);
  const files = useRef(null);
  const folder = useRef(null);
  const set = useRef(null);
  const take = async (found, asSet = "") => {
    if (!found.length) return;
    setError(null);
    setRefused([]);
    try {
      const answer = await handIn(found, (done, all, reading) => setStep({ done, all, reading }), asSet);
      setRefused(answer.refused);
      onDone(answer.studies);
    } catch (problem) {
      setError(problem);
    }
    setStep(null);
  };
  const drop = async (event) => {
    event.preventDefault();
    setOver(false);
    take(await filesOf(event.dataTransfer));
  };
  const chooser = (ref, label, more, after) =>
    h("span", null,
      h("button", { type: "button", onClick: () => ref.current.click(), disabled: step !== null }, label),
      h("input", { ...more, ref, type: "file", hidden: true, "aria-label": label, onChange: (e) => (after(e.target.files), (e.target.value = "")) }),
    );
  return h(
    "section",
    {
      class: `drop${over ? " over" : ""}${large ? " large" : ""}`,
      "aria-label": "Hand in scans",
      onDragOver: (e) => (e.preventDefault(), setOver(true)),
      onDragLeave: () => setOver(false),
      onDrop: drop,
    },
    h("span", { class: "round" }, h(Icon, { name: "drop", size: large ? 30 : 24 })),
    h("div", { class: "about" },
      h("p", { class: "big" }, "Drop scans here"),
      h("p", { class: "soft" }, "DICOM files, a folder or a zip archive, NIfTI, PNG, TIFF, JPEG, NPZ. They stay on this machine.")),
    h("div", { class: "row centre" },
      chooser(files, "Choose files", { multiple: true, class: "pick-files" }, (f) => take([...f])),
      chooser(folder, "Choose a folder", { webkitdirectory: true }, (f) => take([...f])),
      chooser(set, "Add a data set (zip)", { accept: ".zip" }, (f) => take([...f], f[0]?.name.replace(/\.zip$/i, "") ?? "")),
    ),
    step && h("div", { role: "status" },
      h("progress", { value: step.done, max: step.all || 1, "aria-label": "Files handed in" }),
      h("p", { class: "soft" }, step.reading ? "Reading the scans …" : `${step.done} of ${step.all} files`)),
    h(Problem, { error }),
    refused.length > 0 && h("details", { class: "refused", open: true },
      h("summary", null, `${refused.length} file${refused.length > 1 ? "s" : ""} cannot be used`),
      h("ul", null, refused.slice(0, 50).map((one) => h("li", null, h("b", null, one.name), ": ", one.reason)))),
  );
}

export const kindOf = (study) =>
  study.kind === "image"
    ? [study.modality || "Image", study.shape.join(" × "), study.unit !== "a.u." ? study.unit : ""].filter(Boolean).join(" · ")
    : { measurement: "Measurement", set: "Data set", table: "Table", model: "Model (ONNX)" }[study.kind] + (study.notes[0] && study.kind === "set" ? ` · ${study.notes[0]}` : "");

export function StudyCard({ study, to }) {
  return h(
    "li",
    null,
    h("a", { class: "card", href: link(to ?? `scan/${study.id}`) },
      study.kind === "image"
        ? h(Picture, { path: `/studies/${study.id}/small.png`, alt: "", class: "thumb" })
        : h("span", { class: "thumb sign" }, h(Icon, { name: study.kind, size: 44 })),
      h("span", { class: "words" },
        h("b", null, study.name),
        h("span", { class: "soft" }, kindOf(study)),
        study.synthetic && h("span", { class: "tag" }, "synthetic"),
        h("span", { class: "soft small" }, ago(study.added)))),
  );
}

export function ScansPage() {
  const [studies, error, again] = useAnswer("/studies");
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const demo = async () => {
    setBusy(true);
    try {
      await post("/demo");
      go("jobs");
    } catch (wrong) {
      setProblem(wrong);
    }
    setBusy(false);
  };
  const done = (found) => (found.length === 1 && ["image", "measurement"].includes(found[0].kind) ? go(`scan/${found[0].id}`) : again());
  const groups = [["Scans", ["image", "measurement"]], ["Data sets", ["set"]], ["Tables and models", ["table", "model"]]];
  const of = (kinds) => (studies ?? []).filter((study) => kinds.includes(study.kind));
  const first = studies !== null && studies.length === 0;
  return h(
    "div",
    null,
    h(Head, { title: first ? "Begin with a scan" : "Scans", lead: first ? "Everything is computed on this machine. Nothing is sent anywhere." : "" }),
    h(Drop, { onDone: done, large: first }),
    h(Problem, { error: problem ?? error }),
    studies === null && h(Loading),
    first && [
      h("section", { class: "demo panel empty-like", "aria-label": "First visit" },
        h("div", { class: "empty" },
          h("h2", null, "No scan at hand?"),
          h("p", null, "The installation carries three openly licensed scans. One click runs all four jobs on them."),
          h("button", { type: "button", class: "main", onClick: demo, disabled: busy }, busy ? "One moment …" : "Run the demo's scans"))),
      h("h2", null, "What you can do here"),
      h("ul", { class: "tiles" }, ABOUT.map(([icon, title, words]) => h("li", { key: title }, h(Icon, { name: icon, size: 26 }), h("b", null, title), h("span", { class: "soft" }, words)))),
    ],
    !first && groups.map(([title, kinds], n) => of(kinds).length > 0 && h("section", { key: title, "aria-label": title },
      n > 0 && h("h2", null, title),
      h("ul", { class: "cards" }, of(kinds).map((study) => h(StudyCard, { study, key: study.id }))))),
  );
}

const ABOUT = [
  ["detect", "Find what looks unusual", "A map, a p-value and the healthy twin of a scan. False alarms are counted on patients that nobody has learned from."],
  ["reconstruct", "Reconstruct", "From few measurements: k-space, sinograms, poor images. With an interval for each pixel."],
  ["augment", "Vary and draw", "New images for training, marked synthetic and audited for copies of patients."],
  ["explain", "Learn and explain", "A classifier from few labels, and what would have to be different for another answer."],
];

const FOR = {
  image: ["detect", "augment", "reconstruct", "augment-classical", "predict", "explain"],
  measurement: ["reconstruct"],
  set: ["detect", "predict", "scan", "train", "adapt", "label", "learn", "augment-set", "evaluate reconstruct", "evaluate detect", "calibrate reconstruct", "calibrate detect", "calibrate synthesize"],
  table: [],
  model: ["evaluate explain"],
};

// Jobs that take one scan or a whole set of them.
const MANY = ["detect", "predict", "explain", "reconstruct"];

export const JobLinks = ({ study }) =>
  h("ul", { class: "verbs" },
    (FOR[study.kind] ?? []).map((verb) => {
      const option = study.kind === "model" ? "model" : study.kind === "set" && !MANY.includes(verb) ? "folder" : "input";
      const words = study.kind === "set" ? { detect: "Find unusual scans", predict: "Predict all labels" }[verb] : undefined;
      return h("li", { key: verb }, h("a", { class: "button", href: link(`new/${verb}?${option}=${study.id}`) }, h(Icon, { name: verb }), h("span", null, words ?? titled(verb))));
    }));

// What the numbers mean, where the file does not say: Hounsfield units have windows of their own.
function Kind({ study, onChange }) {
  const [error, set] = useState(null);
  const silent = study.said_unit || study.said_modality || (!study.modality && study.unit === "a.u.");
  if (!silent) return null;
  const choices = { "": "not known", CT: "CT, Hounsfield units", MR: "MRI", DX: "X-ray", US: "ultrasound" };
  const change = (event) =>
    post(`/studies/${study.id}/kind`, { modality: event.target.value, unit: event.target.value === "CT" ? "HU" : "" }).then(() => (set(null), onChange()), set);
  return [
    h("h2", null, h("label", { for: "what" }, "The file does not say what it is")),
    h("select", { id: "what", value: study.said_modality, onChange: change }, Object.entries(choices).map(([key, words]) => h("option", { value: key }, words))),
    h(Problem, { error }),
  ];
}

export function ScanPage({ name }) {
  const [study, error, again] = useAnswer(`/studies/${name}`);
  const [runs] = useAnswer("/runs");
  if (error) return h("div", null, h("h1", null, "Scan"), h(Problem, { error }));
  if (!study) return h("div", null, h("h1", null, "Scan"), h(Loading));
  const own = (runs ?? []).filter((run) => run.scan === name);
  const leave = async () => {
    if (confirm("Delete this scan from the page's folder?")) {
      await remove(`/studies/${name}`);
      go("scans");
    }
  };
  return h(
    "div",
    { class: "split" },
    h("div", { class: "wide" },
      h("h1", null, study.name),
      study.kind === "image"
        ? h(Viewer, { key: study.said_unit + study.said_modality, layers: [{ kind: "studies", id: name, name: "scan", type: "grey", title: "Scan" }] })
        : h("div", { class: "panel sign-wide" }, h(Icon, { name: study.kind, size: 64 }), h("p", { class: "soft" }, kindOf(study)))),
    h("aside", { "aria-label": "About this scan" },
      h("h2", null, "What to do with it"),
      h(JobLinks, { study }),
      own.length > 0 && [h("h2", null, "Results"), h("ul", { class: "plain" }, own.map((run) =>
        h("li", null, h("a", { href: link(`run/${run.id}`) }, titled(run.job)), h("span", { class: "soft" }, ` ${run.result}`))))],
      study.kind === "image" && h(Kind, { study, onChange: again }),
      h("h2", null, "About"),
      h("dl", null,
        h("dt", null, "Kind"), h("dd", null, kindOf(study)),
        study.spacing_mm && [h("dt", null, "Voxels"), h("dd", null, `${study.spacing_mm.map((s) => Number(s.toPrecision(3))).join(" × ")} mm`)],
        study.notes.map((note) => [h("dt", null, "Note"), h("dd", null, note)])),
      h("p", { class: "last" }, h("button", { type: "button", class: "quiet", onClick: leave }, "Delete this scan"))),
  );
}
