// What can be measured of the page as it is drawn: contrasts and overlaps. Each function runs in the browser.

/** The page's helpers: colours as sRGB, whatever notation they have. */
function helpers() {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  /** [red, green, blue, alpha] in 0..1. */
  const rgba = (color) => {
    if (!known.has(color)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = "#000";
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const d = canvas.getImageData(0, 0, 1, 1).data;
      known.set(color, [d[0] / 255, d[1] / 255, d[2] / 255, d[3] / 255]);
    }
    return known.get(color);
  };
  const over = (top, below, opacity = 1) => {
    const a = top[3] * opacity;
    return [0, 1, 2].map((i) => top[i] * a + below[i] * (1 - a)).concat(1);
  };
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = (c) => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  /** WCAG 2.2, 1.4.3: from 1 to 21. */
  const contrast = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  /** What an element stands on, and how much of it is let through. */
  const ground = (el) => {
    const up = [];
    let opacity = 1;
    for (let e = el; e; e = e.parentElement) {
      const s = getComputedStyle(e);
      opacity *= Number(s.opacity);
      const c = rgba(s.backgroundColor);
      if (c[3] > 0) up.push(c);
      if (c[3] === 1) break;
    }
    let c = [1, 1, 1, 1];
    for (const layer of up.reverse()) c = over(layer, c);
    return { color: c, opacity };
  };
  const shown = (el) => el.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !el.closest("[inert], .sr, [disabled]");
  const ownText = (el) => [...el.childNodes].filter((n) => n.nodeType === 3 && n.data.trim() !== "");
  return { rgba, over, contrast, ground, shown, ownText };
}

/** Texts below 4.5:1 and glyphs below 3:1, with what they are; and how many were looked at. */
export const contrasts = (page) =>
  page.evaluate(`(${contrastsHere})(${helpers})`);

function contrastsHere(helpers) {
  const { rgba, over, contrast, ground, shown, ownText } = helpers();
  const bad = [];
  let looked = 0;
  let least = 21;
  const judge = (el, color, atLeast, text) => {
    const g = ground(el);
    const r = contrast(over(rgba(color), g.color, g.opacity), g.color);
    looked++;
    if (atLeast === 4.5) least = Math.min(least, r);
    if (r < atLeast - 0.005) bad.push(`${r.toFixed(2)} < ${atLeast}: <${el.tagName.toLowerCase()} class="${el.getAttribute("class") ?? ""}"> ${text.trim().slice(0, 60)}`);
  };
  for (const el of document.querySelectorAll("body *")) {
    if (!shown(el)) continue;
    const s = getComputedStyle(el);
    const texts = ownText(el);
    if (texts.length > 0) judge(el, s.color, 4.5, texts.map((t) => t.data).join(" "));
    if (el.tagName === "INPUT" && el.placeholder && !el.value) judge(el, getComputedStyle(el, "::placeholder").color, 4.5, el.placeholder);
    if (el.tagName === "INPUT" && el.value) judge(el, s.color, 4.5, el.value);
    if (el.tagName === "path" && s.stroke !== "none") judge(el.closest("svg"), s.stroke, 3, `glyph ${el.closest("svg").getAttribute("class")}`);
  }
  return { bad: [...new Set(bad)], looked, least };
}

/** The contrast of each token to each ground. */
export const tokens = (page, names, grounds) =>
  page.evaluate(`(${tokensHere})(${helpers}, ${JSON.stringify(names)}, ${JSON.stringify(grounds)})`);

function tokensHere(helpers, names, grounds) {
  const { rgba, contrast } = helpers();
  const css = getComputedStyle(document.documentElement);
  const color = (n) => rgba(css.getPropertyValue(`--${n}`).trim());
  return names.flatMap((name) => grounds.map((on) => ({ name, on, ratio: contrast(color(name), color(on)) })));
}

/** Texts that lie over each other or leave the window, and what makes the page scroll sideways. */
export const misplaced = (page) => page.evaluate(`(${misplacedHere})(${helpers})`);

function misplacedHere(helpers) {
  const { shown, ownText } = helpers();
  const out = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth || document.body.scrollWidth > innerWidth) out.push(`the page is ${Math.max(root.scrollWidth, document.body.scrollWidth)} px wide in a window of ${innerWidth}`);
  const layer = (el) => el.closest(".drawer, .menu-panel, .suggestions, .brush, .readout, .tip, .sheet, .scrim, .said") ?? document.body;
  const boxes = [];
  for (const el of document.querySelectorAll("body *")) {
    if (!shown(el)) continue;
    for (const t of ownText(el)) {
      const range = document.createRange();
      range.selectNodeContents(t);
      for (const r of range.getClientRects()) {
        // What is cut off by a box that hides or scrolls its overflow is not there.
        const b = { left: r.left, top: r.top, right: r.right, bottom: r.bottom };
        for (let e = el; e; e = e.parentElement) {
          const s = getComputedStyle(e);
          if (e !== el && s.position === "fixed") break;
          if (s.overflowX === "visible" && s.overflowY === "visible") continue;
          const c = e.getBoundingClientRect();
          b.left = Math.max(b.left, c.left);
          b.right = Math.min(b.right, c.right);
          b.top = Math.max(b.top, c.top);
          b.bottom = Math.min(b.bottom, c.bottom);
        }
        if (b.right - b.left < 2 || b.bottom - b.top < 2) continue;
        if (b.left < -1 || b.right > innerWidth + 1) out.push(`"${t.data.trim().slice(0, 40)}" leaves the window: ${Math.round(b.left)}..${Math.round(b.right)}`);
        const at = document.elementFromPoint((b.left + b.right) / 2, (b.top + b.bottom) / 2);
        const seen = at === null || layer(at) === layer(el);
        if (seen) boxes.push({ ...b, el, text: t.data.trim(), layer: layer(el) });
      }
    }
  }
  for (let i = 0; i < boxes.length; i++)
    for (let k = i + 1; k < boxes.length; k++) {
      const [a, b] = [boxes[i], boxes[k]];
      if (a.layer !== b.layer || a.el === b.el) continue;
      const w = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      // Lines of text may touch with what is above and below their letters.
      const h = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (w > 2 && h > 5) out.push(`"${a.text.slice(0, 40)}" and "${b.text.slice(0, 40)}" overlap by ${Math.round(w)} x ${Math.round(h)} px`);
    }
  return out.slice(0, 20);
}

/** Chromium's accessibility tree as lines: role, name, value; what is ignored is left out. */
export async function tree(page) {
  const cdp = await page.context().newCDPSession(page);
  const { nodes } = await cdp.send("Accessibility.getFullAXTree");
  await cdp.detach();
  return nodes
    .filter((n) => !n.ignored)
    .map((n) => ({
      role: n.role?.value ?? "",
      name: n.name?.value ?? "",
      ...Object.fromEntries((n.properties ?? []).map((p) => [p.name, p.value.value])),
      value: n.value?.value,
      valuetext: n.properties?.find((p) => p.name === "valuetext")?.value.value,
    }));
}

// What scripts hold, by the kinds of a heap snapshot: compiled code, and what the browser keeps of its own
// (performance entries, bounded; requests, where they are watched), are none of it.
const scripts = new Set(["object", "closure", "array", "string", "concatenated string", "sliced string", "regexp", "number", "symbol", "bigint"]);

/** Bytes that scripts hold after a collection, elements with those that are detached, and listeners. */
export async function held(page) {
  const cdp = await page.context().newCDPSession(page);
  const chunks = [];
  cdp.on("HeapProfiler.addHeapSnapshotChunk", (e) => chunks.push(e.chunk));
  await cdp.send("HeapProfiler.collectGarbage");
  await cdp.send("HeapProfiler.takeHeapSnapshot", { reportProgress: false });
  await cdp.send("Performance.enable");
  const { metrics } = await cdp.send("Performance.getMetrics");
  await cdp.detach();
  const { snapshot, nodes } = JSON.parse(chunks.join(""));
  const { node_fields: fields, node_types: types } = snapshot.meta;
  const [kind, size] = ["type", "self_size"].map((f) => fields.indexOf(f));
  let bytes = 0;
  for (let i = 0; i < nodes.length; i += fields.length) if (scripts.has(types[kind][nodes[i + kind]])) bytes += nodes[i + size];
  const metric = (name) => metrics.find((m) => m.name === name).value;
  return { bytes, heap: metric("JSHeapUsedSize"), nodes: metric("Nodes"), listeners: metric("JSEventListeners") };
}

/**
 * The live tail through so many minutes of the page's clock, which is driven: the stream is real. A sample each
 * ten minutes; `each` is told of it.
 */
export async function hourOfTail(page, url, each = () => undefined) {
  await page.clock.install();
  await page.goto(`${url}?live=1`);
  await page.clock.runFor(2000);
  await page.waitForSelector(".table .tr");
  const samples = [];
  for (let minute = 0; minute <= 60; minute += 10) {
    const s = { minute, ...(await held(page)) };
    samples.push(s);
    each(s);
    for (let i = 0; i < 20; i++) {
      await page.clock.runFor(30_000);
      await new Promise((ok) => setTimeout(ok, 200)); // the stream goes by another clock
    }
  }
  return samples;
}

/** Bytes a minute that what is held grows by, from a minute on: the slope of a line through the samples. */
export function growth(samples, from) {
  const list = samples.filter((s) => s.minute >= from);
  const mean = (f) => list.reduce((n, s) => n + f(s), 0) / list.length;
  const [x, y] = [mean((s) => s.minute), mean((s) => s.bytes)];
  return list.reduce((n, s) => n + (s.minute - x) * (s.bytes - y), 0) / list.reduce((n, s) => n + (s.minute - x) ** 2, 0);
}
