// Asking the aggregator: one queue, one idea of whether it can be reached, its clock.

import { signal } from "@preact/signals";

/** An answer that is no success. */
export class Failure extends Error {
  constructor(
    readonly status: number, // 0: there was no answer
    message: string,
    readonly column?: number,
    readonly near?: string,
  ) {
    super(message);
  }
}

export type Link =
  | { state: "up" }
  | { state: "lost"; since: number; next: number } // tried again at `next`
  | { state: "token"; message: string };

export const link = signal<Link>({ state: "up" });
/** The aggregator's clock minus this one's, in milliseconds. */
export const skew = signal(0);
/** Counts up when the aggregator is there again. */
export const returned = signal(0);

export const now = (): number => Date.now() + skew.value;

const tokenKey = "weir.token";
/** Forgotten with the tab. */
export function signIn(token: string): void {
  sessionStorage.setItem(tokenKey, token.trim());
  link.value = { state: "up" };
  returned.value++;
}
export function signOut(): void {
  sessionStorage.removeItem(tokenKey);
  link.value = { state: "token", message: "Signed out." };
}
export const signedIn = (): boolean => sessionStorage.getItem(tokenKey) !== null;

export type Params = Record<string, string | number | undefined>;

export function url(path: string, params: Params = {}): string {
  const p = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== undefined) p.set(k, String(v));
  const text = p.toString();
  return `./api/v1/${path}${text ? `?${text}` : ""}`;
}

// The aggregator answers few questions of one caller at once (api.callerQueries, 4 by default).
const atOnce = 3;

/** Runs so many at once, the others in turn. */
function lane(width: number): <T>(f: () => Promise<T>) => Promise<T> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (f) => {
    if (running >= width) await new Promise<void>((go) => waiting.push(go));
    else running++;
    try {
      return await f();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}

const place = lane(atOnce);
/** Questions about long ranges go one after the other, so that two places are left for what a person does meanwhile. */
const slowly = lane(1);

/** Sends a request; a lost connection is noted and throws Failure 0. */
export async function send(
  path: string,
  params: Params,
  signal: AbortSignal,
  accept = "application/json",
): Promise<Response> {
  const headers: Record<string, string> = { Accept: accept };
  const token = sessionStorage.getItem(tokenKey);
  if (token) headers.Authorization = `Bearer ${token}`;
  const began = Date.now();
  let r: Response;
  try {
    r = await fetch(url(path, params), { headers, signal, credentials: "same-origin", cache: "no-store" });
  } catch (e) {
    if (signal.aborted) throw e;
    lost();
    throw new Failure(0, "the aggregator does not answer");
  }
  clockOf(r, began);
  if (link.value.state === "lost") {
    link.value = { state: "up" };
    returned.value++;
  }
  if (r.ok) return r;
  const body = await r.json().catch(() => ({}));
  const f = new Failure(r.status, String(body.error ?? `${r.status} ${r.statusText}`), body.column, body.near);
  if (r.status === 401) link.value = { state: "token", message: token ? "This token is not known, or no longer." : "" };
  throw f;
}

function clockOf(r: Response, began: number): void {
  const at = Date.parse(r.headers.get("Date") ?? "");
  const ended = Date.now();
  if (!at || ended - began > 5000) return;
  // The header has whole seconds: it is right to half a second around its middle.
  const d = at + 500 - (began + ended) / 2;
  if (Math.abs(d - skew.value) > 1500) skew.value = Math.abs(d) < 1500 ? 0 : Math.round(d);
}

const retries = 6;

/** Asks for JSON, in turn; a 429 waits and asks again. What may take long leaves room for others. */
export async function get<T>(path: string, params: Params, signal: AbortSignal, long = false): Promise<T> {
  if (long) return slowly(() => get<T>(path, params, signal));
  for (let i = 0; ; i++) {
    try {
      return await place(async () => {
        signal.throwIfAborted();
        return (await (await send(path, params, signal)).json()) as T;
      });
    } catch (e) {
      if (!(e instanceof Failure) || e.status !== 429 || i >= retries) throw e;
      await sleep(500 * 2 ** Math.min(i, 3), signal);
    }
  }
}

export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((ok, no) => {
    const t = setTimeout(ok, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(t);
      no(signal.reason);
    });
  });
}

const backoff = [1000, 2000, 4000, 8000, 15000];

/** Notes that the connection is lost and asks until it is there again. */
function lost(): void {
  if (link.value.state === "lost") return;
  const since = Date.now();
  link.value = { state: "lost", since, next: since + (backoff[0] as number) };
  void (async () => {
    for (let i = 0; link.value.state === "lost"; i++) {
      const wait = backoff[Math.min(i, backoff.length - 1)] as number;
      link.value = { state: "lost", since, next: Date.now() + wait };
      await sleep(wait);
      const stop = new AbortController();
      const timer = setTimeout(() => stop.abort(), 5000);
      // Any answer, be it 503, is an answer: send() notes it.
      await send("health", {}, stop.signal).catch(() => undefined);
      clearTimeout(timer);
    }
  })();
}
