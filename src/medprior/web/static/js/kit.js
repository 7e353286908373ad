// Small parts that every page uses.

import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, picture } from "./api.js";
import { Icon } from "./icons.js";

export const link = (to) => `#/${to}`;
export const go = (to) => {
  location.hash = `/${to}`;
};

// Ask the server, again every `every` milliseconds where given. Gives [value, error, ask again].
export function useAnswer(path, every = 0) {
  const [state, set] = useState({ value: null, error: null });
  const alive = useRef(0);
  const ask = () => {
    const turn = ++alive.current;
    if (path === null) return Promise.resolve();
    return get(path).then(
      (value) => turn === alive.current && set({ value, error: null }),
      (error) => turn === alive.current && set((old) => ({ value: old.value, error })),
    );
  };
  useEffect(() => {
    set({ value: null, error: null });
    ask();
    const timer = every ? setInterval(() => document.hidden || ask(), every) : 0;
    return () => {
      alive.current++;
      clearInterval(timer);
    };
  }, [path, every]);
  return [state.value, state.error, ask];
}

// A picture that needs the token. The old one stays until the new one is there.
export function Picture({ path, alt, class: name, onLoad, style }) {
  const [url, set] = useState(null);
  useEffect(() => {
    let wanted = true;
    if (path) picture(path).then((made) => wanted && set(made), () => wanted && set(null));
    return () => {
      wanted = false;
    };
  }, [path]);
  return url
    ? h("img", { src: url, alt, class: name, onLoad, style, draggable: false })
    : h("span", { class: `${name ?? ""} blank`, role: "img", "aria-label": alt });
}

export const Loading = () => h("p", { class: "soft", role: "status" }, "One moment …");

export const Problem = ({ error }) =>
  error ? h("p", { class: "problem", role: "alert" }, error.message) : null;

// The head of a page: what it is, a sentence about it, and what can be done here.
export const Head = ({ title, lead, children }) =>
  h("div", { class: "head" }, h("div", null, h("h1", null, title), lead && h("p", { class: "lead" }, lead)), children && h("div", { class: "row" }, children));

// What stands on a page that has nothing yet: what it is for, and what to do next.
export const Empty = ({ title, icon, children }) => h("div", { class: "empty" }, icon && h("span", { class: "round" }, h(Icon, { name: icon, size: 30 })), h("h2", null, title), children);

export function Copy({ text, label = "Copy as command" }) {
  const [done, set] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    set(true);
    setTimeout(() => set(false), 1500);
  };
  return h("button", { type: "button", class: "quiet", onClick: copy }, done ? "Copied" : label);
}

export const Command = ({ text }) =>
  h(
    "div",
    { class: "command" },
    h("code", { tabindex: 0, "aria-label": "The same as a command" }, text),
    h(Copy, { text }),
  );

export function ago(seconds) {
  const past = Date.now() / 1000 - seconds;
  if (past < 90) return "just now";
  if (past < 5400) return `${Math.round(past / 60)} minutes ago`;
  if (past < 129600) return `${Math.round(past / 3600)} hours ago`;
  return new Date(seconds * 1000).toLocaleDateString();
}

export function span(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export const number = (value) =>
  Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString();

export const size = (bytes) =>
  bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

export const VERBS = {
  detect: "Find what looks unusual",
  reconstruct: "Reconstruct",
  augment: "Vary this scan",
  "augment-classical": "Vary without a prior",
  "augment-set": "Vary a data set",
  synthesize: "Draw new images",
  label: "Choose scans to label",
  learn: "Learn labels from few scans",
  predict: "Predict a label",
  "evaluate learn": "Measure learning from few labels",
  explain: "Explain a model's answer",
  "evaluate explain": "Measure explanations",
  train: "Learn a prior",
  adapt: "Teach a prior something new",
  scan: "Check a data set",
  "evaluate reconstruct": "Measure reconstruction",
  "evaluate detect": "Measure detection",
  "evaluate augment": "Measure augmentation",
  "calibrate reconstruct": "Calibrate intervals",
  "calibrate detect": "Calibrate p-values",
  "calibrate synthesize": "Audit for copies",
};
export const titled = (verb) => VERBS[verb] ?? verb.replaceAll("-", " ");
