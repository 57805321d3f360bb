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

/**
 * A squint at a picture: it is blurred until words and lines run into each other, as eyes half shut see it. What
 * share of it is saturated as it is, and where the blurred one is most so: "most" is that place, "rivals" how
 * saturated the strongest place outside the boxes is beside the strongest within.
 */
async function squint(png, boxes) {
  const page = await (await open()).newPage();
  const r = await page.evaluate(
    async ({ data, boxes }) => {
      const img = await createImageBitmap(await (await fetch(data)).blob());
      const c = new OffscreenCanvas(img.width, img.height);
      const g = c.getContext("2d");
      const lin = (v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);
      /** Chroma in OKLab of each pixel. */
      const chroma = () => {
        const d = g.getImageData(0, 0, img.width, img.height).data;
        const out = new Float32Array(img.width * img.height);
        for (let i = 0; i < out.length; i++) {
          const [R, G, B] = [lin(d[4 * i]), lin(d[4 * i + 1]), lin(d[4 * i + 2])];
          const l = Math.cbrt(0.4122214708 * R + 0.5363325363 * G + 0.0514459929 * B);
          const m = Math.cbrt(0.2119034982 * R + 0.6806995451 * G + 0.1073969566 * B);
          const s = Math.cbrt(0.0883024619 * R + 0.2817188376 * G + 0.6299787005 * B);
          out[i] = Math.hypot(1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s, 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s);
        }
        return out;
      };
      g.drawImage(img, 0, 0);
      const sharp = chroma();
      const share = sharp.filter((v) => v > 0.08).length / sharp.length;
      g.filter = "blur(10px)";
      g.drawImage(img, 0, 0);
      const blurred = chroma();
      let most = 0;
      let inside = 0;
      let outside = 0;
      for (let i = 0; i < blurred.length; i++) {
        if (blurred[i] > blurred[most]) most = i;
        const [x, y] = [i % img.width, Math.floor(i / img.width)];
        const on = boxes.some((b) => x >= b.left && x <= b.right && y >= b.top && y <= b.bottom);
        if (on) inside = Math.max(inside, blurred[i]);
        else outside = Math.max(outside, blurred[i]);
      }
      return { share, x: most % img.width, y: Math.floor(most / img.width), rivals: inside > 0 ? outside / inside : 0 };
    },
    { data: `data:image/png;base64,${png.toString("base64")}`, boxes },
  );
  await page.close();
  return r;
}

/** Where the culprit is shown: the map, on which bad edges alone have a colour; without it all that tells of failures. */
async function culprits(page) {
  const list = (await page.locator(".map-box").isVisible()) ? [".map-box"] : [".finding.failed", ".finding.denied", ".outcome.failed", ".outcome.denied", ".lane.failures"];
  const boxes = [];
  for (const s of list) for (const l of await page.locator(s).all()) boxes.push(await l.boundingBox());
  return boxes.filter(Boolean).map((b) => ({ left: b.x - 8, top: b.y - 8, right: b.x + b.width + 8, bottom: b.y + b.height + 8 }));
}

async function shoot(world, name, path, ready) {
  const seen = {};
  for (const colorScheme of ["light", "dark"])
    for (const width of [1024, 1440, 2560]) {
      const page = await visit(world, path, { viewport: { width, height: width === 2560 ? 1440 : 900 }, colorScheme, reducedMotion: "reduce" });
      await settle(page, ready);
      const png = await page.screenshot({ path: join(out, `${name}-${colorScheme}-${width}.png`) });
      const s = await squint(png, name === "incident" ? await culprits(page) : []);
      seen[`${colorScheme}-${width}`] = s;
      if (name === "incident" && colorScheme === "light" && width === 1440) {
        const cdp = await page.context().newCDPSession(page);
        await cdp.send("Emulation.setEmulatedVisionDeficiency", { type: "deuteranopia" });
        await page.screenshot({ path: join(out, "incident-deuteranope.png") });
      }
      await page.context().close();
    }
  for (const [k, v] of Object.entries(seen)) console.log(`${name} ${k}: ${(100 * v.share).toFixed(2)} % saturated, most at ${v.x},${v.y}${v.rivals ? `, the strongest rival has ${Math.round(100 * v.rivals)} % of it` : ""}`);
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
    ["changes", "?since=10m&select=changes"],
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
  for (const colorScheme of ["light", "dark"]) {
    const page = await visit(incident, "?since=10m&pane=map", { viewport: { width: 1024, height: 900 }, colorScheme, reducedMotion: "reduce" });
    await settle(page, hasRows);
    loud[`${colorScheme}-1024-map`] = await squint(await page.screenshot({ path: join(out, `incident-${colorScheme}-1024-map.png`) }), await culprits(page));
    quiet[`${colorScheme}-1024-map`] = quiet[`${colorScheme}-1024`];
    await page.context().close();
  }
  await shoot(empty, "empty", "", isEmpty);
  await drawers(incident);
  for (const [k, v] of Object.entries(quiet)) assert.ok(v.share < 0.005, `calm ${k}: ${100 * v.share} % of its pixels are saturated`);
  for (const [k, v] of Object.entries(loud)) {
    assert.ok(v.share > quiet[k].share, `incident ${k} is no louder than calm`);
    assert.ok(v.rivals < 1, `incident ${k}: what stands out most is at ${v.x},${v.y}, and no culprit`);
  }
} finally {
  await Promise.all([calm.stop(), incident.stop(), empty.stop()]);
  await closeBrowser();
}
