// The columns of the table of connections: what each needs of the API and how it reads.

import { absolute, bytes, clock, count, group, micros, plain, visible } from "./format";
import { equals } from "./query";
import type { Cell } from "./types";

/** One connection: its fields by name. */
export type Conn = Record<string, Cell>;

export interface Col {
  id: string; // as in the URL
  title: string;
  needs: string[]; // fields of the query
  width: number; // in tenths of a rem; 0 takes what is left, by weight
  weight?: number;
  least?: number; // of what has a weight
  right?: boolean;
  mono?: boolean;
  sort?: string; // the field that sorts it
  text: (c: Conn, utc: boolean) => string; // "" where unknown
  absent?: string; // why it may be unknown
  term?: (c: Conn) => string | null; // what a click filters by
}

export const str = (v: Cell | undefined): string => (v === null || v === undefined ? "" : String(v));

/** One end as a person names it: ns/workload, else the pod, a host's name, the address. */
export function end(c: Conn, side: "src" | "dst"): string {
  const ns = str(c[`${side}.ns`]);
  const workload = str(c[`${side}.workload`]).replace(/^[A-Z]\w*\//, "");
  const pod = workload || str(c[`${side}.pod`]);
  if (pod) return `${ns}/${pod}`;
  return str(c[`${side}.name`]) || str(c[`${side}.ip`]) || (ns ? `${ns}/` : "");
}

/** The end of an edge that a connection belongs to, as the map names it. */
export function edgeEnd(c: Conn, side: "src" | "dst"): string {
  const w = str(c[`${side}.workload`]);
  const ns = str(c[`${side}.ns`]);
  if (w) return `${ns}/${w}`;
  return ns ? `${ns}/` : str(c[`${side}.name`]) || str(c[`${side}.ip`]);
}

/** The end with its pod, for a hover. */
export function endTitle(c: Conn, side: "src" | "dst"): string {
  return [
    `${str(c[`${side}.ns`])} ${str(c[`${side}.workload`])}`.trim(),
    str(c[`${side}.pod`]),
    str(c[`${side}.name`]),
    str(c[`${side}.ip`]),
  ]
    .filter(Boolean)
    .join("\n");
}

export function endTerm(c: Conn, side: "src" | "dst"): string {
  const w = c[`${side}.workload`];
  const ns = c[`${side}.ns`];
  if (w && ns) return `${equals(`${side}.ns`, ns)} ${equals(`${side}.workload`, w)}`;
  for (const f of ["pod", "name", "ip", "ns"]) {
    const v = c[`${side}.${f}`];
    if (v !== null && v !== undefined) return equals(`${side}.${f}`, v);
  }
  return `not has ${side}.pod`;
}

const outcomeWords: Record<string, string> = {
  ok: "OK",
  refused: "REFUSED",
  reset: "RESET",
  timed_out: "TIMED OUT",
  unanswered: "UNANSWERED",
  denied: "DENIED",
  path_loss: "PATH LOSS",
  attempt: "ATTEMPT",
};

/** What a state looks like: colour, glyph, dash and word go together. */
export type Tone = "ok" | "failed" | "denied" | "unanswered" | "unknown";

export function tone(outcome: string): Tone {
  switch (outcome) {
    case "ok":
      return "ok";
    case "denied":
      return "denied";
    case "unanswered":
    case "attempt":
      return "unanswered";
    case "refused":
    case "reset":
    case "timed_out":
    case "path_loss":
      return "failed";
    default:
      return "unknown";
  }
}

export const word = (outcome: string): string => outcomeWords[outcome] ?? "";

/** What stands behind an outcome, in the words of weirctl. */
export function why(c: Conn): string {
  const out: string[] = [];
  const o = str(c.outcome);
  const listens = str(c["dst.listens"]);
  if (o !== "ok" && o !== "denied") {
    const l = str(c["dst.listen"]);
    if (l === "none" || l === "other") out.push(`nobody listens${listens ? ` (listens: ${listens})` : ""}`);
    else if (l === "loopback") out.push("listens on loopback only");
    else if (l === "full") out.push(`accept queue full (${str(c["dst.backlog"])} of ${str(c["dst.backlog_max"])})`);
  }
  if (o === "denied") {
    for (const d of ["egress", "ingress"]) {
      const p = str(c[`${d}.policy`]);
      if (p) out.push(`by ${[str(c[`${d}.policy_ns`]), p].filter(Boolean).join("/")} ${str(c[`${d}.rule`])}`.trim());
    }
  }
  if (out.length === 0 && str(c["policy.eval"]) === "denied" && o !== "ok") out.push("policies deny it");
  if (out.length === 0 && o !== "ok" && c.reset_by) {
    const by = { src: "the client", dst: "the server", path: "something between" }[str(c.reset_by)];
    if (by) out.push(`by ${by}`);
  }
  if (c["dns.query"])
    out.push(`asked for ${str(c["dns.query"])}${c["dns.rcode"] ? `: ${str(c["dns.rcode"]).toUpperCase()}` : ""}`);
  const lost = Math.max(0, Number(c["loss.packets"] ?? 0)) + Math.max(0, Number(c["loss.reverse.packets"] ?? 0));
  if (lost > 0) out.push(`${group(lost)} ${lost === 1 ? "packet" : "packets"} lost between the ends`);
  return out.join(", ");
}

export const ms = (v: Cell | undefined): number => Date.parse(str(v));

export function port(c: Conn): string {
  const p = str(c["dst.port"]);
  const proto = str(c.proto);
  if (!p) return proto;
  return proto && proto !== "tcp" ? `${p}/${proto}` : p;
}

const ends = (s: string) => ["ns", "pod", "workload", "name", "ip"].map((f) => `${s}.${f}`);
const listening = ["dst.listen", "dst.listens", "dst.backlog", "dst.backlog_max"];
const behind = [
  "egress.policy",
  "egress.policy_ns",
  "egress.rule",
  "ingress.policy",
  "ingress.policy_ns",
  "ingress.rule",
  "policy.eval",
  "reset_by",
  "dns.query",
  "dns.rcode",
  "loss.packets",
  "loss.reverse.packets",
];

const noCounters = "the kernel kept no counters for it, or its first export is to come";
const noSocket = "no socket was read for this connection";

function plainCol(id: string, title: string, width: number, more: Partial<Col> = {}): Col {
  return {
    id,
    title,
    needs: [id],
    width,
    sort: id,
    text: (c) => visible(str(c[id])),
    term: (c) => equals(id, c[id] ?? null),
    ...more,
  };
}

export const columns: Col[] = [
  {
    id: "time",
    title: "Time",
    needs: ["start", "end"],
    width: 76,
    sort: "end",
    mono: true,
    text: (c, utc) => (c.end ? clock(ms(c.end), utc) : c.start ? clock(ms(c.start), utc) : ""),
    term: () => null,
  },
  {
    id: "ends",
    title: "From → to",
    needs: [...ends("src"), ...ends("dst"), "service"],
    width: 0,
    weight: 5,
    text: (c) => visible(`${end(c, "src")} → ${end(c, "dst")}`),
  },
  {
    id: "port",
    title: "Port",
    needs: ["dst.port", "proto"],
    width: 64,
    right: true,
    mono: true,
    sort: "dst.port",
    text: port,
    term: (c) =>
      c["dst.port"] === null ? equals("proto", c.proto ?? null) : equals("dst.port", c["dst.port"] ?? null),
  },
  {
    id: "outcome",
    title: "Outcome",
    needs: ["outcome"],
    width: 146,
    sort: "outcome",
    text: (c) => word(str(c.outcome)),
    absent: "nothing has proven an outcome yet",
    term: (c) => equals("outcome", c.outcome ?? null),
  },
  {
    id: "why",
    title: "Why",
    needs: [...listening, ...behind],
    width: 0,
    weight: 3,
    text: (c) => visible(why(c)),
    term: (c) =>
      c["dst.listen"]
        ? equals("dst.listen", c["dst.listen"])
        : c["policy.eval"]
          ? equals("policy.eval", c["policy.eval"])
          : null,
  },
  {
    id: "bytes",
    title: "Bytes ⇄",
    needs: ["bytes", "reverse.bytes"],
    width: 132,
    right: true,
    sort: "bytes",
    absent: noCounters,
    text: (c) =>
      typeof c.bytes !== "number"
        ? ""
        : `${plain(bytes(c.bytes))} / ${typeof c["reverse.bytes"] === "number" ? plain(bytes(c["reverse.bytes"])) : "–"}`,
    term: (c) => (typeof c.bytes === "number" ? `bytes >= ${c.bytes}` : "not has bytes"),
  },
  {
    id: "rtt",
    title: "RTT",
    needs: ["rtt"],
    width: 66,
    right: true,
    sort: "rtt",
    absent: noSocket,
    text: (c) => (typeof c.rtt === "number" ? plain(micros(c.rtt)) : ""),
    term: (c) => (typeof c.rtt === "number" ? `rtt >= ${c.rtt}us` : "not has rtt"),
  },
  plainCol("service", "Service", 160),
  plainCol("src.workload", "From workload", 160),
  plainCol("dst.workload", "To workload", 160),
  plainCol("src.ns", "From namespace", 110),
  plainCol("dst.ns", "To namespace", 110),
  plainCol("src.node", "From node", 100),
  plainCol("dst.node", "To node", 100),
  plainCol("src.ip", "From address", 130, { mono: true }),
  plainCol("dst.ip", "To address", 130, { mono: true }),
  plainCol("src.net", "From network", 120, { absent: "the client is not outside the cluster" }),
  plainCol("dst.net", "To network", 120, { absent: "the server is not outside the cluster" }),
  plainCol("src.port", "From port", 76, { mono: true, right: true }),
  plainCol("proto", "Protocol", 76),
  plainCol("tcp_state", "TCP state", 110),
  plainCol("scope", "Scope", 96),
  plainCol("seen_by", "Seen by", 76),
  plainCol("policy.eval", "Policies say", 110),
  plainCol("ingress.policy", "Ingress policy", 140),
  plainCol("egress.policy", "Egress policy", 140),
  plainCol("reset_by", "Reset by", 84),
  plainCol("path_mtu", "Path MTU", 84, { right: true, absent: noSocket }),
  plainCol("src.retransmits", "Retransmits →", 104, { right: true, absent: noSocket }),
  plainCol("dst.retransmits", "Retransmits ←", 104, { right: true, absent: noSocket }),
  plainCol("loss.packets", "Lost →", 76, {
    right: true,
    text: (c) => (typeof c["loss.packets"] === "number" ? plain(count(c["loss.packets"])) : ""),
    absent: "one end only, or no counters",
  }),
  plainCol("dns.query", "DNS question", 180),
  plainCol("app", "Application", 96),
  {
    id: "start",
    title: "Began",
    needs: ["start"],
    width: 78,
    sort: "start",
    mono: true,
    text: (c, utc) => (c.start ? clock(ms(c.start), utc) : ""),
    absent: "its start was not seen",
    term: () => null,
  },
];

export const defaultColumns = ["time", "ends", "port", "outcome", "why", "bytes", "rtt"];

export const byId = new Map(columns.map((c) => [c.id, c]));

export function chosen(ids: string[]): Col[] {
  const list = (ids.length ? ids : defaultColumns).map((id) => byId.get(id)).filter((c): c is Col => c !== undefined);
  return list.length ? list : defaultColumns.map((id) => byId.get(id) as Col);
}

/** Fields that every row has, for the drawer and for folding. */
const always = ["start", "end", "conn_id", "outcome", "dst.port", "proto", ...ends("src"), ...ends("dst"), "service"];

export const fieldsOf = (cols: Col[]): string[] => [...new Set([...always, ...cols.flatMap((c) => c.needs)])];

/** Rows of an answer as connections. */
export function conns(columns: { name: string }[], rows: { values: Cell[] }[]): Conn[] {
  return rows.map((r) => Object.fromEntries(columns.map((c, i) => [c.name, r.values[i] ?? null])));
}

/** Connections that say the same, as one line. */
export interface Line {
  key: string; // what they say, the same for as long as they say it
  conn: Conn; // the newest
  n: number;
  all: Conn[];
}

/** Folds neighbours and near neighbours: the same ends, port and outcome for the same reason. */
export function fold(list: Conn[]): Line[] {
  const out: Line[] = [];
  const at = new Map<string, Line>();
  for (const c of list) {
    const { "loss.packets": _a, "loss.reverse.packets": _b, ...rest } = c;
    const key = [end(c, "src"), end(c, "dst"), port(c), c.outcome, why(rest)].join("\0");
    const line = at.get(key);
    if (line) {
      line.n++;
      line.all.push(c);
    } else {
      const l = { key, conn: c, n: 1, all: [c] };
      at.set(key, l);
      out.push(l);
    }
  }
  return out;
}

export const fullTime = (c: Conn, utc: boolean): string =>
  `last packet ${c.end ? absolute(ms(c.end), utc) : "–"}\nbegan ${c.start ? absolute(ms(c.start), utc) : "before it was seen"}`;
