// A form for each job, made from what the command line takes: the common options first, the others folded.

import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { post } from "./api.js";
import { Command, Empty, go, link, Loading, Problem, titled, useAnswer } from "./kit.js";

export function JobChoice() {
  const [forms, error] = useAnswer("/forms");
  return h("div", null,
    h("h1", null, "New job"),
    h(Problem, { error }),
    forms === null ? h(Loading) : h("ul", { class: "choices" }, forms.map((one) =>
      h("li", { key: one.verb }, h("a", { class: "card words", href: link(`new/${one.verb}`) }, h("b", null, titled(one.verb)), h("span", { class: "soft" }, one.help), h("code", null, `medprior ${one.verb}`))))));
}

const KINDS = { any: ["image", "measurement", "set", "table", "model"], scan: ["image", "measurement"], set: ["set"], table: ["table"] };

// What can be chosen for an option that names a file: [value, words].
function offers(field, have) {
  if (field.kind === "prior") return have.priors.map((one) => [one.id, one.name]);
  if (field.kind === "run") return have.runs.filter((one) => one.job === "learn").map((one) => [one.id, one.folder]);
  if (field.kind === "replay") return [["generative", "images that the prior draws"], ["none", "nothing"], ...offers({ kind: "set" }, have)];
  const own = have.studies.filter((one) => KINDS[field.kind].includes(one.kind)).map((one) => [one.id, one.name]);
  if (field.kind === "any") own.push(...have.sets.map((one) => [one, one]), ...have.runs.map((one) => [one.id, one.folder]));
  return field.kind === "set" ? [...have.sets.map((one) => [one, one]), ...own] : own;
}

function Control({ field, value, set, have, id }) {
  const common = { id, "aria-describedby": `${id}-help` };
  if (field.kind === "flag") return h("input", { ...common, type: "checkbox", checked: value ?? field.default === true, onChange: (e) => set(e.target.checked === (field.default === true) ? undefined : e.target.checked) });
  if (field.kind === "choice") {
    return h("select", { ...common, value: value ?? field.default ?? "", onChange: (e) => set(e.target.value || undefined) },
      field.default === null && h("option", { value: "" }, field.required ? "choose" : "not set"), field.choices.map((one) => h("option", { value: one }, one)));
  }
  if (field.kind === "new") return h("input", { ...common, type: "checkbox", checked: value !== undefined, onChange: (e) => set(e.target.checked ? "new" : undefined) });
  if (["scan", "set", "table", "prior", "replay", "run", "any"].includes(field.kind)) {
    const found = offers(field, have);
    if (field.many) {
      return h("select", { ...common, multiple: true, size: Math.min(5, Math.max(2, found.length)), onChange: (e) => set([...e.target.selectedOptions].map((one) => one.value)) },
        found.map(([key, words]) => h("option", { value: key, selected: value?.includes(key) }, words)));
    }
    return h("select", { ...common, value: value ?? (field.kind === "replay" ? "generative" : ""), required: field.required, onChange: (e) => set(e.target.value || undefined) },
      field.kind !== "replay" && h("option", { value: "" }, found.length ? (field.required ? "choose" : "none") : `none yet: ${{ set: "hand in a data set", run: "learn one", prior: "learn one" }[field.kind] ?? `hand in a ${field.kind}`} first`),
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

function Row({ field, values, set, have }) {
  const id = `f-${field.name}`;
  return h("div", { class: `field ${field.kind}` },
    h("label", { for: id }, field.label.replace(/^./, (c) => c.toUpperCase()), field.required && h("span", { class: "soft" }, " (needed)")),
    h(Control, { field, value: values[field.name], set: (value) => set(field.name, value), have, id }),
    h("p", { class: "soft small", id: `${id}-help` }, field.help));
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
  const known = Object.fromEntries(Object.entries(query).filter(([key]) => form?.fields.some((field) => field.name === key)));
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
  const rows = (fields) => fields.map((field) => h(Row, { field, values: filled, set, have, key: field.name }));
  return h("form", { class: "form", onSubmit: start, novalidate: true },
    h("h1", null, titled(name)),
    h("p", { class: "lead" }, form.help),
    rows(common),
    more.length > 0 && h("details", null, h("summary", null, `${more.length} more options`), rows(more)),
    h(Problem, { error: problem }),
    h("p", { class: "row" }, h("button", { class: "main", disabled: !command }, "Start"), !command && h("span", { class: "soft" }, "Fill in what is needed.")),
    command && h(Command, { text: command }));
}

export { Empty };
