// Line drawings of 24 x 24, in the colour of the text beside them.

import { h } from "preact";

const LINES = {
  scans: "M4 8V5a1 1 0 0 1 1-1h3M16 4h3a1 1 0 0 1 1 1v3M20 16v3a1 1 0 0 1-1 1h-3M8 20H5a1 1 0 0 1-1-1v-3M8 12a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
  runs: "M4 19h16M7 16v-5M12 16V6M17 16v-8",
  jobs: "M4 6h10M4 12h16M4 18h7M18 4v4M16 6h4",
  priors: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5l8-4.5M12 12v9",
  reading: "M3 5h8v14H3zM13 5h8v14h-8zM17 9.5v2.5M17 15v.2",
  labels: "M4 5v6l9 9l7-7l-9-9H5a1 1 0 0 0-1 1zM8 8.2v.2",
  pacs: "M5 4h14v6H5zM5 14h14v6H5zM8 7v.2M8 17v.2M12 10v4",
  drop: "M12 15V4M8 8l4-4l4 4M5 15v4h14v-4",
  detect: "M4 11a6.5 6.5 0 1 0 13 0a6.5 6.5 0 1 0-13 0M15.5 15.5L20 20M10.5 8v3l2 1.5",
  reconstruct: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 17h6M17 14v6",
  augment: "M8 4h12v12H8zM4 8v12h12M14 7.500v5M11.500 10h5",
  synthesize: "M12 3v4M12 17v4M3 12h4M17 12h4M6 6l2.500 2.500M15.500 15.500L18 18M18 6l-2.500 2.500M8.500 15.500L6 18",
  explain: "M9.500 9.200a2.600 2.600 0 1 1 3.700 2.400c-.8.4-1.200 1-1.200 1.900M12 17v.2M3.500 12a8.500 8.500 0 1 0 17 0a8.500 8.500 0 1 0-17 0",
  train: "M3 9l9-4l9 4l-9 4zM7 11v5c2.500 2 7.500 2 10 0v-5M21 9v6",
  predict: "M4 19V5M4 19h16M8 15l3.500-4l3 2.500L20 7",
  evaluate: "M5 20V9M12 20V4M19 20v-7M3 20h18",
  calibrate: "M12 4v3M4 13a8 8 0 0 1 16 0M12 13l4-4M4 17h16",
  set: "M3 7h7l2 2h9v10H3z",
  table: "M4 5h16v14H4zM4 10h16M4 14.500h16M10 5v14",
  model: "M6 6v.1M6 18v.1M12 12v.1M18 6v.1M18 18v.1M6 6l6 6l6-6M6 18l6-6l6 6",
  measurement: "M3 12h3l2-6l4 12l3-9l2 3h4",
  done: "M5 12.500l4.500 4.500L19 7",
  failed: "M6 6l12 12M18 6L6 18",
  waiting: "M12 7v5l3 2M3.500 12a8.500 8.500 0 1 0 17 0a8.500 8.500 0 1 0-17 0",
};

// The drawing of a job is that of its first word.
export const Icon = ({ name, size = 20 }) =>
  h("svg", { class: "icon", width: size, height: size, viewBox: "0 0 24 24", "aria-hidden": true },
    h("path", { d: LINES[name] ?? LINES[{ adapt: "train", learn: "train", label: "labels", scan: "set" }[name?.split(/[ -]/)[0]] ?? name?.split(/[ -]/)[0]] ?? LINES.runs }));
