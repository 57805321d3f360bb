// The one state of the page: what the URL says. Everything else follows from it and from the API.

import { computed, signal } from "@preact/signals";
import { now } from "./api";
import { both, negate, split, toggle } from "./query";
import { format, parse, type Range, type Selection, type State } from "./url";

export const state = signal<State>(parse(location.search));

window.addEventListener("popstate", () => {
  state.value = parse(location.search);
});

/** Changes the state, and with it the URL; replace leaves no step to go back to. */
export function go(patch: Partial<State>, replace = false): void {
  const next = { ...state.value, ...patch };
  const text = format(next);
  if (text === format(state.value)) return;
  state.value = next;
  const to = location.pathname + text;
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
}

export const select = (s: Selection | null): void => go({ select: s });

/** Filters by a term, or by its contrary; a second time takes it away. */
export function filter(term: string, exclude = false): void {
  go({ q: toggle(state.value.q, exclude ? negate(term) : term) });
}

/** Counts up at each refresh. */
export const beat = signal(0);
/** True while the page holds still: paused, or hidden. */
export const paused = signal(false);

/** The range in milliseconds, and the step of the timeline. */
export interface Span {
  from: number;
  to: number;
  step: number;
}

const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400].map((s) => s * 1000);

/** The shortest step that makes at most `most` of a range. */
export function stepOf(length: number, most = 120): number {
  return steps.find((s) => length / s <= most) ?? (steps.at(-1) as number);
}

export function spanOf(r: Range, at: number): Span {
  if (!("last" in r)) return { from: r.since, to: r.until, step: stepOf(r.until - r.since) };
  const step = stepOf(r.last);
  return { from: Math.floor((at - r.last) / step) * step, to: at, step };
}

const range = computed(() => JSON.stringify(state.value.range));

/** The range now; it moves with each beat. */
export const span = computed<Span>(() => {
  beat.value;
  return spanOf(JSON.parse(range.value) as Range, Math.floor(now()));
});

/** How often a range is asked for again. */
export function every(length: number): number {
  return Math.min(Math.max(length / 90, 5000), 60_000);
}

/** The condition of the query, and the stages, if any. */
export const parts = computed(() => split(state.value.q));

/** The condition with one more. */
export const within = (cond: string): string => both(parts.value.expr, cond);

/** How a range is written beside a query for weirctl. */
export function rangeFlags(r: Range): string {
  const text = format({ ...parse(""), range: r });
  const p = new URLSearchParams(text);
  const since = p.get("since") ?? "15m";
  const until = p.get("until");
  return `--since ${since}${until ? ` --until ${until}` : ""}`;
}

/** Preferences of this browser, which are no part of what is looked at. */
function preference<T extends string>(key: string, of: readonly T[]) {
  let at: string | null = null;
  try {
    at = localStorage.getItem(key);
  } catch {
    // Storage may be forbidden; the preference then lasts as long as the page.
  }
  const s = signal<T>(of.includes(at as T) ? (at as T) : (of[0] as T));
  const set = (v: T) => {
    s.value = v;
    try {
      localStorage.setItem(key, v);
    } catch {
      // As above.
    }
  };
  return [s, set] as const;
}

export const [theme, setTheme] = preference("weir.theme", ["auto", "light", "dark"]);
export const [density, setDensity] = preference("weir.density", ["normal", "compact"]);
