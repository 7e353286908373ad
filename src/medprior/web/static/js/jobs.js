// The queue: what waits, what runs and how long it will take, what has ended.

import { h } from "preact";
import { useState } from "preact/hooks";
import { post } from "./api.js";
import { Icon } from "./icons.js";
import { ago, Command, Empty, Head, link, Loading, Problem, span, titled, useAnswer } from "./kit.js";

const STATES = { waiting: "waiting", running: "running", cancelling: "stopping", done: "done", failed: "failed", cancelled: "cancelled" };
const open = (job) => ["waiting", "running", "cancelling"].includes(job.state);

export function Doing({ job }) {
  if (job.state !== "running") return null;
  const share = job.total ? job.done / job.total : undefined;
  return h("div", { class: "doing" },
    h("progress", { value: share, max: 1, "aria-label": "Progress of this part" }),
    h("span", { class: "soft", role: "status" },
      [job.part || "starting", job.total > 1 && `${job.done} of ${job.total}`, job.left !== null && job.left > 0 && `about ${span(job.left)} left in this part`].filter(Boolean).join(" · ")));
}

function Line({ job, onChange }) {
  const [error, set] = useState(null);
  const act = (path) => post(`/jobs/${job.id}/${path}`).then(onChange, set);
  return h("li", { class: `job ${job.state}` },
    h("div", { class: "row" },
      h("a", { class: "row tight plain-link", href: link(`job/${job.id}`) }, h(Icon, { name: job.verb }), h("b", null, titled(job.verb))),
      h("span", { class: `state ${job.state}` }, STATES[job.state]),
      h("span", { class: "soft small" }, ago(job.ended ?? job.started ?? job.queued)),
      h("span", { class: "space" }),
      job.run && h("a", { class: "button main", href: link(`run/${job.run}`) }, "Open the result"),
      open(job) && job.state !== "cancelling" && h("button", { type: "button", onClick: () => act("cancel") }, "Cancel"),
      ["failed", "cancelled"].includes(job.state) && h("button", { type: "button", onClick: () => act("again") }, "Try again")),
    h(Doing, { job }),
    job.said && h("p", { class: job.state === "failed" ? "problem" : "soft" }, job.said),
    h(Problem, { error }));
}

export function JobsPage() {
  const [jobs, error, again] = useAnswer("/jobs", 1000);
  return h("div", null,
    h(Head, { title: "Jobs", lead: "Jobs wait here for their turn. They go on when you close the page." }, h("a", { class: "button main", href: link("choose") }, "New job")),
    h(Problem, { error }),
    jobs === null
      ? h(Loading)
      : jobs.length
        ? h("ul", { class: "jobs" }, jobs.map((job) => h(Line, { job, key: job.id, onChange: again })))
        : h(Empty, { title: "No job yet", icon: "jobs" }, h("p", null, "Choose a scan and what to do with it."), h("p", null, h("a", { class: "button", href: link("scans") }, "Choose a scan"))));
}

export function JobPage({ name }) {
  const [job, error, again] = useAnswer(`/jobs/${name}`, 1000);
  if (!job) return h("div", null, h("h1", null, "Job"), error ? h(Problem, { error }) : h(Loading));
  return h("div", null,
    h("h1", null, titled(job.verb)),
    h("ul", { class: "jobs" }, h(Line, { job, onChange: again })),
    h("p", { class: "row" },
      ["failed", "cancelled"].includes(job.state) && h("a", { class: "button", href: link(`new/${job.verb}?${new URLSearchParams(job.again)}`) }, "Change and do it again"),
      job.scan && h("a", { href: link(`scan/${job.scan}`) }, "The scan")),
    h("h2", null, "The same as a command"), h(Command, { text: job.command }),
    h("h2", null, "Log"), h("pre", { class: "log", tabindex: 0, "aria-label": "Log" }, job.log || "nothing yet"));
}
