// Labelling: the scans whose labels help most, one after the other, by keys; several readers, and what they agree on.

import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, post } from "./api.js";
import { Icon } from "./icons.js";
import { Empty, Head, link, Loading, Problem, useAnswer } from "./kit.js";
import { Viewer } from "./viewer.js";

export function LabelsPage() {
  const [runs, error] = useAnswer("/runs", 8000);
  const own = runs?.filter((run) => run.job === "label");
  return h("div", null,
    h(Head, { title: "Labelling", lead: "A prior knows which scans of a data set would teach it most. You label those, and no more than needed." },
      own?.length > 0 && h("a", { class: "button", href: link("new/label") }, "Begin with another data set")),
    h(Problem, { error }),
    !own
      ? h(Loading)
      : own.length
        ? h("ul", { class: "choices" }, own.map((run) =>
            h("li", { key: run.id }, h("a", { class: "card words", href: link(`label/${run.id}`) }, h("span", { class: "row tight" }, h(Icon, { name: "labels" }), h("b", null, run.folder)), h("span", null, run.result), h("span", { class: "soft small" }, run.prior)))))
        : h(Empty, { title: "Ten labels that count", icon: "labels" },
            h("p", null, "Choose a data set and a prior. The job finds the scans to begin with; then they appear here."),
            h("p", { class: "row centre" }, h("a", { class: "button main", href: link("new/label") }, "Begin"))));
}

function Report({ name, turn }) {
  const [report, set] = useState(null);
  const [error, setError] = useState(null);
  const ask = () => get(`/labels/${name}/report`).then(set, setError);
  useEffect(() => set(null), [turn]);
  return h("details", { onToggle: (e) => e.target.open && ask() },
    h("summary", null, "All readers together"),
    h(Problem, { error }),
    report === null ? h("p", { class: "soft" }, "Open again to read the newest state.") : h("div", null,
      h("dl", null,
        h("dt", null, "Labels"), h("dd", null, Object.entries(report.labels).map(([label, count]) => `${label} ${count}`).join(", ") || "none yet"),
        h("dt", null, "Readers"), h("dd", null, report.readers.join(", ") || "none yet"),
        h("dt", null, "Agreement"), h("dd", null, report.agreement),
        h("dt", null, "Disputed"), h("dd", null, `${report.disputed} scans`),
        h("dt", null, "Label on?"), h("dd", null, report.advice)),
      report.suspects.length > 0 && [h("h2", null, "Labels that look wrong"), h("ul", { class: "plain" }, report.suspects.map((one) => h("li", { key: one.number }, `scan ${Number(one.number) + 1}: ${one.label}, looks like ${one.instead}`)))]));
}

export function LabelPage({ name }) {
  const [reader, setReader] = useState(sessionStorage.getItem("medprior-reader") ?? "");
  const [named, setNamed] = useState(false);
  const [now, set] = useState(null);
  const [error, setError] = useState(null);
  const [word, setWord] = useState("");
  const began = useRef(0);
  const busy = useRef(false);
  const take = (found) => (set(found), setError(null), (began.current = performance.now()));
  const begin = (event) => {
    event.preventDefault();
    sessionStorage.setItem("medprior-reader", reader);
    setNamed(true);
    get(`/labels/${name}?reader=${encodeURIComponent(reader)}`).then(take, setError);
  };
  const act = async (path, body) => {
    if (busy.current) return;
    busy.current = true;
    await post(`/labels/${name}/${path}`, body).then(take, setError);
    busy.current = false;
  };
  const label = (text) => now?.number && text && act("answers", { number: Number(now.number), label: text, reader, seconds: (performance.now() - began.current) / 1000 });
  const undo = () => act("undo", { reader });
  const latest = useRef({});
  latest.current = { label, undo, now };
  useEffect(() => {
    const keys = (event) => {
      if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
      const { label: give, undo: back, now: at } = latest.current;
      const chosen = at?.classes[Number(event.key) - 1];
      if (chosen) give(chosen);
      else if (event.key === "?") give("?");
      else if (event.key === "u") back();
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);
  if (!named) {
    return h("form", { class: "form", onSubmit: begin },
      h("h1", null, "Labelling"),
      h("p", { class: "lead" }, "Readers see their own answers only."),
      h("div", { class: "panel fields" }, h("div", { class: "field" }, h("label", { for: "reader" }, "Your name or initials"), h("input", { id: "reader", value: reader, maxlength: 60, required: true, onInput: (e) => setReader(e.target.value) }))),
      h("button", { class: "main", disabled: !reader.trim() }, "Begin"));
  }
  if (!now) return h("div", null, h("h1", null, "Labelling"), error ? h(Problem, { error }) : h(Loading));
  const own = (event) => {
    event.preventDefault();
    label(word.trim());
    setWord("");
  };
  return h("div", { class: "split" },
    h("div", { class: "wide" },
      h("h1", null, now.number ? "Which label?" : "Every scan is labelled"),
      now.number
        ? h(Viewer, { key: now.number, digits: false, layers: [{ kind: "labels", id: name, name: now.number, type: "grey", title: "Scan" }] })
        : h("p", null, "Labels lie in labels.csv of this run; --labels of any command uses them.")),
    h("aside", { "aria-label": "Labels" },
      now.number && h("p", { class: "soft", role: "status" }, `${reader}: scan ${now.place} of ${now.batch} of this batch; ${now.mine} labelled by you, ${now.open} without a label`),
      now.number && h("div", { class: "answers" },
        now.classes.map((one, n) => h("button", { type: "button", key: one, onClick: () => label(one) }, h("kbd", null, n + 1), one)),
        h("button", { type: "button", onClick: () => label("?") }, h("kbd", null, "?"), "cannot tell")),
      now.number && h("form", { class: "row", onSubmit: own }, h("label", { for: "other", class: "hidden" }, "Another label"), h("input", { id: "other", value: word, maxlength: 64, placeholder: "another label", onInput: (e) => setWord(e.target.value) }), h("button", { disabled: !word.trim() }, "Give")),
      h("p", null, h("button", { type: "button", class: "quiet", disabled: now.newest === null, onClick: undo }, h("kbd", null, "u"), "Take back my last answer")),
      h(Problem, { error }),
      now.number && h("p", { class: "soft small" }, `Why this one: ${now.why}`),
      h(Report, { name, turn: now.mine })));
}
