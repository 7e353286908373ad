// How the page speaks to its server: every request carries the token in a header, and goes nowhere else.

const KEY = "medprior-token";

// The address that `medprior serve` prints ends in #token=...; a fragment reaches no log and no other site.
export function takeToken() {
  const found = location.hash.match(/token=([\w-]+)/);
  if (found) {
    sessionStorage.setItem(KEY, found[1]);
    history.replaceState(null, "", location.pathname + "#/scans");
  }
  return sessionStorage.getItem(KEY);
}

export const headers = () => ({ Authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}` });

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answer(method, path, body, kind = "application/json") {
  let found;
  try {
    found = await fetch(`/api${path}`, {
      method,
      headers: body === undefined ? headers() : { ...headers(), "Content-Type": kind },
      body,
    });
  } catch {
    throw new Refused(0, "The server does not answer. Is medprior serve still running?");
  }
  if (!found.ok) {
    const said = await found.json().catch(() => ({}));
    const detail = typeof said.detail === "string" ? said.detail : undefined;
    throw new Refused(found.status, said.error ?? detail ?? `The server refused this (${found.status}).`);
  }
  return found;
}

export const get = async (path) => (await answer("GET", path)).json();
export const post = async (path, body = {}) => {
  const found = await answer("POST", path, JSON.stringify(body));
  return found.status === 204 ? null : found.json();
};
export const remove = (path) => answer("DELETE", path);
export const text = async (path) => (await answer("GET", path)).text();
export const send = (path, file) => answer("POST", path, file, "application/octet-stream");

// Pictures: an <img> sends no header, so bytes are fetched and shown from memory; the newest 400 are kept.
const kept = new Map();

export function picture(path) {
  if (!kept.has(path)) {
    const made = answer("GET", path).then(async (found) => URL.createObjectURL(await found.blob()));
    made.catch(() => kept.delete(path));
    kept.set(path, made);
    if (kept.size > 400) {
      const [oldest, url] = kept.entries().next().value;
      kept.delete(oldest);
      url.then((old) => setTimeout(() => URL.revokeObjectURL(old), 5000)).catch(() => {});
    }
  } else {
    const url = kept.get(path);
    kept.delete(path);
    kept.set(path, url);
  }
  return kept.get(path);
}

// A file of a run by a link that works once: the report opens in a tab of its own, all else is saved.
export async function fetchFile(run, file) {
  const { address } = await post(`/runs/${run}/ticket`, { file });
  const link = document.createElement("a");
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener";
  link.click();
}
