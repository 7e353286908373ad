// A form for each job, made from what the command line takes: the common options first, the others folded.

import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { post } from "./api.js";
import { Icon } from "./icons.js";
import { Command, go, Head, link, Loading, Picture, Problem, titled, useAnswer } from "./kit.js";

const GROUPS = [
  ["On a scan", ["detect", "reconstruct", "augment", "augment-classical", "explain", "predict"]],
  ["New images", ["synthesize", "augment-set"]],
  ["Learn from a data set", ["scan", "train", "adapt", "label", "learn"]],
  ["Measure and prove", null],
];

export function JobChoice() {
  const [forms, error] = useAnswer("/forms");
  const named = GROUPS.flatMap(([, verbs]) => verbs ?? []);
  const of = (verbs) => (verbs ? verbs.map((verb) => forms.find((one) => one.verb === verb)).filter(Boolean) : forms.filter((one) => !named.includes(one.verb)));
  return h("div", null,
    h(Head, { title: "New job", lead: "Each job is a command of medprior. The form shows it before it starts." }),
    h(Problem, { error }),
    forms === null ? h(Loading) : GROUPS.map(([title, verbs]) => h("section", { key: title, "aria-label": title },
      h("h2", null, title),
      h("ul", { class: "choices" }, of(verbs).map((one) =>
        h("li", { key: one.verb }, h("a", { class: "card words", href: link(`new/${one.verb}`) },
          h("span", { class: "row tight" }, h(Icon, { name: one.verb }), h("b", null, titled(one.verb))), h("span", { class: "soft" }, one.help), h("code", null, `medprior ${one.verb}`))))))));
}

const KINDS = { any: ["image", "measurement", "set", "table", "model"], scan: ["image", "measurement"], scans: ["image", "measurement", "set"], set: ["set"], table: ["table"], model: ["model"] };
const FILES = [...Object.keys(KINDS), "prior", "replay", "run"];

// What the command line calls an option, in the words of a page.
const WORDS = { input: "Scan", folder: "Data set", n: "How many", n_twins: "Healthy twins", head: "What was learned", data: "Data set behind the prior", real: "Real scans", given: "Known channel", minutes: "Minutes of learning", begin_with: "Begin with" };
const worded = (field, verb) => (field.name === "n" && verb === "synthesize" ? "How many images" : WORDS[field.name] ?? field.label.replace(/^./, (c) => c.toUpperCase()));

// What can be chosen for an option that names a file: [value, words].
function offers(field, have) {
  if (field.kind === "prior") return have.priors.map((one) => [one.id, one.name]);
  const heads = have.runs.filter((one) => one.job === "learn").map((one) => [one.id, `${titled("learn")}: ${one.result || one.folder}`]);
  if (field.kind === "run") return heads;
  if (field.kind === "replay") return [["generative", "images that the prior draws"], ["none", "nothing"], ...offers({ kind: "set" }, have)];
  const own = have.studies.filter((one) => KINDS[field.kind].includes(one.kind)).map((one) => [one.id, one.name]);
  if (field.kind === "any") own.push(...have.sets.map((one) => [one, one]), ...have.runs.map((one) => [one.id, one.folder]));
  if (field.kind === "model") own.push(...heads);
  return ["set", "scans"].includes(field.kind) ? [...own, ...have.sets.map((one) => [one, `data set ${one}`])] : own;
}

function Control({ field, value, set, have, id }) {
  const common = { id, "aria-describedby": `${id}-help` };
  if (field.kind === "flag") return h("input", { ...common, type: "checkbox", checked: value ?? field.default === true, onChange: (e) => set(e.target.checked === (field.default === true) ? undefined : e.target.checked) });
  if (field.kind === "choice") {
    return h("select", { ...common, value: value ?? field.default ?? "", onChange: (e) => set(e.target.value || undefined) },
      field.default === null && h("option", { value: "" }, field.required ? "choose" : "not set"), field.choices.map((one) => h("option", { value: one }, one)));
  }
  if (field.kind === "new") return h("input", { ...common, type: "checkbox", checked: value !== undefined, onChange: (e) => set(e.target.checked ? "new" : undefined) });
  if (FILES.includes(field.kind)) {
    const found = offers(field, have);
    if (field.many) {
      return h("select", { ...common, multiple: true, size: Math.min(5, Math.max(2, found.length)), onChange: (e) => set([...e.target.selectedOptions].map((one) => one.value)) },
        found.map(([key, words]) => h("option", { value: key, selected: value?.includes(key) }, words)));
    }
    return h("select", { ...common, value: value ?? (field.kind === "replay" ? "generative" : ""), required: field.required, onChange: (e) => set(e.target.value || undefined) },
      field.kind !== "replay" && h("option", { value: "" }, found.length ? (field.required ? "choose" : "none") : `none yet: ${{ set: "hand in a data set", run: "learn from labels", prior: "learn one", model: "learn from labels, or hand in an ONNX file", scans: "hand in a scan" }[field.kind] ?? `hand in a ${field.kind}`} first`),
      found.map(([key, words]) => h("option", { value: key }, words)));
  }
  if ((field.kind === "whole" || field.kind === "number") && !field.many && field.count === 1) {
    return h("input", {
      ...common, type: "number", value: value ?? "", placeholder: field.default ?? "", min: field.low ?? undefined, max: field.high ?? undefined, step: field.kind === "whole" ? 1 : "any",
      onInput: (e) => set(e.target.value === "" ? undefined : Number(e.target.value)),
    });
  }
  const several = field.many || field.count > 1;
  const parse = (words) => {
    const parts = words.split(/[\s,;]+/).filter(Boolean);
    if (!several) return words || undefined;
    return parts.length ? (field.kind === "text" ? (field.many ? words.split(/\s*;\s*/).filter(Boolean) : parts) : parts.map(Number)) : undefined;
  };
  return h("input", { ...common, type: "text", value: Array.isArray(value) ? value.join(field.many ? "; " : " ") : value ?? "", placeholder: field.default ?? (field.many ? "several: separate by ;" : ""), autocomplete: "off", onChange: (e) => set(parse(e.target.value)) });
}

// The scan that was chosen, so that one sees what one does.
const Chosen = ({ field, value, have }) => {
  const study = ["scan", "scans"].includes(field.kind) && have.studies.find((one) => one.id === value && one.kind === "image");
  return study ? h(Picture, { path: `/studies/${study.id}/small.png`, alt: "", class: "chosen" }) : null;
};

function Row({ field, values, set, have, verb }) {
  const id = `f-${field.name}`;
  return h("div", { class: `field ${field.kind}` },
    h("label", { for: id }, worded(field, verb), field.required && values[field.name] === undefined && h("span", { class: "soft" }, " (needed)")),
    h(Control, { field, value: values[field.name], set: (value) => set(field.name, value), have, id }),
    h("p", { class: "soft small", id: `${id}-help` }, field.help),
    h(Chosen, { field, value: values[field.name], have }));
}

export function FormPage({ name, query }) {
  const [forms, error] = useAnswer("/forms");
  const [priors] = useAnswer("/priors");
  const [studies] = useAnswer("/studies");
  const [sets] = useAnswer("/sets");
  const [runs] = useAnswer("/runs");
  const [values, setValues] = useState({});
  const [command, setCommand] = useState("");
  const [problem, setProblem] = useState(null);
  const form = forms?.find((one) => one.verb === name);
  // what the address says; a prior may be called by its name, and words of a switch are its state
  const said = ([key, value]) => {
    const field = form?.fields.find((one) => one.name === key);
    if (field?.kind === "prior") return [key, priors?.find((one) => one.id === value || one.name === value)?.id];
    return [key, field?.kind === "flag" ? value === "true" : field?.many ? value.split(";") : value];
  };
  const known = Object.fromEntries(Object.entries(query).filter(([key]) => form?.fields.some((field) => field.name === key)).map(said));
  const filled = Object.fromEntries(Object.entries({ ...known, ...values }).filter(([, value]) => value !== undefined));
  const state = JSON.stringify(filled);

  // the prior that fits the scan's modality is chosen first
  useEffect(() => {
    const scan = studies?.find((one) => one.id === filled.input);
    const said = { ...(scan?.said_unit && { unit: scan.said_unit }), ...(scan?.said_modality && { modality: scan.said_modality }) };
    if (Object.keys(said).length && form?.fields.some((field) => field.name === "unit")) setValues((old) => ({ ...said, ...old }));
    if (!scan || !priors || filled.prior || !form?.fields.some((field) => field.name === "prior" && field.required)) return;
    const fits = { CT: "chest-ct", CR: "chest-xray", DX: "chest-xray", MR: "brain-t1" }[scan.modality];
    if (priors.some((one) => one.id === fits)) setValues((old) => ({ ...old, prior: fits }));
  }, [studies, priors, form, filled.input]);

  useEffect(() => {
    if (!form) return undefined;
    const timer = setTimeout(() => {
      if (form.fields.some((field) => field.required && filled[field.name] === undefined)) return setCommand("");
      return post("/command", { verb: name, values: filled }).then(
        (found) => (setCommand(found.command), setProblem(null)),
        (wrong) => (setCommand(""), setProblem(wrong)),
      );
    }, 250);
    return () => clearTimeout(timer);
  }, [form, state]);

  if (error || !form || !priors || !studies || !sets || !runs) return h("div", null, h("h1", null, titled(name)), error ? h(Problem, { error }) : h(Loading));
  const have = { priors, studies, sets, runs };
  const set = (key, value) => setValues((old) => ({ ...old, [key]: value }));
  const start = async (event) => {
    event.preventDefault();
    try {
      const job = await post("/jobs", { verb: name, values: filled });
      go(`job/${job.id}`);
    } catch (wrong) {
      setProblem(wrong);
    }
  };
  const common = form.fields.filter((field) => !field.advanced);
  const more = form.fields.filter((field) => field.advanced);
  const rows = (fields) => fields.map((field) => h(Row, { field, values: filled, set, have, verb: name, key: field.name }));
  const missing = form.fields.filter((field) => field.required && filled[field.name] === undefined);
  return h("form", { class: "form", onSubmit: start, novalidate: true },
    h("h1", null, titled(name)),
    h("p", { class: "lead" }, form.help),
    h("div", { class: "panel fields" }, rows(common),
      more.length > 0 && h("details", null, h("summary", null, `${more.length} more options`), rows(more))),
    h(Problem, { error: problem }),
    h("p", { class: "row" }, h("button", { class: "main", disabled: !command }, "Start"), !command && !problem && h("span", { class: "soft" }, missing.length ? `Still needed: ${missing.map((field) => worded(field, name).toLowerCase()).join(", ")}.` : "One moment …")),
    command && h(Command, { text: command }));
}
