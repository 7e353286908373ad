import { h } from "preact";
export const LabelsPage = () => h("h1", null, "Labelling");
export const LabelPage = LabelsPage;
