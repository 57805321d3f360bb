// Three lanes on one axis: volume with the previous period behind it, failures on their own scale, changes.

import { type Signal, useComputed, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { tone } from "../columns";
import { changes, ghost, timeline } from "../data";
import { absolute, bytes, clock, count, plain, rfc3339, tick, visible } from "../format";
import { type Series, series } from "../series";
import { go, select, span, state, within } from "../state";
import type { Change } from "../types";
import { Reach } from "../ui/reach";
import { Failed } from "../ui/states";
import { gutter, Lane, mark, right } from "./lane";

interface Brush {
  from: number;
  to: number;
}

export function TimelinePane() {
  const s = useComputed(() => {
    const t = timeline.value;
    const g = ghost.value;
    return t.value ? series(t.value, g.value, span.peek(), state.value.metric, t.from, g.from) : null;
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
    mark(null);
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
      <Reach of={h} />
      <span class="lane-name lane-failures">failures</span>
      <span class="lane-name lane-changes">changes</span>
      {data && (
        <>
          <Uncovered s={data} />
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
          <Moments s={data} hover={hover} brush={brush} clear={clear} words={(i) => reading(data, i, utc, per)} />
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

/** The timeline for the keyboard: arrows move along it, with Shift they mark a region. */
function Moments({
  s,
  hover,
  brush,
  clear,
  words,
}: {
  s: Series;
  hover: Signal<number | null>;
  brush: Signal<Brush | null>;
  clear: () => void;
  words: (i: number) => string;
}) {
  const anchor = useRef<number | null>(null);
  const last = s.x.length - 1;
  const at = Math.min(hover.value ?? last, last);
  return (
    <div
      class="moments"
      role="slider"
      tabIndex={0}
      aria-label="Moment of the timeline; Shift and an arrow mark a region"
      aria-valuemin={0}
      aria-valuemax={last}
      aria-valuenow={at}
      aria-valuetext={words(at)}
      onFocus={() => (hover.value = at)}
      onBlur={() => (hover.value = null)}
      onKeyDown={(e) => {
        if (e.key === "Escape" && brush.value) {
          clear();
          anchor.current = null;
        } else {
          const by = { ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -last, End: last }[e.key];
          if (by === undefined) return;
          const next = Math.min(last, Math.max(0, at + by));
          if (e.shiftKey) {
            anchor.current ??= at;
            const [a, b] = [Math.min(anchor.current, next), Math.max(anchor.current, next)];
            brush.value = { from: Math.max(s.from, s.x[a] as number), to: Math.min(s.to, (s.x[b] as number) + s.step) };
            mark(brush.value);
          } else anchor.current = null;
          hover.value = next;
        }
        e.preventDefault();
        e.stopPropagation();
      }}
    />
  );
}

/** A moment in words. */
function reading(s: Series, i: number, utc: boolean, unit: (v: number) => string): string {
  const v = s.now[i];
  const b = s.before[i];
  return [
    clock(s.x[i] ?? s.to, utc),
    typeof v === "number" ? unit(v) : "not covered",
    ...(typeof b === "number" ? [`before ${unit(b)}`] : []),
    ...[...(s.words[i] ?? [])].map(([w, n]) => `${w.replace("_", " ")} ${plain(count(n))}`),
  ].join(", ");
}

/** Where the range reaches back before the history. */
function Uncovered({ s }: { s: Series }) {
  const first = s.now.findIndex((v) => v !== null);
  if (first <= 0) return null;
  const share = ((s.x[first] as number) - s.from) / (s.to - s.from);
  const width = `calc((100% - ${(gutter + right) / 10}rem) * ${share.toFixed(5)})`;
  return <div class="uncovered" title="before the history begins" style={{ width }} />;
}

function place(s: Series, ms: number): string {
  const share = (ms - s.from) / (s.to - s.from);
  return `calc(${gutter / 10}rem + (100% - ${(gutter + right) / 10}rem) * ${share.toFixed(5)})`;
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
    <div class="readout" style={{ left: `min(${place(s, at)}, 100% - 26rem)` }}>
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
