// Three planes and the volume at once, drawn by NiiVue with WebGL2; without it the planes of the server do.

import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { headers } from "./api.js";
import { Problem } from "./kit.js";

let known = null;

export function solidWorks() {
  if (known === null) {
    try {
      known = document.createElement("canvas").getContext("webgl2") !== null;
    } catch {
      known = false;
    }
  }
  return known;
}

let loading = null;

function library() {
  loading ??= new Promise((yes, no) => {
    const script = document.createElement("script");
    script.src = "/vendor/niivue/niivue.umd.js";
    script.onload = () => yes(window.niivue);
    script.onerror = () => no(new Error("The 3-D viewer could not be loaded."));
    document.head.append(script);
  });
  return loading;
}

const address = (layer) => ({
  url: `${location.origin}/api/${layer.kind}/${layer.id}/volume/${layer.name}`,
  name: `${layer.name}.nii`,
  headers: headers(),
});

export function Solid({ base, map, opacity, low, win }) {
  const canvas = useRef(null);
  const viewer = useRef(null);
  const [error, setError] = useState(null);
  const [ready, setReady] = useState(false);
  useEffect(() => {
    let wanted = true;
    (async () => {
      const { Niivue } = await library();
      if (!wanted) return;
      const one = new Niivue({
        isRadiologicalConvention: true,
        backColor: [0, 0, 0, 1],
        sagittalNoseLeft: true,
        show3Dcrosshair: true,
        crosshairWidth: 1,
        crosshairColor: [0.45, 0.78, 0.87, 0.7],
        multiplanarLayout: 2,
        isColorbar: false,
        logLevel: "error",
        dragAndDropEnabled: false,
      });
      await one.attachToCanvas(canvas.current);
      const volumes = [{ ...address(base), colormap: "gray", cal_min: win.low, cal_max: win.high }];
      if (map?.colours) volumes.push({ ...address(map), colormap: "inferno", opacity, cal_min: Math.max(low, 1e-6), cal_max: map.colours[1] });
      await one.loadVolumes(volumes);
      one.setSliceType(one.sliceTypeMultiplanar);
      one.opts.multiplanarShowRender = 1;
      one.drawScene();
      viewer.current = one;
      if (wanted) setReady(true);
    })().catch((wrong) => wanted && setError(wrong instanceof Error ? wrong : new Error(String(wrong))));
    return () => {
      wanted = false;
      viewer.current?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
      viewer.current = null;
    };
  }, [base, map?.name]);
  useEffect(() => {
    const one = viewer.current;
    if (!one) return;
    [one.volumes[0].cal_min, one.volumes[0].cal_max] = [win.low, win.high];
    if (one.volumes[1]) {
      one.volumes[1].cal_min = low;
      one.setOpacity(1, opacity);
    }
    one.updateGLVolume();
  }, [ready, opacity, low, win]);
  return h(
    "div",
    { class: "stage solid" },
    h(Problem, { error }),
    h("canvas", { ref: canvas, "aria-label": `${base.title}: three planes and the volume`, role: "img", "data-ready": ready }),
    !ready && !error && h("p", { class: "over", role: "status" }, "Reading the volume …"),
  );
}
