// The DICOM node: what came, what waits, what was delivered, and what has failed, in words.

import { h } from "preact";
import { useState } from "preact/hooks";
import { post } from "./api.js";
import { ago, Empty, Head, link, Loading, Problem, size, useAnswer } from "./kit.js";

const STATES = { open: "waiting for more", asked: "at work", answered: "answered", failed: "failed" };
const many = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function Counts({ node }) {
  const n = (name) => node.states[name] ?? 0;
  const facts = [
    [node.counters.received ?? 0, "received", `${size(node.taken)} of ${size(node.quota)} kept`],
    [n("unit open"), "waiting for more", `${n("unit asked")} at work, ${n("unit answered")} answered`],
    [n("delivery delivered"), "results delivered", `${n("delivery waiting")} waiting`],
    [n("delivery failed"), "given up", node.faults.length ? "see below" : "no failure"],
  ];
  return h("ul", { class: "tiles counts" }, facts.map(([count, what, more]) => h("li", { key: what }, h("b", { class: "big" }, count), h("span", null, what), h("span", { class: "soft small" }, more))));
}

function Scan({ scan }) {
  return h("li", { class: `job ${scan.state}` },
    h("div", { class: "row" },
      scan.job ? h("a", { href: link(`job/${scan.job}`) }, h("b", null, scan.rule)) : h("b", null, scan.rule),
      h("span", { class: "state" }, STATES[scan.state]),
      h("span", { class: "soft small" }, `${scan.modality} · ${many(scan.objects, "object")} · ${ago(scan.changed)}`)),
    scan.said && h("p", { class: "problem" }, scan.said),
    scan.sent.map((line) => h("p", { class: "soft", key: line }, line)));
}

export function PacsPage() {
  const [node, error, look] = useAnswer("/pacs", 2000);
  const [refused, set] = useState(null);
  if (!node) return h("div", null, h("h1", null, "PACS"), error ? h(Problem, { error }) : h(Loading));
  return h("div", null,
    h(Head, { title: "PACS", lead: `This is ${node.ae} at port ${node.port}. It knows ${node.peers.join(", ")}.` }),
    h(Problem, { error: error ?? refused }),
    h(Counts, { node }),
    node.faults.length > 0 && h("div", null,
      h("h2", null, "Failures"),
      h("p", { class: "row" }, h("button", { type: "button", onClick: () => post("/pacs/again").then(look, set) }, "Try all again")),
      h("ul", { class: "jobs" }, node.faults.map(([when, what, why], n) =>
        h("li", { class: "job failed", key: n }, h("b", null, what), h("span", { class: "soft small" }, ` ${ago(when)}`), h("p", { class: "problem" }, why))))),
    h("h2", null, "Scans"),
    node.scans.length
      ? h("ul", { class: "jobs" }, node.scans.map((scan, n) => h(Scan, { scan, key: n })))
      : h(Empty, { title: "Nothing has come yet", icon: "pacs" }, h("p", null, "Send a study here from your PACS. A rule of pacs.toml says what is done with it.")));
}
