// Who calls whom, from left to right. The table grouped by edges is the same for those who read it.

import { effect, signal, useComputed } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { flowMap } from "../data";
import { bytes, count, group, micros, percent, plain, visible } from "../format";
import { badness, type Edge, type Layout, lay, type Node } from "../layout";
import { hit, isEdge, type Look, labelFont, type Palette, paint, type View } from "../paint";
import { equals } from "../query";
import { filter, go, select, state, theme } from "../state";
import type { FlowMap } from "../types";
import { Menu } from "../ui/menu";
import { shortEnd } from "../ui/name";
import { Failed, Loading } from "../ui/states";
import type { Selection } from "../url";

/** Above so many ends a map of workloads says less than one of namespaces. */
const many = 90;
const foldNoise = signal(true);

// Where nobody chose a level, a large map goes up to namespaces by itself.
effect(() => {
  const m = flowMap.value.value;
  if (!m || state.value.level !== "" || m.level !== "workload") return;
  if (m.more > 0 || new Set(m.edges.flatMap((e) => [e.src, e.dst])).size > many) go({ level: "namespace" }, true);
});

/** What an end of the map filters by. */
export function endTerms(level: string, id: string, side?: "src" | "dst"): string {
  const at = side ? `${side}.` : "";
  if (id === "")
    return `not has ${side ?? "src"}.${level === "pod" ? "pod" : level === "namespace" ? "ns" : "workload"}`;
  const [ns = "", ...rest] = id.split("/");
  if (level === "namespace")
    return id.includes(".") || /[:]/.test(id) ? equals(`${at}name`, id) : equals(`${at}ns`, id);
  if (rest.length === 0) return /^[0-9.]+$|:/.test(id) ? equals(`${at}ip`, id) : equals(`${at}name`, id);
  const what = rest.join("/");
  if (what === "") return equals(`${at}ns`, ns);
  return `${equals(`${at}ns`, ns)} ${equals(`${at}${level === "pod" ? "pod" : "workload"}`, what)}`;
}

let measurer: CanvasRenderingContext2D | null = null;
function measure(text: string): number {
  measurer ??= document.createElement("canvas").getContext("2d");
  if (!measurer) return text.length * 7;
  measurer.font = labelFont;
  return measurer.measureText(text).width;
}

function palette(): Palette {
  const css = getComputedStyle(document.documentElement);
  const v = (n: string) => css.getPropertyValue(`--${n}`).trim();
  return {
    bg: v("bg"),
    pill: v("panel"),
    line: v("line"),
    strong: v("line-strong"),
    text: v("text"),
    muted: v("muted"),
    focus: v("focus"),
    tones: {
      ok: v("ok"),
      failed: v("failed"),
      denied: v("denied"),
      unanswered: v("unanswered"),
      unknown: v("unknown"),
    },
    toneText: {
      ok: v("muted"),
      failed: v("failed-text"),
      denied: v("denied-text"),
      unanswered: v("unanswered-text"),
      unknown: v("muted"),
    },
  };
}

let previous: { key: string; layout: Layout } | undefined;

function layoutOf(m: FlowMap, width: number, height: number, open: boolean): Layout {
  const key = `${m.level} ${open} ${foldNoise.value}`;
  const before = previous?.key === key ? previous.layout : undefined;
  const layout = lay(m.edges, {
    level: m.level,
    open,
    fold: foldNoise.value,
    label: (id) => visible(shortEnd(id)),
    measure,
    box: { width, height },
    before,
  });
  previous = { key, layout };
  return layout;
}

export function MapPane() {
  const h = flowMap.value;
  const m = h.value;
  const compare = state.value.compare;
  return (
    <section class={`map ${h.loading && m ? "refreshing" : ""}`} aria-label="Map">
      <header class="pane-head">
        <fieldset class="segments">
          <legend class="sr">Level</legend>
          {(["namespace", "workload", "pod"] as const).map((l) => (
            <button
              key={l}
              type="button"
              aria-pressed={(m?.level ?? state.value.level) === l}
              class={(m?.level ?? state.value.level) === l ? "on" : ""}
              onClick={() => go({ level: l })}
            >
              {l}s
            </button>
          ))}
        </fieldset>
        <button
          type="button"
          class={`toggle ${compare ? "on" : ""}`}
          aria-pressed={compare}
          onClick={() => go({ compare: !compare })}
          title="against the period before: new, gone and changed edges"
        >
          before / after
        </button>
        {compare && m && <Legend m={m} />}
        <span class="basis">
          {m && `${group(m.edges.length)}${m.more ? ` of ${group(m.edges.length + m.more)}` : ""} edges`}
        </span>
        <Menu label="view" title="how the map is drawn">
          <label class="check">
            <input type="checkbox" checked={foldNoise.value} onChange={() => (foldNoise.value = !foldNoise.value)} />{" "}
            fold noise (DNS, metrics)
          </label>
          <label class="check">
            <input
              type="checkbox"
              checked={state.value.unfolded}
              onChange={() => go({ unfolded: !state.value.unfolded }, true)}
            />{" "}
            show every end
          </label>
          <button
            type="button"
            onClick={() => go({ group: "src.workload, dst.workload, dst.port, outcome", pane: "table" })}
          >
            the same as a table
          </button>
        </Menu>
      </header>
      {h.failure && !m && <Failed failure={h.failure} what="Map" />}
      {!m && !h.failure && <Loading what="Drawing" />}
      {m && m.edges.length === 0 && <p class="state muted">Nobody talks to anybody here.</p>}
      {m && m.edges.length > 0 && <Drawing m={m} />}
    </section>
  );
}

function Legend({ m }: { m: FlowMap }) {
  const n = { new: 0, gone: 0, changed: 0 };
  for (const e of m.edges) if (e.change) n[e.change]++;
  return (
    <span class="legend">
      <span class="key new">{n.new} new</span>
      <span class="key gone">{n.gone} gone</span>
      <span class="key changed">{n.changed} changed</span>
    </span>
  );
}

interface Hover {
  what: Node | Edge;
  x: number;
  y: number;
}

function Drawing({ m }: { m: FlowMap }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useMemo(() => signal({ w: 0, h: 0 }), []);
  const hover = useMemo(() => signal<Hover | null>(null), []);
  const view = useRef<View>({ x: 0, y: 0, scale: 1 });
  const moved = useRef(false);
  const frame = useRef(0);
  const open = state.value.unfolded;
  const l = useMemo(
    () => (size.value.w ? layoutOf(m, size.value.w, size.value.h, open) : null),
    [m, size.value, open, foldNoise.value],
  );
  const colors = useMemo(palette, [theme.value, document.documentElement.dataset.theme]);
  const sel = useComputed(() => state.value.select);

  const draw = () => {
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => {
      const c = canvas.current;
      const g = c?.getContext("2d");
      if (!c || !g || !l) return;
      const dpr = devicePixelRatio;
      const { w, h } = size.value;
      if (c.width !== Math.round(w * dpr) || c.height !== Math.round(h * dpr)) {
        c.width = Math.round(w * dpr);
        c.height = Math.round(h * dpr);
      }
      const s = sel.value;
      const look: Look = {
        hover: hover.value?.what ?? null,
        selected: (e) => s?.kind === "edge" && e.edges.some((x) => x.src === s.src && x.dst === s.dst),
        selectedNode: (n) => s?.kind === "entity" && n.id === s.name,
        compare: state.value.compare,
        palette: colors,
      };
      paint(g, l, view.current, w, h, dpr, look);
    });
  };

  useEffect(() => {
    const el = canvas.current?.parentElement;
    if (!el) return;
    const o = new ResizeObserver(() => {
      size.value = { w: el.clientWidth, h: el.clientHeight };
    });
    o.observe(el);
    return () => o.disconnect();
  }, []);
  useEffect(() => {
    if (l && !moved.current) view.current = fitted(l, size.value.w, size.value.h);
    draw();
  }, [l, colors]);
  useEffect(() => effect(() => void [hover.value, sel.value, draw()]), [l, colors]);
  // What is selected comes out from under the drawer.
  const shown = JSON.stringify(sel.value);
  useEffect(() => {
    const at = l && chosen(l, sel.value);
    if (!at) return;
    const free = size.value.w - drawerWidth;
    const v = view.current;
    const left = at.left * v.scale + v.x;
    const right = at.right * v.scale + v.x;
    if (free > 120 && right > free)
      view.current = { ...v, x: v.x - Math.min(right - free + 16, Math.max(0, left - 16)) };
    draw();
  }, [shown, l]);
  useEffect(() => void (moved.current = false), [m.level, open]);

  const at = (e: MouseEvent) => {
    const v = view.current;
    return { x: (e.offsetX - v.x) / v.scale, y: (e.offsetY - v.y) / v.scale };
  };
  const onMove = (e: PointerEvent) => {
    if (drag.current) {
      const d = drag.current;
      if (Math.abs(e.clientX - d.x) + Math.abs(e.clientY - d.y) > 4) d.far = true;
      if (d.far) {
        view.current = { ...view.current, x: d.vx + e.clientX - d.x, y: d.vy + e.clientY - d.y };
        moved.current = true;
        draw();
        return;
      }
    }
    if (!l) return;
    const p = at(e);
    const what = hit(l, p.x, p.y);
    if (what !== (hover.value?.what ?? null) || what) hover.value = what ? { what, x: e.offsetX, y: e.offsetY } : null;
  };
  const drag = useRef<{ x: number; y: number; vx: number; vy: number; far: boolean } | null>(null);
  const onUp = (e: PointerEvent) => {
    const d = drag.current;
    drag.current = null;
    if (d?.far || !l) return;
    const p = at(e);
    const what = hit(l, p.x, p.y);
    if (!what) return;
    if (isEdge(what)) chooseEdge(what);
    else chooseNode(what, m.level, e.altKey);
  };
  const onWheel = (e: WheelEvent) => {
    e.preventDefault();
    const v = view.current;
    moved.current = true;
    if (e.ctrlKey || e.metaKey || state.value.unfolded) {
      const k = Math.exp(-e.deltaY * 0.0015);
      const scale = Math.min(2, Math.max(0.05, v.scale * k));
      view.current = {
        scale,
        x: e.offsetX - ((e.offsetX - v.x) * scale) / v.scale,
        y: e.offsetY - ((e.offsetY - v.y) * scale) / v.scale,
      };
    } else view.current = { ...v, x: v.x - e.deltaX, y: v.y - e.deltaY };
    draw();
  };
  const h = hover.value;
  return (
    <div class="map-box">
      <canvas
        ref={canvas}
        role="img"
        aria-label={`Map of ${l?.nodes.length ?? 0} ends and ${l?.edges.length ?? 0} edges. The same as a table: press t.`}
        class={h ? "pointing" : ""}
        onPointerDown={(e) => {
          drag.current = { x: e.clientX, y: e.clientY, vx: view.current.x, vy: view.current.y, far: false };
          e.currentTarget.setPointerCapture(e.pointerId);
        }}
        onPointerMove={onMove}
        onPointerUp={onUp}
        onPointerLeave={() => {
          hover.value = null;
        }}
        onWheel={onWheel}
        onDblClick={() => {
          if (!l) return;
          view.current = fitted(l, size.value.w, size.value.h);
          moved.current = false;
          draw();
        }}
      />
      {h && <Tip h={h} w={size.value.w} height={size.value.h} />}
    </div>
  );
}

/** The whole of the layout, where it can still be read; else its upper left. */
function fitted(l: Layout, w: number, h: number): View {
  const tall = l.height - l.top;
  const scale = Math.min(1, w / l.width, h / tall);
  if (scale < 0.75 && !state.peek().unfolded) {
    const s = Math.max(0.75, Math.min(1, w / l.width));
    return { x: 0, y: Math.min(0, -l.top * s + 16), scale: s };
  }
  return { x: Math.max(0, (w - l.width * scale) / 2), y: (h - (l.top + l.height - 16) * scale) / 2, scale };
}

const drawerWidth = 440;

/** From where to where the selected edge or end reaches. */
function chosen(l: Layout, s: Selection | null): { left: number; right: number } | null {
  if (s?.kind === "edge") {
    const e = l.edges.find((e) => e.edges.some((x) => x.src === s.src && x.dst === s.dst));
    if (e) return { left: Math.min(e.from.x, e.to.x), right: Math.max(e.from.x + e.from.w, e.to.x + e.to.w) };
  }
  if (s?.kind === "entity") {
    const n = l.nodes.find((n) => n.id === s.name);
    if (n) return { left: n.x, right: n.x + n.w };
  }
  return null;
}

export function chooseEdge(e: Edge): void {
  const one =
    e.edges.length === 1
      ? e.edges[0]
      : e.edges.toSorted((a, b) => sum(b.failed) - sum(a.failed) || b.conns - a.conns)[0];
  if (one) select({ kind: "edge", src: one.src, dst: one.dst });
}

function chooseNode(n: Node, level: string, alt: boolean): void {
  if (n.bundle) {
    if (n.id.startsWith("+noise")) foldNoise.value = false;
    else go({ unfolded: true }, true);
    return;
  }
  if (alt) filter(`(${endTerms(level, n.id)})`, true);
  else {
    const next = level === "namespace" ? "workload" : level === "workload" ? "pod" : "pod";
    if (level === "namespace" && !n.external) {
      filter(endTerms(level, n.id));
      go({ level: next }, true);
    } else select({ kind: "entity", name: n.id });
  }
}

const sum = (f: Record<string, number>) => Object.values(f).reduce((a, b) => a + b, 0);

function Tip({ h, w, height }: { h: Hover; w: number; height: number }) {
  const style = { left: Math.min(h.x + 14, Math.max(0, w - 280)), top: Math.min(h.y + 14, Math.max(0, height - 120)) };
  if (!isEdge(h.what)) {
    const n = h.what;
    return (
      <div class="tip" style={style}>
        <strong>{n.bundle ? n.label : visible(n.id || "unknown")}</strong>
        <div class="muted">
          {n.bundle
            ? `${n.bundle
                .slice(0, 6)
                .map((b) => visible(shortEnd(b)))
                .join(", ")}${n.bundle.length > 6 ? " …" : ""}: click to show`
            : `${group(n.conns)} connections. Click: ${n.external || n.id.includes("/") ? "its callers and callees" : "its workloads"}. Alt-click: leave it out.`}
        </div>
      </div>
    );
  }
  const e = h.what;
  const one = e.edges[0];
  return (
    <div class="tip" style={style}>
      <strong>
        {visible(shortEnd(e.from.bundle ? e.from.label : e.from.id))} →{" "}
        {visible(shortEnd(e.to.bundle ? e.to.label : e.to.id))}
      </strong>
      <div>
        {group(e.conns)} connections, {e.bytes === null ? "bytes not counted" : plain(bytes(e.bytes))}
        {one?.rtt_p95_us != null && e.edges.length === 1 ? `, RTT p95 ${plain(micros(one.rtt_p95_us))}` : ""}
      </div>
      {Object.entries(e.failed).map(([o, n]) => (
        <div key={o} class={`outcome ${badness({ [o]: n }, n).bad}`}>
          {o.replace("_", " ")} {plain(count(n))} ({percent(Math.min(1, n / Math.max(1, e.conns)))})
        </div>
      ))}
      {e.change && (
        <div class="muted">
          {e.change === "new"
            ? "not there in the period before"
            : e.change === "gone"
              ? `gone: ${group(one?.previous?.conns ?? 0)} connections in the period before`
              : "it began or ceased to fail"}
        </div>
      )}
    </div>
  );
}
