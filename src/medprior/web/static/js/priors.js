// Priors: what each was made from, and what was measured of it.

import { h } from "preact";
import { Empty, link, Loading, Problem, useAnswer } from "./kit.js";

const HEADS = { learned: "Learned from", labels: "Labels", axes: "Geometry", licence: "Licence", weights: "Weights", limit: "Limit", measured: "Measured" };

// One line of `medprior info` as [what, words].
const parts = (line) => {
  const found = line.match(/^\s+(\S+)\s+(.*)$/);
  return found && HEADS[found[1]] ? [HEADS[found[1]], found[2]] : null;
};

const Facts = ({ lines, only }) =>
  h("dl", null, lines.map(parts).filter((pair) => pair && only.includes(pair[0])).map(([what, words], n, all) => [all[n - 1]?.[0] !== what && h("dt", null, what), h("dd", null, words)]));

export function PriorsPage() {
  const [priors, error] = useAnswer("/priors");
  return h("div", null,
    h("h1", null, "Priors"),
    h("p", { class: "lead" }, "A prior is what a model has learned from scans. What it promises was measured on patients that it has never seen."),
    h(Problem, { error }),
    priors === null
      ? h(Loading)
      : priors.length
        ? h("ul", { class: "choices" }, priors.map((one) =>
            h("li", { key: one.id }, h("a", { class: "card words", href: link(`prior/${one.id}`) },
              h("b", null, one.name), h("span", null, one.lines[0].replace(/^[^:]*: /, "")),
              h("span", { class: "soft" }, one.bundled ? "comes with the installation" : "your own"),
              h("span", { class: "soft" }, one.lines.map(parts).filter((p) => p?.[0] === "Measured").length ? "measured: see its promises" : "nothing was measured yet")))))
        : h(Empty, { title: "No prior yet" }, h("p", null, "Learn one from a data set."), h("p", null, h("a", { class: "button main", href: link("new/train") }, "Learn a prior"))));
}

export function PriorPage({ name }) {
  const [priors, error] = useAnswer("/priors");
  const one = priors?.find((prior) => prior.id === name);
  if (!one) return h("div", null, h("h1", null, "Prior"), priors ? h(Problem, { error: new Error("This prior is not here any more.") }) : error ? h(Problem, { error }) : h(Loading));
  const measured = one.lines.map(parts).filter((pair) => pair?.[0] === "Measured");
  const jobs = ["synthesize", "calibrate reconstruct", "calibrate detect", "calibrate synthesize", "evaluate reconstruct", "evaluate detect", "adapt"];
  return h("div", { class: "split" },
    h("div", { class: "wide" },
      h("h1", null, one.name),
      h("p", { class: "lead" }, one.lines[0].replace(/^[^:]*: /, "")),
      h("h2", null, "What was measured of it"),
      measured.length ? h("ul", { class: "measured-list" }, measured.map(([, words]) => h("li", null, words))) : h("p", null, "Nothing yet: no interval is calibrated, and no p-value can be given."),
      h("h2", null, "Its card"),
      h(Facts, { lines: one.lines, only: ["Learned from", "Labels", "Geometry", "Licence", "Limit", "Weights"] })),
    h("aside", { "aria-label": "What to do" }, h("h2", null, "What to do with it"),
      h("ul", { class: "verbs" }, jobs.map((verb) => h("li", null, h("a", { class: "button", href: link(`new/${verb}?prior=${encodeURIComponent(one.id)}`) }, verb === "synthesize" ? "Draw new images" : verb.replace(/^./, (c) => c.toUpperCase())))))));
}
