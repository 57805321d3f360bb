// A real aggregator fed by a made-up cluster, and a browser that opens its page.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const bin = process.env.WEIR_BIN ?? "../../bin";
export const patience = 60_000;

async function port() {
  const s = createServer().listen(0, "127.0.0.1");
  await once(s, "listening");
  const p = s.address().port;
  s.close();
  await once(s, "close");
  return p;
}

/** Waits until f gives something; what it gave last is in the error. */
export async function eventually(what, f, within = patience) {
  const end = Date.now() + within;
  for (let last; ; ) {
    try {
      last = await f();
      if (last) return last;
    } catch (e) {
      last = e;
    }
    if (Date.now() > end) throw new Error(`never: ${what}: ${last}`);
    await new Promise((ok) => setTimeout(ok, 200));
  }
}

export class World {
  dir = mkdtempSync(join(tmpdir(), "weir-page-"));
  children = new Set();

  /** Starts an aggregator, over the history that day makes with these flags, and a feed with those. */
  static async start({ feed = [], api = { auth: "none" }, tokens, manifests, day } = {}) {
    const w = new World();
    w.api = await port();
    w.collect = await port();
    const file = join(w.dir, "tokens");
    if (tokens) {
      writeFileSync(file, tokens);
      chmodSync(file, 0o600);
    }
    if (manifests) {
      mkdirSync(join(w.dir, "manifests"));
      writeFileSync(join(w.dir, "manifests", "cluster.yaml"), manifests);
    }
    w.config = join(w.dir, "aggregator.yaml");
    writeFileSync(
      w.config,
      JSON.stringify({
        apiVersion: "weir.dev/v1alpha1",
        kind: "AggregatorConfig",
        dataDir: join(w.dir, "data"),
        collect: { tcp: `127.0.0.1:${w.collect}`, tls: "" },
        correlate: { activeTimeout: "5s", inactiveTimeout: "60s", halfTimeout: "2s" },
        api: { listen: `127.0.0.1:${w.api}`, ...api, ...(tokens ? { tokenFile: file } : {}) },
        metrics: { listen: "" },
        ...(manifests ? { cluster: { manifests: join(w.dir, "manifests") } } : {}),
      }),
    );
    if (day) {
      w.made = w.run("day", ["-data-dir", join(w.dir, "data"), ...day]);
      await w.made.gone;
      if (w.made.exitCode !== 0) throw new Error(`day: ${w.made.log}`);
    }
    await w.startAggregator();
    if (feed) await w.startFeed(feed);
    return w;
  }

  get url() {
    return `http://127.0.0.1:${this.api}/`;
  }

  run(name, args) {
    const c = spawn(join(bin, name), args, { stdio: ["ignore", "pipe", "pipe"] });
    c.log = "";
    for (const s of [c.stdout, c.stderr]) s.on("data", (d) => (c.log = (c.log + d).slice(-4000)));
    c.gone = once(c, "exit").then(() => this.children.delete(c));
    this.children.add(c);
    return c;
  }

  async startAggregator() {
    this.aggregator = this.run("weir-aggregator", ["--config", this.config]);
    await eventually(`the page is served: ${this.aggregator.log}`, async () => (await fetch(this.url)).ok);
  }

  async startFeed(flags) {
    this.feed = this.run("feed", ["-to", `127.0.0.1:${this.collect}`, ...flags]);
    await eventually("the history is told", () => this.feed.log.includes("told"));
  }

  async end(child) {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
    await child.gone;
    clearTimeout(late);
  }

  async stop() {
    await Promise.all([...this.children].map((c) => this.end(c)));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const browsers = new Map();
/** A browser, one for each set of more flags. */
export async function open(...flags) {
  const key = flags.join(" ");
  const b = browsers.get(key) ?? await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [...flags, "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-component-update", "--disable-sync"],
  });
  browsers.set(key, b);
  return b;
}
export const closeBrowser = async () => {
  for (const b of browsers.values()) await b.close();
  browsers.clear();
};

/** A page that must not err, nor ask anybody but its aggregator. */
export async function visit(world, path = "", options = {}) {
  const { expected = [], ...rest } = options;
  const context = await (await open()).newContext({ viewport: { width: 1440, height: 900 }, locale: "en-GB", timezoneId: "UTC", ...rest });
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: world.url.slice(0, -1) });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.faults = [];
  page.on("pageerror", (e) => page.faults.push(`error: ${e.message}`));
  page.on("console", (m) => {
    // Too many questions at once are asked again a little later.
    if (m.type() === "error" && !/429/.test(m.text()) && !expected.some((x) => x.test(m.text()))) page.faults.push(`console: ${m.text()}`);
  });
  page.on("request", (r) => {
    const u = new URL(r.url());
    if (u.protocol !== "blob:" && u.host !== new URL(world.url).host) page.faults.push(`asks ${u.host}`);
  });
  await page.goto(world.url + path);
  return page;
}

/** The texts of all that a selector finds. */
export const texts = (page, selector) => page.locator(selector).allInnerTexts();

/** The parameters of the page's address. */
export const params = (page) => new URL(page.url()).searchParams;

export const rows = ".table .tr";
export const drawer = ".drawer";

/** Opens the page and waits until each pane has its answer. */
export async function look(world, path = "", options = {}) {
  const page = await visit(world, path, options);
  await page.waitForSelector(".lane.volume canvas");
  await eventually("the table has rows", async () => (await page.locator(rows).count()) > 0);
  return page;
}

/** The page has not erred. */
export async function done(page) {
  assert.deepEqual(page.faults, []);
  await page.context().close();
}

/** Where on the map the pointer is told what fits. */
export async function onMap(page, match) {
  const box = await page.locator(".map canvas").boundingBox();
  for (let y = 8; y < box.height; y += 14)
    for (let x = 24; x < box.width; x += 40) {
      await page.mouse.move(box.x + x, box.y + y);
      if (!(await page.locator(".tip").count())) continue;
      if (match.test(await page.innerText(".tip"))) return [box.x + x, box.y + y];
    }
  throw new Error(`the map has nothing that says ${match}`);
}

/** What the API says. */
export async function answer(world, path, params) {
  const r = await fetch(`${world.url}api/v1/${path}?${new URLSearchParams(params)}`, { headers: { Accept: "application/json" } });
  if (!r.ok) throw new Error(`${path}: ${r.status} ${await r.text()}`);
  return r.json();
}
