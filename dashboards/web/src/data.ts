// What the panes show: each is one question to the API that follows from the state.

import { computed, type ReadonlySignal } from "@preact/signals";
import { get, link, returned } from "./api";
import { chosen, fieldsOf } from "./columns";
import { isWide } from "./ends";
import { duration, rfc3339 } from "./format";
import { join } from "./query";
import { type Held, resource } from "./resource";
import { beat, parts, type Span, span, state } from "./state";
import type { Books, Changes, Coverage, Differences, FieldInfo, Findings, FlowMap, Result, Why } from "./types";

const again = (): unknown => [beat.value, returned.value];
const at = (s: Span) => ({ since: s.from, until: s.to });

/** A question about the range, asked again with each beat. */
function ranged<T>(
  what: () => string | null,
  path: string,
  params: () => Record<string, string>,
  when: (s: Span) => Record<"since" | "until", number | string> = at,
) {
  return resource<T>(
    () => {
      const w = what();
      return w === null || link.value.state === "token" ? null : `${JSON.stringify(state.value.range)} ${w}`;
    },
    (stop) => get<T>(path, { ...params(), ...when(span.peek()) }, stop),
    again,
  );
}

const expr = computed(() => parts.value.expr);

const volume = (step: number) => `| stats conns, sum(bytes), sum(reverse.bytes) by outcome every ${duration(step)}`;
export const timeline = ranged<Result>(
  () => expr.value,
  "query",
  () => ({ q: join(expr.peek(), volume(span.peek().step)), limit: "10000" }),
);
/** What the table asks: the stages of the query, a group, or connections. */
export const tableQuery = computed(() => {
  const s = state.value;
  if (parts.value.stages) return s.q;
  if (s.group)
    return join(
      expr.value,
      `| stats active, sum(bytes), sum(reverse.bytes), p95(rtt) by ${s.group}${sorted(s.sort) || " | sort active desc"} | limit 1000`,
    );
  return join(expr.value, `${sorted(s.sort)} | limit 1000 | fields ${fieldsOf(chosen(s.columns)).join(", ")}`);
});

function sorted(sort: string): string {
  if (!sort) return "";
  return sort.startsWith("-") ? ` | sort ${sort.slice(1)} desc` : ` | sort ${sort}`;
}

export const table = ranged<Result>(
  () => (state.value.live ? null : tableQuery.value),
  "query",
  () => ({ q: tableQuery.peek() }),
);

// Asked in this order: what is looked at first comes first.
export const findings: ReadonlySignal<Held<Findings>> = ranged(
  () => "",
  "findings",
  () => ({}),
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
export const ghost = ranged<Result>(
  () => expr.value,
  "query",
  () => ({
    q: join(expr.peek(), `| stats conns, sum(bytes), sum(reverse.bytes) every ${duration(span.peek().step)}`),
    limit: "10000",
  }),
  (s) => ({ since: s.from - (s.to - s.from), until: s.from }),
);

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
