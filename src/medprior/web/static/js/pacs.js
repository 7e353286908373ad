// The DICOM node: what came, what waits, what was delivered, and what has failed, in words.

import { h } from "preact";
import { useState } from "preact/hooks";
import { post } from "./api.js";
import { ago, Empty, link, Loading, Problem, size, useAnswer } from "./kit.js";

const STATES = { open: "waiting for more", asked: "at work", answered: "answered", failed: "failed" };
const many = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function Counts({ node }) {
  const n = (name) => node.states[name] ?? 0;
  return h("ul", { class: "jobs" },
    h("li", { class: "job" }, `${many(node.counters.received ?? 0, "object")} received, ${size(node.taken)} of ${size(node.quota)} kept`),
    h("li", { class: "job" }, `${many(n("unit open"), "scan")} waiting for more, ${n("unit asked")} at work, ${n("unit answered")} answered`),
    h("li", { class: "job" }, `${many(n("delivery delivered"), "delivery").replace("deliverys", "deliveries")} done, ${n("delivery waiting")} waiting, ${n("delivery failed")} given up`));
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
    h("h1", null, "PACS"),
    h("p", null, `This is ${node.ae} at port ${node.port}. It knows ${node.peers.join(", ")}.`),
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
      : h(Empty, { title: "Nothing has come yet" }, h("p", null, "Send a study here from your PACS. A rule of pacs.toml says what is done with it.")));
}
