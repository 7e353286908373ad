// Priors: what each was made from, and what was measured of it.

import { h } from "preact";
import { Icon } from "./icons.js";
import { Empty, Head, link, Loading, Problem, titled, useAnswer } from "./kit.js";

const HEADS = { learned: "Learned from", labels: "Labels", axes: "Geometry", licence: "Licence", weights: "Weights", limit: "Limit", measured: "Measured" };

// One line of `medprior info` as [what, words].
const parts = (line) => {
  const found = line.match(/^\s+(\S+)\s+(.*)$/);
  return found && HEADS[found[1]] ? [HEADS[found[1]], found[2]] : null;
};

const Facts = ({ lines, only }) =>
  h("dl", null, lines.map(parts).filter((pair) => pair && only.includes(pair[0])).map(([what, words], n, all) => [all[n - 1]?.[0] !== what && h("dt", null, what), h("dd", null, words)]));

// What a prior promises: each kind of promise with the lines that were measured of it.
const PROMISES = [
  ["reconstruct", "Intervals", "How far a reconstruction may be off.", "calibrate reconstruct"],
  ["detect", "p-values", "How often a healthy scan looks as unusual.", "calibrate detect"],
  ["synthesize", "Copies", "Whether drawn images copy patients.", "calibrate synthesize"],
];
const measuredOf = (one, job) => one.lines.map(parts).filter((pair) => pair?.[0] === "Measured" && pair[1].startsWith(job)).map(([, words]) => words.slice(job.length).replace(/^[:\s]+/, "").replace(/^./, (c) => c.toUpperCase()));
const what = (one) => one.lines[0].replace(/^[^:]*: /, "");

export function PriorsPage() {
  const [priors, error] = useAnswer("/priors");
  return h("div", null,
    h(Head, { title: "Priors", lead: "A prior is what a model has learned from scans. What it promises was measured on patients that it has never seen." },
      h("a", { class: "button main", href: link("new/train") }, "Learn a prior")),
    h(Problem, { error }),
    priors === null
      ? h(Loading)
      : priors.length
        ? h("ul", { class: "choices" }, priors.map((one) =>
            h("li", { key: one.id }, h("a", { class: "card words", href: link(`prior/${one.id}`) },
              h("span", { class: "row tight" }, h(Icon, { name: "priors" }), h("b", null, one.name)),
              h("span", null, what(one)),
              h("span", { class: "soft small" }, one.bundled ? "comes with the installation" : "your own"),
              h("span", { class: "marks-of" }, PROMISES.map(([job, title]) => {
                const known = measuredOf(one, job).length > 0;
                return h("span", { key: job, class: known ? "mark yes" : "mark" }, known && h(Icon, { name: "done", size: 14 }), `${title} ${known ? "measured" : "not measured"}`);
              }))))))
        : h(Empty, { title: "No prior yet", icon: "priors" }, h("p", null, "Learn one from a data set."), h("p", null, h("a", { class: "button main", href: link("new/train") }, "Learn a prior"))));
}

export function PriorPage({ name }) {
  const [priors, error] = useAnswer("/priors");
  const one = priors?.find((prior) => prior.id === name);
  if (!one) return h("div", null, h("h1", null, "Prior"), priors ? h(Problem, { error: new Error("This prior is not here any more.") }) : error ? h(Problem, { error }) : h(Loading));
  const jobs = ["synthesize", "detect", "reconstruct", "label", "learn", "adapt", "evaluate reconstruct", "evaluate detect"];
  return h("div", { class: "split" },
    h("div", { class: "wide" },
      h("h1", null, one.name),
      h("p", { class: "lead" }, what(one)),
      h("h2", null, "What was measured of it"),
      h("div", { class: "promises" }, PROMISES.map(([job, title, words, verb]) => {
        const lines = measuredOf(one, job);
        return h("section", { class: "panel", key: job, "aria-label": title },
          h("div", { class: "row" }, h("h3", null, title), h("span", { class: "soft" }, words)),
          lines.length
            ? h("ul", { class: "measured-list" }, lines.map((line) => h("li", { key: line }, line)))
            : h("p", null, "Not measured yet. ", h("a", { href: link(`new/${verb}?prior=${encodeURIComponent(one.id)}`) }, `${titled(verb)} with scans of other patients`)));
      })),
      h("h2", null, "Its card"),
      h("section", { class: "panel", "aria-label": "Its card" }, h(Facts, { lines: one.lines, only: ["Learned from", "Labels", "Geometry", "Licence", "Limit", "Weights"] }))),
    h("aside", { "aria-label": "What to do" }, h("h2", null, "What to do with it"),
      h("ul", { class: "verbs" }, jobs.map((verb) => h("li", { key: verb }, h("a", { class: "button", href: link(`new/${verb}?prior=${encodeURIComponent(one.id)}`) }, h(Icon, { name: verb }), h("span", null, titled(verb))))))));
}
