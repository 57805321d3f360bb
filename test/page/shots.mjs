// Pictures of the page, for people to look at: calm, incident and empty, light and dark, at three
// widths, and one as a deuteranope sees it; and what a squint at them shows, in numbers.
//
//   node shots.mjs DIRECTORY
//
// It fails where the calm page is not quiet, or the incident does not stand out.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { closeBrowser, eventually, open, visit, World } from "./world.mjs";

const out = process.argv[2] ?? "shots";
mkdirSync(out, { recursive: true });

const settle = async (page, ready) => {
  await page.waitForSelector(".lane.volume canvas");
  await eventually("the pane is there", () => ready(page));
  await page.evaluate(() => new Promise((ok) => setTimeout(ok, 600)));
};
const hasRows = async (page) => (await page.locator(".table .tr").count()) > 0 && (await page.locator(".map canvas").count()) > 0;
const isEmpty = async (page) => (await page.locator(".empty").count()) > 0;

/** Of a picture: the share of saturated pixels, and the most saturated square of 48 px. */
async function squint(png) {
  const page = await (await open()).newPage();
  const r = await page.evaluate(async (data) => {
    const img = await createImageBitmap(await (await fetch(data)).blob());
    const c = new OffscreenCanvas(img.width, img.height);
    const g = c.getContext("2d");
    g.drawImage(img, 0, 0);
    const d = g.getImageData(0, 0, img.width, img.height).data;
    const lin = (v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    const side = 48;
    const cells = new Map();
    let saturated = 0;
    for (let y = 0; y < img.height; y++)
      for (let x = 0; x < img.width; x++) {
        const i = 4 * (y * img.width + x);
        const [R, G, B] = [lin(d[i]), lin(d[i + 1]), lin(d[i + 2])];
        const l = Math.cbrt(0.4122214708 * R + 0.5363325363 * G + 0.0514459929 * B);
        const m = Math.cbrt(0.2119034982 * R + 0.6806995451 * G + 0.1073969566 * B);
        const s = Math.cbrt(0.0883024619 * R + 0.2817188376 * G + 0.6299787005 * B);
        const a = 1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s;
        const b = 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s;
        const chroma = Math.hypot(a, b);
        if (chroma <= 0.08) continue;
        saturated++;
        const k = Math.floor(y / side) * 1000 + Math.floor(x / side);
        cells.set(k, (cells.get(k) ?? 0) + chroma);
      }
    let top = [0, 0];
    for (const e of cells) if (e[1] > top[1]) top = e;
    return { share: saturated / (img.width * img.height), x: (top[0] % 1000) * side + side / 2, y: Math.floor(top[0] / 1000) * side + side / 2 };
  }, `data:image/png;base64,${png.toString("base64")}`);
  await page.close();
  return r;
}

async function shoot(world, name, path, ready) {
  const seen = {};
  for (const colorScheme of ["light", "dark"])
    for (const width of [1024, 1440, 2560]) {
      const page = await visit(world, path, { viewport: { width, height: width === 2560 ? 1440 : 900 }, colorScheme, reducedMotion: "reduce" });
      await settle(page, ready);
      const png = await page.screenshot({ path: join(out, `${name}-${colorScheme}-${width}.png`) });
      const s = await squint(png);
      const map = width < 1100 ? null : await page.locator(".map").boundingBox();
      s.onMap = map === null || (s.x >= map.x && s.x <= map.x + map.width && s.y >= map.y && s.y <= map.y + map.height);
      seen[`${colorScheme}-${width}`] = s;
      if (name === "incident" && colorScheme === "light" && width === 1440) {
        const cdp = await page.context().newCDPSession(page);
        await cdp.send("Emulation.setEmulatedVisionDeficiency", { type: "deuteranopia" });
        await page.screenshot({ path: join(out, "incident-deuteranope.png") });
      }
      await page.context().close();
    }
  for (const [k, v] of Object.entries(seen)) console.log(`${name} ${k}: ${(100 * v.share).toFixed(2)} % saturated, most at ${v.x},${v.y}`);
  return seen;
}

async function drawers(world) {
  const page = await visit(world, "?since=10m", { reducedMotion: "reduce" });
  await settle(page, hasRows);
  for (const [name, path] of [
    ["why", "?since=10m&select=edge~shop/Deployment/checkout~shop/Deployment/payments~8443"],
    ["entity", "?since=10m&select=entity~shop/Deployment/cart"],
    ["differences", "?since=10m&select=differences~outcome+!%3D+ok"],
    ["before-after", "?since=10m&compare=1"],
    ["edges", "?since=10m&group=src.workload,+dst.workload,+dst.port,+outcome"],
    ["coverage", "?sheet=coverage"],
    ["ledger", "?sheet=ledger"],
  ]) {
    await page.goto(world.url + path);
    await page.evaluate(() => new Promise((ok) => setTimeout(ok, 3000)));
    await page.screenshot({ path: join(out, `${name}.png`) });
  }
  await page.context().close();
}

const calm = await World.start({ feed: ["-rate", "30", "-history", "35m"] });
const incident = await World.start({ feed: ["-rate", "30", "-history", "25m", "-incident", "1s"] });
const empty = await World.start({ feed: null });
try {
  await new Promise((ok) => setTimeout(ok, 80_000)); // an incident has a length
  const quiet = await shoot(calm, "calm", "", hasRows);
  const loud = await shoot(incident, "incident", "?since=10m", hasRows);
  await shoot(empty, "empty", "", isEmpty);
  await drawers(incident);
  for (const [k, v] of Object.entries(quiet)) assert.ok(v.share < 0.005, `calm ${k}: ${100 * v.share} % of its pixels are saturated`);
  for (const [k, v] of Object.entries(loud)) {
    assert.ok(v.share > quiet[k].share, `incident ${k} is no louder than calm`);
    assert.ok(v.onMap, `incident ${k}: what stands out most is at ${v.x},${v.y}, and no edge of the map`);
  }
} finally {
  await Promise.all([calm.stop(), incident.stop(), empty.stop()]);
  await closeBrowser();
}
