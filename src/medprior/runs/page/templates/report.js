"use strict";
(() => {
  const all = (where, what) => [...where.querySelectorAll(what)];
  const box = document.querySelector("dialog");
  const part = (name) => box.querySelector(`[data-part=${name}]`);
  const shots = all(document, ".shot");
  const transfer = all(box, "feFuncR, feFuncG, feFuncB");
  let at = 0;

  const shown = (value) => Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString();

  function windowed() {
    const { low, high } = box.dataset, span = high - low;
    const level = Number(part("level").value), width = Math.max(Number(part("width").value), span / 255);
    part("level-now").textContent = shown(level);
    part("width-now").textContent = shown(width);
    const slope = span / width, start = (level - width / 2 - low) / span;
    for (const one of transfer) { one.setAttribute("slope", slope); one.setAttribute("intercept", -start * slope); }
  }

  function faded() {
    const value = part("opacity").value;
    part("opacity-now").textContent = `${value} %`;
    part("frame").style.setProperty("--opacity", value / 100);
  }

  function fit() {
    const base = part("frame").querySelector("img");
    const room = part("view").getBoundingClientRect(), wide = base.width0, tall = base.height0;
    const scale = Math.min((room.width - 26) / wide, (room.height - 26) / tall);
    part("frame").style.width = `${wide * scale}px`;
    part("frame").style.height = `${tall * scale}px`;
  }

  function open(n) {
    at = (n + shots.length) % shots.length;
    const shot = shots[at], frame = part("frame"), figure = shot.closest("figure");
    frame.replaceChildren(...[...shot.children].map((child) => child.cloneNode(true)));
    const base = frame.querySelector("img"), scan = shot.dataset.low !== undefined;
    base.width0 = base.getAttribute("width"); base.height0 = base.getAttribute("height");
    for (const one of all(frame, "img")) { one.removeAttribute("width"); one.removeAttribute("height"); }
    part("title").textContent = figure.querySelector("b").textContent;
    part("caption").textContent = figure.querySelector(".cap").textContent;
    part("opacity").parentElement.hidden = !frame.querySelector(".layer");
    for (const name of ["level", "width"]) part(name).parentElement.hidden = !scan;
    base.style.filter = scan ? "url(#window)" : "";
    if (scan) {
      const low = Number(shot.dataset.low), high = Number(shot.dataset.high), span = high - low;
      Object.assign(box.dataset, { low, high });
      Object.assign(part("level"), { min: low, max: high, step: span / 200, value: (low + high) / 2 });
      Object.assign(part("width"), { min: span / 100, max: span, step: span / 200, value: span });
      windowed();
    }
    if (!box.open) box.showModal();
    faded();
    fit();
  }

  shots.forEach((shot, n) => shot.addEventListener("click", () => open(n)));
  part("level").addEventListener("input", windowed);
  part("width").addEventListener("input", windowed);
  part("opacity").addEventListener("input", faded);
  part("close").addEventListener("click", () => box.close());
  part("next").addEventListener("click", () => open(at + 1));
  part("back").addEventListener("click", () => open(at - 1));
  part("view").addEventListener("click", (event) => { if (event.target === part("view")) box.close(); });
  box.addEventListener("close", () => shots[at].focus());
  box.addEventListener("keydown", (event) => {
    if (event.target.type === "range") return;
    if (event.key === "ArrowRight") open(at + 1);
    if (event.key === "ArrowLeft") open(at - 1);
  });
  addEventListener("resize", () => { if (box.open) fit(); });

  for (const slider of all(document, ".opacity input")) {
    const layer = slider.closest("figure").querySelector(".shot");
    slider.addEventListener("input", () => layer.style.setProperty("--opacity", slider.value / 100));
  }
  for (const slider of all(document, ".slide")) {
    const stage = slider.closest("div").querySelector(".stage");
    const move = () => stage.style.setProperty("--at", `${slider.value}%`);
    const follow = (event) => {
      const place = stage.getBoundingClientRect();
      slider.value = (100 * (event.clientX - place.left)) / place.width;
      move();
    };
    slider.addEventListener("input", move);
    stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); follow(event); });
    stage.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });
  }
})();
