import { h } from "preact";
export const ReadingsPage = () => h("h1", null, "Blind reading");
export const ReadingPage = ReadingsPage;
