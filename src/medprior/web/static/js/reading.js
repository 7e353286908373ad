// Blind reading: real or synthetic? The reader sees neither names nor marks; the truth comes at the end.

import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, post } from "./api.js";
import { Icon } from "./icons.js";
import { Empty, go, Head, link, Loading, Picture, Problem, titled, useAnswer } from "./kit.js";

const KINDS = { choice: "two pictures, which is synthetic?", rating: "one picture, rated from real to synthetic" };
const percent = (share) => `${Math.round(share * 100)} %`;

const Tick = ({ id, words, chosen, set }) =>
  h("label", { class: "check" }, h("input", { type: "checkbox", checked: chosen.includes(id), onChange: () => set(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id]) }), words);

function Plan({ onDone }) {
  const [studies] = useAnswer("/studies");
  const [runs] = useAnswer("/runs");
  const [real, setReal] = useState([]);
  const [made, setMade] = useState([]);
  const [kind, setKind] = useState("choice");
  const [n, setN] = useState(20);
  const [error, setError] = useState(null);
  if (!studies || !runs) return h(Loading);
  const scans = studies.filter((one) => one.kind === "image" && !one.synthetic);
  const sets = runs.filter((one) => ["synthesize", "augment"].includes(one.job));
  if (!scans.length || !sets.length) {
    return h(Empty, { title: "Real against synthetic", icon: "reading" },
      h("p", null, "A blind reading needs real scans and synthetic images of the same kind."),
      h("p", { class: "row centre" },
        !scans.length && h("a", { class: "button main", href: link("scans") }, "Hand in scans"),
        !sets.length && h("a", { class: "button main", href: link("new/synthesize") }, "Draw new images")));
  }
  const start = async (event) => {
    event.preventDefault();
    try {
      const reading = await post("/readings", { kind, studies: real, runs: made, n });
      onDone();
      go(`read/${reading.id}`);
    } catch (wrong) {
      setError(wrong);
    }
  };
  return h("form", { class: "form", onSubmit: start },
    h("fieldset", null, h("legend", null, "Real scans"), scans.map((one) => h(Tick, { key: one.id, id: one.id, words: one.name, chosen: real, set: setReal }))),
    h("fieldset", null, h("legend", null, "Synthetic images"), sets.map((one) => h(Tick, { key: one.id, id: one.id, words: `${titled(one.job)}: ${one.result}`, chosen: made, set: setMade }))),
    h("div", { class: "field" }, h("label", { for: "kind" }, "Kind"), h("select", { id: "kind", value: kind, onChange: (e) => setKind(e.target.value) }, Object.entries(KINDS).map(([key, words]) => h("option", { value: key }, words)))),
    h("div", { class: "field" }, h("label", { for: "many" }, "Questions, at most"), h("input", { id: "many", type: "number", min: 1, max: 500, value: n, onInput: (e) => setN(Number(e.target.value)) })),
    h("p", { class: "soft" }, "All pictures get one size, one shape and a grey scale of their own range. The order is drawn at random."),
    h(Problem, { error }),
    h("button", { class: "main", disabled: !real.length || !made.length }, "Make the reading"));
}

export function ReadingsPage() {
  const [readings, error, again] = useAnswer("/readings");
  return h("div", null,
    h(Head, { title: "Blind reading", lead: "Can readers tell synthetic images from real ones? An accuracy near 50 % means that they cannot." }),
    h(Problem, { error }),
    readings?.length > 0 && h("ul", { class: "choices" }, readings.map((one) =>
      h("li", { key: one.id }, h("a", { class: "card words", href: link(`read/${one.id}`) }, h("span", { class: "row tight" }, h(Icon, { name: "reading" }), h("b", null, one.title)), h("span", { class: "soft" }, `${one.questions} questions, ${KINDS[one.kind]}`), h("span", { class: "soft" }, one.readers.length ? `readers: ${one.readers.join(", ")}` : "no reader yet"))))),
    readings?.length > 0 && h("h2", null, "A new reading"),
    readings && h(Plan, { onDone: again }));
}

function Results({ name }) {
  const [results, error] = useAnswer(`/readings/${name}/results`);
  const save = async () => {
    const { address } = await post(`/readings/${name}/export`);
    const out = document.createElement("a");
    out.href = address;
    out.click();
  };
  if (!results) return error ? h(Problem, { error }) : h(Loading);
  return h("div", null,
    h("h2", null, "Readers"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Readers" }, h("table", null,
      h("thead", null, h("tr", null, ["Reader", "Right", "Accuracy", "95 % interval", "Seconds each"].map((words) => h("th", { scope: "col" }, words)))),
      h("tbody", null, results.map((one) => h("tr", { key: one.reader }, h("th", { scope: "row" }, one.reader), h("td", null, `${one.right} of ${one.answers}`), h("td", null, percent(one.accuracy)), h("td", null, `${percent(one.low)} to ${percent(one.high)}`), h("td", null, one.seconds.toFixed(1))))))),
    h("p", { class: "soft" }, "The interval is exact for a share (Clopper and Pearson). Readers who are not through are not shown."),
    h("button", { type: "button", onClick: save }, "Save all answers as CSV"));
}

const RATINGS = ["surely real", "probably real", "rather real", "rather synthetic", "probably synthetic", "surely synthetic"];

export function ReadingPage({ name }) {
  const [reader, setReader] = useState(sessionStorage.getItem("medprior-reader") ?? "");
  const [named, setNamed] = useState(reader !== "");
  const [question, set] = useState(null);
  const [error, setError] = useState(null);
  const began = useRef(0);
  const busy = useRef(false);
  const next = () => get(`/readings/${name}?reader=${encodeURIComponent(reader)}`).then((found) => (set(found), (began.current = performance.now())), setError);
  useEffect(() => {
    if (named) next();
  }, [named, name]);
  const answer = async (value) => {
    if (busy.current || question?.number == null) return;
    busy.current = true;
    try {
      await post(`/readings/${name}/answers`, { reader, number: question.number, answer: value, seconds: (performance.now() - began.current) / 1000 });
      await next();
    } catch (wrong) {
      setError(wrong);
    }
    busy.current = false;
  };
  const latest = useRef(answer);
  latest.current = answer;
  useEffect(() => {
    const keys = (event) => {
      if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
      const value = { ArrowLeft: 1, ArrowRight: 2 }[event.key] ?? Number(event.key);
      if (value >= 1 && value <= (question?.kind === "choice" ? 2 : 6)) latest.current(value);
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, [question?.kind]);
  const begin = (event) => {
    event.preventDefault();
    sessionStorage.setItem("medprior-reader", reader);
    setNamed(reader.trim() !== "");
  };
  if (!named) {
    return h("form", { class: "form", onSubmit: begin },
      h("h1", null, "Blind reading"),
      h("p", { class: "lead" }, "You answer alone, and an answer is final. The truth is shown after the last question."),
      h("div", { class: "panel fields" }, h("div", { class: "field" }, h("label", { for: "reader" }, "Your name or initials"), h("input", { id: "reader", value: reader, maxlength: 60, required: true, onInput: (e) => setReader(e.target.value) }))),
      h("button", { class: "main" }, "Begin"));
  }
  if (!question) return h("div", null, h("h1", null, "Blind reading"), error ? h(Problem, { error }) : h(Loading));
  const done = question.number === null;
  return h("div", { class: "blind" },
    h("h1", null, question.title),
    h("div", { class: "row" }, h("progress", { value: question.answered, max: question.questions, "aria-label": "Questions answered" })),
    h("p", { class: "soft", role: "status" }, done ? `${reader}: all ${question.questions} questions are answered.` : `${reader}: question ${question.answered + 1} of ${question.questions}`),
    h(Problem, { error }),
    !done && question.kind === "choice" && h("div", { class: "pair" }, question.pictures.map((picture, n) =>
      h("button", { type: "button", class: "shot", key: picture, onClick: () => answer(n + 1), "aria-label": `Picture ${n + 1} is synthetic` }, h(Picture, { path: `/readings/${name}/picture/${picture}`, alt: "" }), h("span", { class: "small" }, `${n + 1}: this one is synthetic`)))),
    !done && question.kind === "rating" && h("div", { class: "single" },
      h(Picture, { path: `/readings/${name}/picture/${question.pictures[0]}`, alt: `Picture of question ${question.answered + 1}` }),
      h("div", { class: "row centre" }, RATINGS.map((words, n) => h("button", { type: "button", key: words, onClick: () => answer(n + 1) }, `${n + 1} ${words}`)))),
    !done && h("p", { class: "soft small" }, question.kind === "choice" ? "Keys: 1 or left arrow, 2 or right arrow." : "Keys: 1 to 6."),
    done && h(Results, { name }),
    h("p", null, h("button", { type: "button", class: "quiet", onClick: () => (sessionStorage.removeItem("medprior-reader"), setReader(""), setNamed(false), set(null)) }, "Another reader")));
}
