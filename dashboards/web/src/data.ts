// What the panes show: each is one question to the API that follows from the state.

import { computed, type ReadonlySignal } from "@preact/signals";
import { Failure, get, link, returned } from "./api";
import { chosen, fieldsOf } from "./columns";
import { isWide } from "./ends";
import { duration, rfc3339 } from "./format";
import { halves, joined, lengths, long, slices } from "./growing";
import { join, split } from "./query";
import { type Held, resource } from "./resource";
import { beat, parts, type Span, span, state } from "./state";
import type { Books, Changes, Coverage, Differences, FieldInfo, Findings, FlowMap, Result, Why } from "./types";
import type { Range, State } from "./url";

const again = (): unknown => [beat.value, returned.value];
const at = (s: Span) => ({ since: s.from, until: s.to });

/** Notes for measuring that an answer came, and of how long a range it tells. */
const mark = (name: string, length: number): void => {
  performance.mark(`weir ${name}`, { detail: length });
  if (performance.getEntriesByName(`weir ${name}`).length > 100) performance.clearMarks(`weir ${name}`);
};

/** The key of a question about the range. */
function key(what: () => string | null): () => string | null {
  return () => {
    const w = what();
    return w === null || link.value.state === "token" ? null : `${JSON.stringify(state.value.range)} ${w}`;
  };
}

interface Growing<T> {
  params?: Record<string, string>; // of a long range
  enough?: (value: T) => boolean; // older parts would not change it
  first?: number; // length of the newest part
}

/** A question about the range, asked again with each beat; of a long range at first about its newest parts. */
function ranged<T>(
  what: () => string | null,
  path: string,
  params: () => Record<string, string>,
  when: (s: Span) => Record<"since" | "until", number | string> = at,
  grows?: Growing<T>,
) {
  return resource<T>(
    key(what),
    async (stop, tell, fresh) => {
      const s = span.peek();
      const p = { ...params(), ...(s.to - s.from > long ? grows?.params : {}) };
      // What the newest part settles is not asked further; so it is each time.
      const all = grows && (fresh || grows.enough) ? lengths(s.to - s.from, grows.first) : [s.to - s.from];
      for (const l of all.slice(0, -1)) {
        const from = s.to - l;
        const part = await get<T>(path, { ...p, ...when({ ...s, from }) }, stop, l > long);
        mark(path, l);
        const done = grows?.enough?.(part) ?? false;
        if (fresh || done) tell(part, from, done);
        if (done) return null;
      }
      const whole = await get<T>(path, { ...p, ...when(s) }, stop, s.to - s.from > long);
      mark(path, s.to - s.from);
      return whole;
    },
    again,
  );
}

/** Whether a shorter range could be answered. */
const tooLong = (e: Failure): boolean => (e.status === 422 || e.status === 503) && /shorter range/.test(e.message);

/** Sums by time over the range, or, shifted, over the one before it: of a long range in slices, the newest first. */
function byTime(stats: string, before: boolean) {
  return resource<Result>(
    key(() => expr.value),
    async (stop, tell, fresh) => {
      const s = span.peek();
      const shift = before ? s.to - s.from : 0;
      const q = join(expr.peek(), `${stats} every ${duration(s.step)}`);
      const todo = slices(s.from - shift, s.to - shift, s.step);
      let sum: Result | undefined;
      let most = Number.POSITIVE_INFINITY;
      for (let x = todo.shift(); x; x = todo.shift()) {
        if (x.to - x.from > most) {
          todo.unshift(...halves(x, s.step));
          continue;
        }
        const part = { q, limit: "10000", since: x.from, until: x.to };
        try {
          const r = await get<Result>("query", part, stop, x.to - x.from > long || before);
          sum = sum ? joined(sum, r) : r;
        } catch (e) {
          // Too much for one question: two of half the length say the same.
          if (!(e instanceof Failure && tooLong(e)) || halves(x, s.step).length < 2) throw e;
          most = (x.to - x.from) / 1.5;
          todo.unshift(x);
          continue;
        }
        mark(before ? "ghost" : "timeline", s.to - shift - x.from);
        if (fresh && todo.length > 0) tell(sum, x.from + shift, false);
      }
      return sum as Result; // there is one slice at least
    },
    again,
  );
}

const expr = computed(() => parts.value.expr);

export const timeline = byTime("| stats conns, sum(bytes), sum(reverse.bytes) by outcome", false);

const lengthOf = (r: Range): number => ("last" in r ? r.last : r.until - r.since);

/** What the table asks: the stages of the query, a group, or connections. */
export const tableQuery = computed(() => {
  const s = state.value;
  if (parts.value.stages) return s.q;
  if (s.group)
    return join(
      expr.value,
      `| stats active, sum(bytes), sum(reverse.bytes)${lengthOf(s.range) > long ? "" : ", p95(rtt)"} by ${s.group}${sorted(s.sort) || " | sort active desc"} | limit 1000`,
    );
  return join(expr.value, `${sorted(s.sort)} | limit ${listed} | fields ${fieldsOf(chosen(s.columns)).join(", ")}`);
});

/** How many connections a list has. */
const listed = 1000;
/** Whether the table lists the newest connections, which older ones would not change. */
const newestOnly = (s: State): boolean => !s.sort && !s.group && !split(s.q).stages;

function sorted(sort: string): string {
  if (!sort) return "";
  return sort.startsWith("-") ? ` | sort ${sort.slice(1)} desc` : ` | sort ${sort}`;
}

export const table = ranged<Result>(
  () => (state.value.live ? null : tableQuery.value),
  "query",
  () => ({ q: tableQuery.peek() }),
  at,
  { first: 60_000, enough: (r) => newestOnly(state.peek()) && r.rows.length >= listed },
);

// Asked in this order: what is looked at first comes first.
export const findings: ReadonlySignal<Held<Findings>> = ranged(
  () => "",
  "findings",
  () => ({}),
  at,
  { params: { summary: "true" } },
);

const mapKey = computed(() => `${state.value.level} ${state.value.compare} ${expr.value}`);
export const flowMap = ranged<FlowMap>(
  () => mapKey.value,
  "map",
  () => ({
    q: expr.peek(),
    level: state.peek().level || "workload",
    ...(state.peek().compare ? { compare: "true" } : {}),
  }),
  at,
  { params: { summary: "true" } },
);

export const changes = ranged<Changes>(
  () => "",
  "changes",
  () => ({}),
  (s) => ({ since: rfc3339(s.from), until: rfc3339(s.to) }),
);

/** The cluster's own pages: for those who see all of it, others get 403. */
function whole<T>(path: string) {
  return resource<T>(
    () => (link.value.state === "token" ? null : path),
    (stop) => get<T>(path, {}, stop),
    again,
  );
}
export const coverage = whole<Coverage>("coverage");
export const ledger = whole<Books>("ledger");
export const fields = resource<FieldInfo[]>(
  () => (link.value.state === "token" ? null : "fields"),
  (stop) => get("fields", {}, stop),
  () => returned.value,
);

/** The same of the period before. */
export const ghost = byTime("| stats conns, sum(bytes), sum(reverse.bytes)", true);

const selection = computed(() => state.value.select);

/** What the API takes for one end: ns/name without the kind. */
export function endParam(e: string): string {
  const [ns, ...rest] = e.split("/");
  return rest.length > 1 ? `${ns}/${rest.at(-1)}` : e;
}

const edge = computed(() => {
  const s = selection.value;
  return s?.kind === "edge" && s.src && s.dst && !isWide(s.src) && !isWide(s.dst) ? s : null;
});
export const why = ranged<Why>(
  () => (edge.value ? `${edge.value.src} ${edge.value.dst} ${edge.value.port ?? ""}` : null),
  "why",
  () => {
    const e = edge.peek();
    return e ? { src: endParam(e.src), dst: endParam(e.dst), ...(e.port ? { port: String(e.port) } : {}) } : {};
  },
);

const region = computed(() => (selection.value?.kind === "differences" ? selection.value.region : null));
export const differences = ranged<Differences>(
  () => region.value,
  "differences",
  () => ({ q: region.peek() ?? "" }),
);
