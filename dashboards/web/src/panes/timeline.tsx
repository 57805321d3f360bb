// Three lanes on one axis: volume with the previous period behind it, failures on their own scale, changes.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { tone } from "../columns";
import { changes, ghost, timeline } from "../data";
import { absolute, bytes, clock, count, plain, rfc3339, tick, visible } from "../format";
import { type Series, series } from "../series";
import { go, type Span, select, span, state, theme, within } from "../state";
import type { Change } from "../types";
import { Failed } from "../ui/states";

const gutter = 76;
const right = 16;

function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const stepped = uPlot.paths.stepped?.({ align: 1 });
const bars = uPlot.paths.bars?.({ size: [1, 100], align: 1, gap: 1 });

function axes(side: boolean, unit: (v: number) => string): uPlot.Axis[] {
  const font = "11px system-ui, sans-serif";
  return [
    { show: false },
    side
      ? {
          size: gutter,
          stroke: color("muted"),
          font,
          gap: 6,
          ticks: { show: false },
          grid: { show: false },
          splits: (_u, _i, _min, max) => [max],
          values: (u, v) =>
            v.map((x) => ((u.data.slice(1) as (number | null)[][]).some((d) => d.some((y) => y)) ? unit(x) : "")),
        }
      : { show: false },
  ];
}

/** The next round number, so that the scale does not dance. */
export function ceiling(max: number): number {
  if (!(max > 0)) return 1;
  const p = 10 ** Math.floor(Math.log10(max));
  return [1, 1.5, 2, 3, 5, 7.5, 10].map((m) => m * p).find((v) => v >= max) ?? max;
}

function options(
  width: number,
  height: number,
  s: () => Span,
  list: uPlot.Series[],
  unit: (v: number) => string,
  brushed: (a: number, b: number) => void,
  hover: (i: number | null) => void,
): uPlot.Options {
  return {
    width,
    height,
    padding: [7, right, 5, 0],
    legend: { show: false },
    cursor: {
      sync: { key: "timeline" },
      y: false,
      points: { show: false },
      drag: { x: true, y: false, setScale: false, dist: 4 },
    },
    scales: {
      x: {
        time: false,
        range: () => {
          const { from, to } = s();
          return [from, to];
        },
      },
      y: { range: (_u, _min, max) => [0, ceiling(max)] },
    },
    axes: axes(true, unit),
    series: [{}, ...list],
    hooks: {
      setSelect: [
        (u) => {
          if (u.select.width > 3)
            brushed(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
        },
      ],
      setCursor: [(u) => hover(u.cursor.idx ?? null)],
    },
  };
}

function volumeSeries(): uPlot.Series[] {
  return [
    {
      label: "before",
      stroke: color("line-strong"),
      width: 1,
      dash: [3, 2],
      ...(stepped ? { paths: stepped } : {}),
      points: { show: false },
    },
    {
      label: "now",
      stroke: color("ok"),
      width: 1.5,
      fill: `color-mix(in oklch, ${color("ok")} 12%, transparent)`,
      ...(stepped ? { paths: stepped } : {}),
      points: { show: false },
    },
  ];
}

function failureSeries(): uPlot.Series[] {
  // Drawn from the highest sum down, each over the one before.
  return (["denied", "unanswered", "failed"] as const).map((t) => ({
    label: t,
    stroke: color(t),
    // Pale, so that the edge of the map that fails is what stands out.
    fill: `color-mix(in oklab, ${color(t)} 30%, ${color("bg")})`,
    width: 0,
    ...(bars ? { paths: bars } : {}),
    points: { show: false },
  }));
}

/** One lane, made again where its size, range or colours change, else given new data. */
function Lane({
  data,
  height,
  which,
  onBrush,
  onHover,
  unit,
}: {
  data: Series;
  height: number;
  which: "volume" | "failures";
  onBrush: (a: number, b: number) => void;
  onHover: (i: number | null) => void;
  unit: (v: number) => string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const width = useSignal(0);
  useEffect(() => {
    const el = box.current;
    if (!el) return;
    const o = new ResizeObserver(() => (width.value = el.clientWidth));
    o.observe(el);
    return () => o.disconnect();
  }, []);
  const dark = theme.value + document.documentElement.dataset.theme;
  const values = (
    which === "volume" ? [data.x, data.before, data.now] : [data.x, data.denied, data.unanswered, data.failed]
  ) as uPlot.AlignedData;
  const w = width.value;
  const now = useRef(data);
  now.current = data;
  const calls = useRef({ onBrush, onHover, unit });
  calls.current = { onBrush, onHover, unit };
  useEffect(() => {
    const el = box.current;
    if (!el || w === 0) return;
    const o = options(
      w,
      height,
      () => now.current,
      which === "volume" ? volumeSeries() : failureSeries(),
      (v) => calls.current.unit(v),
      (a, b) => calls.current.onBrush(a, b),
      (k) => calls.current.onHover(k),
    );
    const u = new uPlot(o, values, el);
    plot.current = u;
    plots.add(u);
    return () => {
      plots.delete(u);
      u.destroy();
      plot.current = null;
    };
  }, [w, height, dark, which]);
  // New numbers leave the plot, and a region that is being marked on it, as they are.
  useEffect(() => plot.current?.setData(values), [data]);
  return <div class={`lane ${which}`} ref={box} />;
}

/** The lanes that are shown, whose marked regions go together. */
const plots = new Set<uPlot>();

interface Brush {
  from: number;
  to: number;
}

export function TimelinePane() {
  const s = useComputed(() => {
    const t = timeline.value;
    return t.value ? series(t.value, ghost.value.value, span.peek(), state.value.metric) : null;
  });
  const hover = useSignal<number | null>(null);
  const brush = useSignal<Brush | null>(null);
  const data = s.value;
  const h = timeline.value;
  const utc = state.value.utc;
  const per =
    state.value.metric === "bytes" ? (v: number) => `${plain(bytes(v))}/s` : (v: number) => `${plain(count(v))}/s`;
  const onBrush = (a: number, b: number) => {
    brush.value = { from: Math.floor(a), to: Math.ceil(b) };
  };
  const onHover = (i: number | null) => {
    hover.value = i;
  };
  const clear = () => {
    brush.value = null;
    for (const u of plots) u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  };
  return (
    <section
      class={`timeline ${h.loading && h.value ? "refreshing" : ""} ${h.value && h.key !== "" && h.failure ? "stale" : ""}`}
      aria-label="Timeline"
    >
      {h.failure && !data && <Failed failure={h.failure} what="Timeline" />}
      <button
        type="button"
        class="lane-name lane-volume quiet"
        title="connections opened, or bytes moved, per second; dashed: the period before. Click for the other."
        onClick={() => go({ metric: state.value.metric === "bytes" ? "conns" : "bytes" }, true)}
      >
        {state.value.metric === "bytes" ? "bytes" : "conns"}
      </button>
      <span class="lane-name lane-failures">failures</span>
      <span class="lane-name lane-changes">changes</span>
      {data && (
        <>
          <Lane data={data} height={64} which="volume" onBrush={onBrush} onHover={onHover} unit={per} />
          <Lane
            data={data}
            height={32}
            which="failures"
            onBrush={onBrush}
            onHover={onHover}
            unit={(v) => `${plain(count(v))}/s`}
          />
          <ChangesLane list={changes.value.value?.changes ?? []} s={data} utc={utc} />
          <Axis s={data} utc={utc} />
          {hover.value !== null && <Readout s={data} i={hover.value} utc={utc} unit={per} />}
          {brush.value && (
            <div class="brush" role="toolbar" aria-label="Brushed region">
              <span class="mono">
                {clock(brush.value.from, utc)} – {clock(brush.value.to, utc)}
              </span>
              <button
                type="button"
                class="primary"
                onClick={() => {
                  const b = brush.value as Brush;
                  clear();
                  select({
                    kind: "differences",
                    region: `${within("outcome != ok")} start >= ${rfc3339(b.from)} start < ${rfc3339(b.to)}`,
                  });
                }}
              >
                what is different?
              </button>
              <button
                type="button"
                onClick={() => {
                  const b = brush.value as Brush;
                  clear();
                  go({ range: { since: b.from, until: b.to } });
                }}
              >
                zoom in
              </button>
              <button type="button" class="quiet" aria-label="clear the region" onClick={clear}>
                ×
              </button>
            </div>
          )}
        </>
      )}
    </section>
  );
}

function place(s: Series, ms: number): string {
  const share = (ms - s.from) / (s.to - s.from);
  return `calc(${gutter}px + (100% - ${gutter + right}px) * ${share.toFixed(5)})`;
}

function ChangesLane({ list, s, utc }: { list: Change[]; s: Series; utc: boolean }) {
  return (
    <div class="lane changes">
      {list
        .filter((c) => c.time_ms >= s.from && c.time_ms <= s.to)
        .map((c) => (
          <button
            key={c.id}
            type="button"
            class={`change ${c.bad ? "bad" : ""}`}
            style={{ left: place(s, c.time_ms) }}
            title={`${absolute(c.time_ms, utc)}\n${visible(c.namespace ? `${c.namespace}/` : "")}${visible(c.object)} ${visible(c.what)}`}
            aria-label={`${clock(c.time_ms, utc)} ${visible(c.object)} ${visible(c.what)}`}
            onClick={() => select({ kind: "changes", at: c.time_ms })}
          />
        ))}
    </div>
  );
}

function Axis({ s, utc }: { s: Series; utc: boolean }) {
  const marks = [];
  const n = 8;
  const every =
    [10, 30, 60, 120, 300, 600, 900, 1800, 3600, 10_800, 21_600, 86_400]
      .map((x) => x * 1000)
      .find((x) => (s.to - s.from) / x <= n) ?? 86_400_000;
  for (let t = Math.ceil(s.from / every) * every; t < s.to; t += every) marks.push(t);
  return (
    <div class="axis" aria-hidden="true">
      {marks.map((t) => (
        <span key={t} style={{ left: place(s, t) }}>
          {tick(t, utc, every)}
        </span>
      ))}
    </div>
  );
}

function Readout({ s, i, utc, unit }: { s: Series; i: number; utc: boolean; unit: (v: number) => string }) {
  const at = s.x[i];
  if (at === undefined) return null;
  const v = s.now[i];
  const b = s.before[i];
  return (
    <div class="readout" style={{ left: `min(${place(s, at)}, 100% - 260px)` }}>
      <span class="mono">{clock(at, utc)}</span>
      <span>{v === null || v === undefined ? "not covered" : unit(v)}</span>
      {b !== null && b !== undefined && <span class="muted">before {unit(b)}</span>}
      {[...(s.words[i] ?? [])].map(([w, n]) => (
        <span key={w} class={`outcome ${tone(w)}`}>
          {w.replace("_", " ")} {plain(count(n))}
        </span>
      ))}
    </div>
  );
}
