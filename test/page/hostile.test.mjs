// Names come from whoever may name a pod. They stay text, where they are, in every pane.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { misplaced } from "./measure.mjs";
import { closeBrowser, done, drawer, eventually, look, params, rows, texts, World } from "./world.mjs";

const still = { reducedMotion: "reduce" };
const target = "q=dst.workload+%3D+target&since=10m";
/** What acts on the text around it: controls, marks of direction, widths of zero, and piles of marks. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const acting = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069]|\p{Mn}{4}/u;

after(closeBrowser);

/** Nothing of a name became a part of the page, acts on its neighbours or breaks the layout. */
async function harmless(page, where) {
  assert.equal(await page.title(), "Weir", where);
  const odd = await page.evaluate(() => [...document.querySelectorAll("img, iframe, object, embed, body script, [onerror], a[href^='javascript:']")].map((e) => e.outerHTML.slice(0, 80)));
  assert.deepEqual(odd, [], where);
  // textContent, and attributes that are shown or read out.
  const words = await page.evaluate(() => {
    const out = [document.body.textContent];
    for (const e of document.querySelectorAll("[aria-label], [placeholder], [aria-valuetext]")) out.push(e.getAttribute("aria-label"), e.getAttribute("placeholder"), e.getAttribute("aria-valuetext"));
    for (const e of document.querySelectorAll("[title]")) out.push(e.title.replaceAll("\n", ""));
    return out.filter(Boolean);
  });
  for (const w of words) {
    const at = w.search(acting);
    assert.ok(at < 0, `${where}: ${JSON.stringify(w.slice(Math.max(0, at - 40), at + 40))}`);
  }
  await eventually(`${where}: the layout holds`, async () => (await misplaced(page)).length === 0, 10_000).catch(async () => assert.deepEqual(await misplaced(page), [], where));
}

describe("names that mean harm", () => {
  let world;
  before(async () => {
    world = await World.start({ feed: ["-rate", "40", "-history", "20m", "-hostile", "-incident", "1s"] });
    await eventually("their edges fail", async () => {
      const f = await (await fetch(`${world.url}api/v1/findings?since=5m`)).json();
      return f.findings.filter((x) => x.dst === "shop/Deployment/target").length >= 6;
    });
  });
  after(() => world.stop());

  test("stay text in the table, its titles and its copies", async () => {
    const page = await look(world, `?${target}`, still);
    await eventually("all of them", async () => new Set(await texts(page, `${rows} .from`)).size >= 12);
    const text = (await texts(page, `${rows} .from`)).join("\n");
    for (const want of [/<img src=x onerror=/, /evil\\u202egnp\.exe/, /zero\\u200bwidth/, /tab\\u0009and\\u000aline/, /\\u2066isolate/, /bell\\u0007\\u001b\[31mred\\u0085next/, /pile\p{Mn}{3}\\u0353/u, /w{253}/, /{{7\*7}}/, /\u05e9\u05dc\u05d5\u05dd/]) assert.match(text, want);
    // Right-to-left letters stand within their own name: the arrow stays between caller and callee.
    const order = await page.evaluate(() => [...document.querySelectorAll(".ends")].map((e) => [".from", ".arrow", ".to"].map((s) => e.querySelector(s).getBoundingClientRect().left)));
    assert.ok(order.length > 5 && order.every(([a, b, c]) => a < b && b < c), JSON.stringify(order));
    await harmless(page, "table");
    await page.click(".table >> text=copy");
    const [file] = await Promise.all([page.waitForEvent("download"), page.click("text=Download CSV")]);
    assert.ok(readFileSync(await file.path(), "utf8").includes('"Deployment/<img src=x onerror=""document.title=\'owned\'"">"'), "a copy has the name as it is");
    await done(page);
  });

  test("in findings, drawers, chips and completions", async () => {
    const page = await look(world, `?since=5m`, still);
    await page.waitForSelector(".finding.failed");
    if (await page.locator(".findings-more >> text=/more$/").count()) await page.click(".findings-more >> text=/more$/");
    await harmless(page, "findings");
    await page.click(".finding-main:has-text('→ shop/target')");
    await page.waitForSelector(`${drawer} .cause`);
    await harmless(page, "why");
    await eventually("it filters", async () => /to shop\/target/.test((await texts(page, ".query .chip")).join()));
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await eventually("its record", async () => /client saw/.test(await page.innerText(drawer)));
    await page.click(`${drawer} summary`);
    await harmless(page, "connection");
    for (const [name, path] of [
      ["entity", "?since=10m&select=entity~shop/Deployment/target"],
      ["entity of marks", `?since=10m&select=entity~${encodeURIComponent(`shop/Deployment/pile${"\u0335\u0321\u031b\u0353".repeat(30)}`)}`],
      ["differences", "?since=10m&select=differences~dst.workload+%3D+target"],
      ["groups", "?since=10m&group=src.workload,+dst.workload,+dst.port,+outcome"],
    ]) {
      await page.goto(world.url + path);
      await page.waitForSelector(name === "groups" ? rows : `${drawer} h2`);
      await eventually("its answer", async () => (await page.locator(`${drawer} li, ${rows}`).count()) > 3);
      await harmless(page, name);
    }
    await page.keyboard.press("Control+k");
    await page.keyboard.type("evil");
    await page.waitForSelector(".palette >> text=evil");
    await harmless(page, "palette");
    await page.keyboard.press("Enter");
    await page.waitForSelector(`${drawer} .edge-row`);
    await page.keyboard.press("/");
    await page.fill(".query input", "src.workload = pile");
    await page.waitForSelector(".suggestions >> text=pile");
    await harmless(page, "completion");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await eventually("the name itself is asked for", () => /pile\p{Mn}{100}/u.test(params(page).get("q") ?? ""));
    await eventually("and found", async () => (await texts(page, `${rows} .from`)).every((t) => t.startsWith("shop/pile")));
    await harmless(page, "chips");
    await done(page);
  });

  test("on the map, at every level, at 1024 px too", async () => {
    for (const width of [1024, 1440]) {
      const page = await look(world, `?${target}&pane=map`, { ...still, viewport: { width, height: 800 } });
      for (const level of ["workload", "pod", "namespace"]) {
        await page.goto(`${world.url}?${target}&pane=map&level=${level}`);
        await page.waitForSelector(".map-keys button", { state: "attached" });
        await page.locator(".map-keys [tabindex='0']").focus();
        await page.waitForSelector(".tip");
        await harmless(page, `map of ${level}s at ${width}`);
      }
      await done(page);
    }
  });
});
