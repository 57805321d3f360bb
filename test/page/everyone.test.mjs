// The page for everyone: contrast, names and roles, keyboard, focus, zoom and text size, and other eyes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { contrasts, misplaced, tokens, tree } from "./measure.mjs";
import { closeBrowser, done, drawer, eventually, look, open, params, rows, texts, visit, World } from "./world.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const edge = "select=edge~shop/Deployment/checkout~shop/Deployment/payments~8443";
const still = { reducedMotion: "reduce" };

/** Every pane and what opens over it: its address, what shows that it is there, and keys that open the rest. */
const panes = {
  findings: ["?since=10m", ".finding.failed"],
  why: [`?since=10m&${edge}`, `${drawer} .cause`],
  entity: ["?since=10m&select=entity~shop/Deployment/cart", `${drawer} .edge-row`],
  connection: ["?since=10m&q=outcome+%3D+denied", rows, ["j", "Enter"], `${drawer} .ends-table`],
  differences: ["?since=10m&select=differences~outcome+!%3D+ok", ".differences li"],
  changes: ["?since=10m&select=changes", `${drawer} h2`],
  "before and after": ["?since=10m&compare=1&pane=map", ".legend"],
  groups: ["?since=10m&group=src.workload,+dst.workload,+dst.port,+outcome", rows],
  live: ["?live=1", rows],
  coverage: ["?sheet=coverage", ".matrix td"],
  ledger: ["?sheet=ledger", ".hops td"],
  help: ["?sheet=help", ".queries"],
  nothing: ["?since=10m&q=outcome+%3D+reset+ns+%3D+shop", ".empty"],
  palette: ["?since=10m", rows, ["Control+k"], ".palette [role=option]"],
  completion: ["?since=10m", rows, ["/", "o"], ".suggestions [role=option]"],
};

async function go(page, world, name) {
  const [path, there, keys = [], then] = panes[name];
  await page.goto(world.url + path);
  await page.waitForSelector(there);
  if (!path.includes("sheet")) {
    await page.waitForSelector(".lane.volume canvas");
    await page.waitForSelector(`${rows}, .empty`, { state: "attached" });
  }
  for (const k of keys) await page.keyboard.press(k);
  if (then) await page.waitForSelector(then);
}

const focus = (page) =>
  page.evaluate(() => {
    const e = document.activeElement;
    return e === document.body ? "" : `${e.getAttribute("role") ?? e.tagName.toLowerCase()} ${e.getAttribute("aria-label") ?? e.innerText ?? ""}`.trim();
  });

after(closeBrowser);

describe("for everyone", () => {
  let world;
  before(async () => {
    world = await World.start({ feed: ["-rate", "30", "-history", "25m", "-incident", "2s"] });
    await eventually("the incident is a finding", async () => {
      const f = await (await fetch(`${world.url}api/v1/findings?since=10m`)).json();
      return f.findings.some((x) => x.kind === "denied") && f.findings.some((x) => x.kind === "failing");
    });
  });
  after(() => world.stop());

  test("every text has a contrast of 4.5, every glyph of 3, and axe finds nothing, in each pane and both themes", async () => {
    const page = await visit(world, "", { ...still, bypassCSP: true, expected: [/400/] });
    for (const name of Object.keys(panes)) {
      await go(page, world, name);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme, ...still });
        await page.waitForFunction((t) => document.documentElement.dataset.theme === t, colorScheme);
        const c = await contrasts(page);
        assert.ok(c.looked > 20, `${name}: ${c.looked} texts`);
        assert.deepEqual(c.bad, [], `${name}, ${colorScheme}`);
        await page.evaluate(axe);
        const found = await page.evaluate(() => window.axe.run(document));
        assert.ok(found.passes.length > 20, `${name}: axe ran ${found.passes.length} rules`);
        assert.deepEqual(
          found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(" | ")}`),
          [],
          `${name}, ${colorScheme}`,
        );
      }
    }
    await done(page);
  });

  test("every token has the contrast of its use", async () => {
    const page = await look(world, "?since=10m", still);
    const grounds = ["bg", "panel"];
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.waitForFunction((t) => document.documentElement.dataset.theme === t, colorScheme);
      const low = [
        ...(await tokens(page, ["text", "muted", "failed-text", "denied-text", "unanswered-text", "focus-text"], [...grounds, "hover", "select"])).map((x) => ({ ...x, least: 4.5 })),
        ...(await tokens(page, ["ok", "failed", "denied", "unanswered", "unknown", "focus", "control", "ghost"], grounds)).map((x) => ({ ...x, least: 3 })),
      ].filter((x) => x.ratio < x.least);
      assert.deepEqual(low, [], colorScheme);
    }
    await done(page);
  });

  test("other eyes tell the states apart", async () => {
    const page = await look(world, "?since=10m", still);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.waitForFunction((t) => document.documentElement.dataset.theme === t, colorScheme);
      for (const type of ["none", "deuteranopia", "protanopia", "tritanopia"]) {
        const seen = await swatches(page, type);
        for (const a of Object.keys(seen))
          for (const b of Object.keys(seen)) {
            if (a >= b) continue;
            const d = Math.hypot(...[0, 1, 2].map((i) => seen[a][i] - seen[b][i]));
            // CIE76: 2.3 is just noticeable.
            assert.ok(d > 12, `${a} and ${b} are ${d.toFixed(1)} apart in ${colorScheme} as seen with ${type}`);
          }
      }
    }
    await done(page);
  });

  test("a screen reader finds landmarks, a table for the map, and what changes", async () => {
    const page = await look(world, "?since=10m", still);
    await page.waitForSelector(".finding.failed");
    await page.waitForSelector(".map-keys button", { state: "attached" });
    const t = await tree(page);
    const has = (role, name) => t.some((n) => n.role === role && name.test(n.name));
    for (const [role, name] of [
      ["banner", /^$/],
      ["main", /^$/],
      ["heading", /^Weir/],
      ["region", /^Findings$/],
      ["region", /^Timeline$/],
      ["region", /^Map$/],
      ["region", /^Connections$/],
      ["grid", /^Connections$/],
      ["columnheader", /^From → to$/],
      ["image", /^Map of \d+ ends and \d+ edges\. The same as a table: press t\.$/],
      ["list", /^Edges and ends of the map$/],
      ["button", /^shop\/checkout to shop\/payments, [\d,]+ connections, [\d.]+ % refused$/],
      ["slider", /^Moment of the timeline/],
      ["slider", /^width of the map$/],
      ["button", /^shop\/checkout → shop\/payments:8443 fails/],
    ])
      assert.ok(has(role, name), `no ${role} ${name} in\n${t.map((n) => `${n.role} ${n.name}`).join("\n")}`);
    for (const role of ["button", "textbox", "combobox", "checkbox", "radio", "slider", "grid", "tab", "link", "dialog"])
      assert.deepEqual(t.filter((n) => n.role === role && n.name.trim() === ""), [], `each ${role} has a name`);
    const status = () => texts(page, "[role=status]");
    await eventually("findings are told", async () => (await status()).some((x) => /findings, the first: shop\/checkout/.test(x)));
    await page.locator(`${rows} .from`, { hasText: "shop/cart" }).first().click();
    await eventually("rows are told", async () => (await status()).some((x) => /^[\d,]+ rows?\.$/.test(x)));
    await page.keyboard.press("p");
    await eventually("holding still is told", async () => (await status()).some((x) => /^Held still/.test(x)));
    await page.keyboard.press("t");
    await page.waitForSelector(".grid[aria-label='Groups of connections']");
    await eventually("the map's equal", async () => (await tree(page)).some((n) => n.role === "gridcell" && /payments|cache|db/.test(n.name)));
    await page.keyboard.press("j");
    const cell = await page.evaluate(() => document.getElementById(document.activeElement.getAttribute("aria-activedescendant"))?.getAttribute("role"));
    assert.equal(cell, "gridcell", "the cursor is told to those who do not see it");
    for (const [name, roles] of Object.entries({ why: ["region Details", "heading"], coverage: ["region Coverage", "table"], ledger: ["region Ledger", "table"], help: ["region Keys and language", "table"], palette: ["dialog Go to", "combobox go to", "listbox entities and actions"], completion: ["combobox query", "listbox completions"] })) {
      await go(page, world, name);
      const here = (await tree(page)).map((n) => `${n.role} ${n.name}`);
      for (const r of roles) assert.ok(here.some((n) => n.startsWith(r)), `${name} has no ${r}`);
    }
    await done(page);
  });

  test("the focus is seen, goes in the order of the page, and is caught by nothing", async () => {
    const page = await look(world, "?since=10m", still);
    await page.waitForSelector(".finding.failed");
    await page.keyboard.press("p"); // nothing moves meanwhile
    const stops = [];
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const e = document.activeElement;
        if (e === document.body) return null;
        const box = e.closest(".sr") ? e.closest(".map-box") : (e.querySelector(".cell-cursor") ?? e);
        const s = getComputedStyle(box);
        const pane = e.closest(".bar, .findings, .timeline, .map, .table, .splitter")?.className.split(" ")[0];
        return { pane, name: e.getAttribute("aria-label") ?? e.innerText ?? "", ring: s.outlineStyle !== "none" && Number.parseFloat(s.outlineWidth) >= 1 };
      });
      if (at === null) break;
      stops.push(at);
    }
    assert.ok(stops.length < 60, "the focus never leaves the page");
    assert.deepEqual(stops.filter((s) => !s.ring), [], "stops without a visible focus");
    const order = stops.map((s) => s.pane).filter((p, i, all) => p !== all[i - 1]);
    assert.deepEqual(order, ["bar", "findings", "timeline", "map", "splitter", "table"]);
    assert.ok(stops.length < 45, `${stops.length} stops: rows are one`);
    await done(page);
  });

  test("the focus comes back to what opened a drawer, a page, a dialog or a menu", async () => {
    const page = await look(world, "?since=10m", still);
    await page.waitForSelector(".finding.failed");
    const finding = page.locator(".finding-main").first();
    await finding.focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector(`${drawer} .cause`);
    assert.match(await focus(page), /Details/);
    await page.keyboard.press("Escape");
    await page.waitForSelector(drawer, { state: "detached" });
    assert.match(await focus(page), /shop\/checkout → shop\/payments/);
    await page.locator(".pill").first().focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector(".sheet");
    assert.match(await focus(page), /Coverage/);
    await page.keyboard.press("Escape");
    await page.waitForSelector(".sheet", { state: "detached" });
    assert.match(await focus(page), /sees/);
    await page.keyboard.press("Control+k");
    await page.waitForSelector(".palette input:focus");
    for (let i = 0; i < 4; i++) await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement === document.body || document.activeElement.closest(".palette") !== null), true, "the rest of the page is out of reach meanwhile");
    await page.keyboard.press("Control+k");
    await page.waitForSelector(".palette", { state: "detached" });
    assert.match(await focus(page), /sees/);
    await page.click("text=view");
    await page.keyboard.press("Escape");
    assert.match(await focus(page), /view/);
    await done(page);
  });

  test("nothing needs a pointer: map, timeline, folded rows, splitter, chips, menus", async () => {
    const page = await look(world, "?since=10m", still);
    await page.waitForSelector(".map-keys button", { state: "attached" });
    await page.locator(".map-keys [tabindex='0']").focus();
    await page.waitForSelector(".tip >> text=/refused|denied/");
    const [tip, map] = [await page.locator(".tip").boundingBox(), await page.locator(".map-box").boundingBox()];
    assert.ok(tip.x > map.x + 40 && tip.y > map.y + 40, `the words stand beside what they are about: ${JSON.stringify(tip)}`);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Home");
    await page.keyboard.press("Enter");
    await eventually("an edge of the map says why", async () => /nobody listens|denie/i.test(await page.innerText(drawer)));
    await page.keyboard.press("Escape");
    await eventually("back at the map", async () => /to shop\/payments|to data\/cache/.test(await focus(page)));
    await page.keyboard.press("End");
    await page.keyboard.press("Enter");
    await eventually("an end of the map", async () => /Who calls it/.test(await page.innerText(drawer)));
    await page.keyboard.press("Escape");

    await page.locator(".moments").focus();
    await page.keyboard.press("End");
    const said = () => page.getAttribute(".moments", "aria-valuetext");
    assert.match(await said(), /^\d\d:\d\d:\d\d, [\d.]+\/s/);
    for (let i = 0; i < 6; i++) await page.keyboard.press("Shift+ArrowLeft");
    await page.waitForSelector(".brush");
    await page.locator(".brush >> text=zoom in").focus();
    await page.keyboard.press("Enter");
    await eventually("a marked region is the range", () => params(page).get("until") !== null);
    await page.goBack();
    await page.waitForSelector(rows);

    await page.keyboard.press("j");
    const before = await eventually("rows", () => page.locator(rows).count());
    await page.keyboard.press("o");
    await eventually("a folded row is opened", async () => (await page.locator(rows).count()) > before || (await page.locator(`${rows}.inner`).count()) > 0);
    await page.keyboard.press("p"); // the list stays as it is
    await page.keyboard.press("End");
    await page.waitForSelector(`${rows}.cursor`);
    const at = await page.evaluate(() => {
      const box = document.querySelector(".virtual");
      const row = document.querySelector(".tr.cursor");
      return { last: row.getAttribute("aria-rowindex") === document.querySelector(".grid").getAttribute("aria-rowcount"), seen: row.getBoundingClientRect().bottom <= box.getBoundingClientRect().bottom + 1, space: document.querySelector(".virtual-space").clientHeight };
    });
    assert.ok(at.last && at.seen && at.space > 28 * 30, `the last of a long list is shown: ${JSON.stringify(at)}`);
    await page.keyboard.press("p");
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("f");
    await page.waitForSelector(".query .chip");
    await page.locator(".query .chip button").first().focus();
    await page.keyboard.press("Enter");

    await page.locator(".splitter").focus();
    const width = Number(await page.getAttribute(".splitter", "aria-valuenow"));
    await page.keyboard.press("ArrowLeft");
    assert.equal(Number(await page.getAttribute(".splitter", "aria-valuenow")), width - 2);
    await page.locator(".table .menu >> nth=0 >> button").focus();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    assert.match(await page.evaluate(() => document.activeElement.closest(".menu-panel")?.className ?? ""), /menu-panel/);
    await page.keyboard.press("Space");
    await eventually("a column is chosen", () => params(page).get("columns") !== null);
    await page.keyboard.press("Escape");
    // x on a value leaves it out, as Alt and a click do.
    await page.goto(`${world.url}?since=10m&select=differences~outcome+!%3D+ok`);
    await page.locator(".differences .value").first().focus();
    await page.keyboard.press("x");
    await eventually("it is left out", () => /^not /.test(params(page).get("q") ?? ""));
    await done(page);
  });

  test("less motion is none", async () => {
    const page = await look(world, `?since=10m&${edge}`, still);
    await page.waitForSelector(drawer);
    const moving = await page.evaluate(() => [...document.querySelectorAll("*")].filter((e) => { const s = getComputedStyle(e); return s.animationName !== "none" || Number.parseFloat(s.transitionDuration) > 0; }).map((e) => e.className));
    assert.deepEqual(moving, []);
    await done(page);
  });

  test("from 1024 to 2560 px, zoomed to 200 % and with text twice as large nothing overlaps or leaves the page", async () => {
    const views = [
      { width: 1024, height: 768 },
      { width: 1280, height: 720 },
      { width: 1440, height: 900 },
      { width: 1920, height: 1080 },
      { width: 2560, height: 1440 },
      { width: 720, height: 450, twice: "zoomed" }, // 1440 x 900 at 200 %
      { width: 512, height: 384, twice: "zoomed" }, // 1024 x 768 at 200 %
    ];
    for (const { width, height, twice } of views) {
      const page = await visit(world, "", { ...still, viewport: { width, height }, deviceScaleFactor: twice ? 2 : 1 });
      for (const name of ["findings", "why", "entity", "connection", "differences", "before and after", "groups", "coverage", "ledger", "help", "palette"]) {
        await go(page, world, name);
        await eventually(`${name} at ${width}`, async () => (await misplaced(page)).length === 0, 10_000).catch(async () => assert.deepEqual(await misplaced(page), [], `${name} at ${width} x ${height}`));
        if (name !== "findings") continue;
        const wide = await page.evaluate(() => document.querySelector(".grid").scrollWidth - document.querySelector(".grid").clientWidth);
        if (width >= 1024) assert.ok(wide <= 0, `the table's own columns have ${-wide} px too little at ${width}`);
      }
      await done(page);
    }
    const large = await (await open("--blink-settings=defaultFontSize=32")).newContext({ viewport: { width: 1440, height: 900 }, ...still });
    const page = await large.newPage();
    for (const name of ["findings", "why", "coverage", "ledger", "groups"]) {
      await go(page, world, name);
      assert.deepEqual(await misplaced(page), [], `${name} with text twice as large`);
    }
    await page.goto(world.url);
    await page.waitForSelector(rows);
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).fontSize), "26px");
    assert.equal(await page.evaluate(() => Math.round(document.querySelector(".table .tr").getBoundingClientRect().height)), 56);
    await large.close();
  });
});

describe("signing in", () => {
  let world;
  before(async () => {
    world = await World.start({ feed: null, api: { auth: "token" }, tokens: "token-of-all-0123456789 name=all\n" });
  });
  after(() => world.stop());

  test("is for everyone too", async () => {
    const page = await visit(world, "", { ...still, bypassCSP: true, expected: [/401/] });
    await page.waitForSelector(".signin input:focus");
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.waitForFunction((t) => document.documentElement.dataset.theme === t, colorScheme);
      assert.deepEqual((await contrasts(page)).bad, [], colorScheme);
      await page.evaluate(axe);
      assert.deepEqual((await page.evaluate(() => window.axe.run(document))).violations.map((v) => v.id), [], colorScheme);
    }
    const t = await tree(page);
    assert.ok(t.some((n) => n.role === "dialog" && n.name === "Sign in"));
    await page.keyboard.type("a-token-that-nobody-has");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".signin [role=alert]");
    await done(page);
  });
});

/** The colours of the states as CIE Lab, as the browser shows them to an eye of that type. */
async function swatches(page, type) {
  const names = ["ok", "failed", "denied", "unanswered"];
  await page.evaluate((list) => {
    document.getElementById("swatches")?.remove();
    const box = document.createElement("div");
    box.id = "swatches";
    box.style.cssText = "position:fixed;inset:0 auto auto 0;z-index:99;display:flex";
    for (const n of list) {
      const s = document.createElement("span");
      s.style.cssText = `width:20px;height:20px;background:var(--${n})`;
      box.append(s);
    }
    document.body.append(box);
  }, names);
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Emulation.setEmulatedVisionDeficiency", { type });
  const png = await page.screenshot({ clip: { x: 0, y: 0, width: 20 * names.length, height: 20 } });
  await cdp.send("Emulation.setEmulatedVisionDeficiency", { type: "none" });
  await cdp.detach();
  const pixels = await page.evaluate(async ({ data, n }) => {
    document.getElementById("swatches").remove();
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const img = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const g = new OffscreenCanvas(img.width, img.height).getContext("2d");
    g.drawImage(img, 0, 0);
    return Array.from({ length: n }, (_, i) => [...g.getImageData(20 * i + 10, 10, 1, 1).data]);
  }, { data: png.toString("base64"), n: names.length });
  return Object.fromEntries(names.map((n, i) => [n, lab(pixels[i])]));
}

/** CIE 1976 L*a*b* of an sRGB pixel, white at D65. */
function lab([r, g, b]) {
  const [R, G, B] = [r, g, b].map((v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  const f = (t) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
  const x = f((0.4124 * R + 0.3576 * G + 0.1805 * B) / 0.95047);
  const y = f(0.2126 * R + 0.7152 * G + 0.0722 * B);
  const z = f((0.0193 * R + 0.1192 * G + 0.9505 * B) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}
