// What the report of a run says, on the page: verdicts, tables, pictures under sliders, charts, limits.

import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Picture } from "./kit.js";

const SVG = "http://www.w3.org/2000/svg";
const OPENS = /^scans\/\d+\/report\.html$/;

// A picture that is stored in the report, its coloured layer and the scale of its colours.
function Shown({ picture, opacity = 0.7, children }) {
  return h("div", { class: "shown", style: { aspectRatio: `${picture.size?.[0] ?? 1} / ${picture.size?.[1] ?? 1}` } },
    h("img", { src: picture.image, alt: picture.title, draggable: false }),
    picture.layer && h("img", { src: picture.layer, alt: "", class: "over", style: { opacity }, draggable: false }),
    children,
    picture.edges?.[0] && h("span", { class: "edge l" }, picture.edges[0]),
    picture.edges?.[1] && h("span", { class: "edge r" }, picture.edges[1]),
    picture.synthetic && h("span", { class: "made" }, "synthetic"));
}

const Legend = ({ scale }) =>
  scale && h("span", { class: "scale" }, scale[0], h(Picture, { path: `/legend/${scale[2]}`, alt: "Colours from low to high" }), scale[1]);

function Figure({ picture, small }) {
  const [opacity, set] = useState(0.7);
  return h("figure", { class: small ? "figure small" : "figure" },
    h(Shown, { picture, opacity }),
    h("figcaption", null, h("b", null, picture.title), picture.caption && h("span", { class: "soft" }, picture.caption), h(Legend, { scale: picture.legend }),
      picture.layer && !small && h("label", { class: "slider" }, h("span", null, "Opacity"), h("input", { type: "range", min: 0, max: 1, step: 0.05, value: opacity, onInput: (e) => set(Number(e.target.value)) }))));
}

// Two pictures of one size under one slider.
function Pair({ left, right, beside }) {
  const [split, set] = useState(50);
  return h("div", { class: "duo" },
    h("figure", { class: "figure" },
      h(Shown, { picture: left },
        h("div", { class: "twin", style: { "--split": `${split}%` } }, h(Shown, { picture: right })),
        h("span", { class: "cut", style: { "--split": `${split}%` }, "aria-hidden": true })),
      h("figcaption", null,
        h("label", { class: "slider wide" }, h("b", null, left.title), h("input", { type: "range", min: 0, max: 100, value: split, class: "split", "aria-label": `${left.title} to ${right.title}`, onInput: (e) => set(Number(e.target.value)) }), h("b", null, right.title)),
        h("span", { class: "soft" }, [left.caption, right.caption].filter(Boolean).join(" ")))),
    beside && h(Figure, { picture: beside }));
}

// A chart is drawn by the server as SVG; its colours are classes of this page.
function Drawing({ chart }) {
  const place = useRef(null);
  useEffect(() => {
    const drawn = new DOMParser().parseFromString(chart.svg.replace("<svg ", `<svg xmlns="${SVG}" `), "image/svg+xml").documentElement;
    place.current.replaceChildren(document.importNode(drawn, true));
  }, [chart.svg]);
  return h("figure", { class: "figure" }, h("div", { ref: place, class: "scroll", tabindex: 0, role: "region", "aria-label": chart.title }), h("figcaption", null, h("b", null, chart.title), h("span", { class: "soft" }, chart.caption)));
}

function Rows({ block, onOpen }) {
  const [head, ...rows] = block.rows;
  const numeric = (n) => !block.words && rows.every((row) => /^[-+−]?[\d.,\s%]*$/.test(row[n] ?? ""));
  const right = head.map((_, n) => n > 0 && numeric(n));
  const cell = (text) => (OPENS.test(text) ? h("button", { type: "button", class: "link", onClick: () => onOpen(text) }, "open") : text);
  const table = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": head.join(", ") }, h("table", null,
    h("thead", null, h("tr", null, head.map((words, n) => h("th", { scope: "col", class: right[n] ? "right" : undefined }, words)))),
    h("tbody", null, rows.map((row, at) => h("tr", { key: at, class: at === block.best ? "best" : undefined },
      row.map((words, n) => h(n ? "td" : "th", { scope: n ? undefined : "row", class: right[n] ? "right" : undefined }, cell(words))))))));
  const note = block.note && h("p", { class: "soft small" }, block.note);
  return rows.length > 8 && !block.open ? h("details", null, h("summary", null, `Table of ${rows.length} rows`), table, note) : h("div", null, table, note);
}

function Block({ block, onOpen }) {
  if (block.kind === "table") return h(Rows, { block, onOpen });
  if (block.kind === "compare") return h(Pair, block);
  if (block.kind === "charts") return h("div", { class: "figures" }, block.charts.map((chart) => h(Drawing, { chart, key: chart.title })));
  if (block.kind === "grid") return h("div", { class: `figures${block.pictures.length > 4 ? " many" : ""}` }, block.pictures.map((picture, n) => h(Figure, { picture, key: n, small: block.pictures.length > 4 })));
  return h("details", null, h("summary", null, block.title), block.blocks.map((one, n) => h(Block, { block: one, onOpen, key: n })));
}

export const Report = ({ sections, onOpen }) =>
  h("div", { class: "report" }, sections.map((one, n) =>
    h("section", { class: "panel", key: n, "aria-label": one.heading },
      h("h2", null, one.heading),
      one.verdict && h("p", { class: "verdict" }, one.verdict),
      one.text && h("p", { class: "soft" }, one.text),
      one.blocks.map((block, at) => h(Block, { block, onOpen, key: at })),
      one.caveats.length > 0 && h("ul", { class: "caveats" }, one.caveats.map((line) => h("li", { key: line }, line))))));

// Probabilities as bars: the answer first.
export const Answers = ({ answer }) =>
  h("section", { class: "panel answer", "aria-label": "The answer" },
    h("p", { class: "said" }, h("span", { class: "soft" }, answer.who), h("b", null, answer.given)),
    h("ul", { class: "bars" }, answer.classes.map(([name, p]) =>
      h("li", { key: name, class: name === answer.given ? "given" : undefined },
        h("span", null, name, answer.kept.length > 1 && answer.kept.includes(name) && h("span", { class: "soft small" }, " cannot be ruled out")),
        h("span", { class: "bar-of", "aria-hidden": true }, h("span", { style: { width: `${100 * p}%` } })), h("b", { class: "digits" }, p.toFixed(2))))));
