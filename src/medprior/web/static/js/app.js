// The frame of the page, and which page is shown.

import { Component, h, render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, takeToken } from "./api.js";
import { ComparePage } from "./compare.js";
import { FormPage, JobChoice } from "./form.js";
import { Icon } from "./icons.js";
import { JobPage, JobsPage } from "./jobs.js";
import { Problem } from "./kit.js";
import { LabelPage, LabelsPage } from "./labels.js";
import { PacsPage } from "./pacs.js";
import { PriorPage, PriorsPage } from "./priors.js";
import { ReadingPage, ReadingsPage } from "./reading.js";
import { RunPage, RunsPage } from "./runs.js";
import { ScanPage, ScansPage } from "./scans.js";

const PAGES = [
  ["scans", "Scans", ScansPage],
  ["runs", "Results", RunsPage],
  ["jobs", "Jobs", JobsPage],
  ["priors", "Priors", PriorsPage],
  ["reading", "Blind reading", ReadingsPage],
  ["labels", "Labelling", LabelsPage],
];
const EXTRA = [["pacs", "PACS", PacsPage]];
const MORE = {
  scan: ["scans", ScanPage],
  run: ["runs", RunPage],
  job: ["jobs", JobPage],
  prior: ["priors", PriorPage],
  new: ["jobs", FormPage],
  choose: ["jobs", JobChoice],
  read: ["reading", ReadingPage],
  label: ["labels", LabelPage],
  compare: ["runs", ComparePage],
};

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/").map(decodeURIComponent);
  return { page: page || "scans", name: rest.join("/"), query: Object.fromEntries(new URLSearchParams(query)) };
}

class Safe extends Component {
  constructor() {
    super();
    this.state = { error: null };
  }
  componentDidCatch(error) {
    this.setState({ error });
  }
  componentDidUpdate(before) {
    if (before.at !== this.props.at && this.state.error) this.setState({ error: null });
  }
  render() {
    return this.state.error ? h(Problem, { error: this.state.error }) : this.props.children;
  }
}

function Locked() {
  const [address, set] = useState("");
  const open = (event) => {
    event.preventDefault();
    const token = address.match(/token=([\w-]+)/);
    if (token) {
      location.hash = `token=${token[1]}`;
      location.reload();
    }
  };
  return h(
    "main",
    { id: "main", class: "locked" },
    h("h1", null, "Open the address that medprior serve has printed"),
    h("p", null, "It ends in a token that is new each time the server starts. Only who has it can see this page."),
    h(
      "form",
      { onSubmit: open },
      h("label", { for: "address" }, "The address"),
      h("input", { id: "address", value: address, onInput: (e) => set(e.target.value), placeholder: "http://127.0.0.1:8765/#token=…", autocomplete: "off" }),
      h("button", { class: "main" }, "Open"),
    ),
  );
}

function Shell() {
  const [at, set] = useState(place());
  const [open, setOpen] = useState(null);
  const [busy, setBusy] = useState(0);
  const [lost, setLost] = useState(null);
  const [extra, setExtra] = useState([]);
  const heading = useRef(null);
  useEffect(() => {
    const moved = () => {
      if (location.hash.includes("token=")) takeToken();
      set(place());
      window.scrollTo(0, 0);
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => {
    const look = () =>
      get("/jobs").then(
        (jobs) => {
          setOpen(true);
          setLost(null);
          setBusy(jobs.filter((job) => ["running", "waiting", "cancelling"].includes(job.state)).length);
        },
        (error) => (error.status === 401 ? setOpen(false) : setLost(error)),
      );
    look();
    const timer = setInterval(() => document.hidden || look(), 3000);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    if (open) get("/about").then((about) => setExtra(about.pages), () => {});
  }, [open]);
  const pages = [...PAGES, ...EXTRA.filter(([name]) => extra.includes(name))];
  const [section, Page] = MORE[at.page] ?? [at.page, [...PAGES, ...EXTRA].find(([name]) => name === at.page)?.[2] ?? ScansPage];
  useEffect(() => {
    const title = document.querySelector("main h1");
    if (title) {
      document.title = `${title.textContent} · medprior`;
      title.tabIndex = -1;
      if (heading.current !== null && heading.current !== location.hash) title.focus({ preventScroll: true });
    }
    heading.current = location.hash;
  });
  if (open === null) return lost ? h("main", { class: "locked" }, h("h1", null, "medprior"), h(Problem, { error: lost })) : null;
  return h(
    "div",
    { class: "frame" },
    h("a", { class: "skip", href: "#main", onClick: (e) => (e.preventDefault(), document.querySelector("main h1")?.focus()) }, "Skip to the content"),
    h(
      "header",
      null,
      h("a", { class: "brand", href: "#/scans" }, h("img", { src: "/icon.svg", alt: "", width: 26, height: 26 }), "medprior"),
      open &&
        h(
          "nav",
          { "aria-label": "Pages" },
          pages.map(([name, title]) =>
            h(
              "a",
              { href: `#/${name}`, "aria-current": section === name ? "page" : undefined },
              h(Icon, { name, size: 18 }),
              h("span", null, title),
              name === "jobs" && busy > 0 && h("span", { class: "count", "aria-label": `${busy} at work or waiting` }, busy),
            ),
          ),
        ),
      h("p", { class: "notice" }, "Research use only, not for diagnosis"),
    ),
    open
      ? h("main", { id: "main" }, h(Problem, { error: lost }), h(Safe, { at: location.hash }, h(Page, { key: location.hash.split("?")[0], name: at.name, query: at.query })))
      : h(Locked),
  );
}

takeToken();
render(h(Shell), document.getElementById("app"));
