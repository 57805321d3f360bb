// Sums over the books and the coverage tables. Pure.

import { ago } from "./format";
import type { Books, Coverage, NodeCoverage, Stage } from "./types";

/** Everything that stands in the books: the aggregator's, its predecessors', the agents'. */
export function allStages(b: Books): { owner: string; stage: Stage }[] {
  return [
    ...b.stages.map((stage) => ({ owner: "aggregator", stage })),
    ...(b.former ?? []).map((stage) => ({ owner: "its predecessors", stage })),
    ...(b.agents ?? []).flatMap((a) => a.stages.map((stage) => ({ owner: a.agent, stage }))),
  ];
}

export const lostOf = (s: Stage): number =>
  Object.values(s.lost ?? {}).reduce((n, a) => n + Math.max(a.records, a.connections), 0);

/** What a stage cannot account for: 0 in good books. */
export function openOf(s: Stage): number {
  const lost = Object.values(s.lost ?? {});
  const sum = (k: "records" | "connections") => s.in[k] - s.out[k] - s.held[k] - lost.reduce((n, a) => n + a[k], 0);
  return Math.abs(sum("records")) >= Math.abs(sum("connections")) ? sum("records") : sum("connections");
}

export function lossOf(b: Books): { lost: number; open: number } {
  let lost = 0;
  let open = 0;
  for (const { stage } of allStages(b)) {
    lost += lostOf(stage);
    open += Math.abs(openOf(stage));
  }
  return { lost, open };
}

/** Classes of traffic that are seen, of all that the nodes told of; nodes that told nothing count as unseen. */
export function seenShare(c: Coverage): { seen: number; all: number } {
  const tables = c.tables ?? [];
  let seen = 0;
  let all = 0;
  for (const t of tables) {
    for (const r of t.rows) {
      all++;
      if (r.seen === "yes" && !t.silent) seen++;
    }
  }
  const each = tables[0]?.rows.length ?? 0;
  all += Math.max(0, c.nodes - tables.length) * each;
  return { seen, all };
}

/** The nodes whose clock is not the aggregator's, as the aggregator judges it. */
export const clocksOff = (c: Coverage | undefined): NodeCoverage[] => (c?.tables ?? []).filter((t) => t.clock_ms);

/** "10 min behind" */
export function clockWords(t: NodeCoverage | undefined): string {
  const ms = t?.clock_ms ?? 0;
  return `${ago(Math.abs(ms))} ${ms < 0 ? "behind" : "ahead"}`;
}
