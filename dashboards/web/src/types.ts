// Answers of the API, by the names the page uses.

export interface Basis {
  since: string;
  until: string;
  scanned: { rows: number; segments: number };
  notes?: string[];
  partial?: Missing[];
}
export interface Missing {
  name: string;
  error: string;
  share?: number | null;
}
export interface Column {
  name: string;
  unit?: string;
  type: "text" | "number" | "time";
}
export type Cell = string | number | boolean | null;
export interface Row {
  values: Cell[];
  uncounted?: number[];
  other?: boolean;
}
export interface Result {
  columns: Column[];
  rows: Row[];
  cut?: boolean;
  notes?: string[];
  scanned: { rows: number; segments: number };
  took_ns: number;
  partial?: Missing[];
}
export interface Finding {
  kind: string;
  text: string;
  query?: string;
  next?: string;
  score: number;
  src?: string;
  dst?: string;
  port?: number;
}
export interface Findings extends Basis {
  findings: Finding[];
  folded: number;
  calm?: string;
}
export interface MapEdge {
  src: string;
  dst: string;
  conns: number;
  active: number;
  failed: Record<string, number>;
  bytes: number | null;
  reverse_bytes: number | null;
  rtt_p95_us: number | null;
  change?: "new" | "gone" | "changed";
  previous?: { conns: number; failed: Record<string, number> };
}
export interface FlowMap extends Basis {
  level: "namespace" | "workload" | "pod";
  edges: MapEdge[];
  more: number;
}
export interface WhyFinding {
  cause: string;
  claim: string;
  evidence: string[];
  next: string;
}
export interface Change {
  id: number;
  time_ms: number;
  kind: string;
  namespace?: string;
  object: string;
  what: string;
  bad?: boolean;
}
export interface Why extends Basis {
  src: string;
  dst: string;
  port?: number;
  query: string;
  conns: number;
  outcomes: Record<string, number>;
  findings: WhyFinding[];
  changes: Change[];
}
export interface Difference {
  field: string;
  value: string;
  region: number;
  rest: number;
  score: number;
  text: string;
}
export interface Differences extends Basis {
  differences: Difference[];
  region: number;
  rest: number;
}
export interface Changes {
  changes: Change[];
  total: number;
  source: string;
}
export interface Amount {
  records: number;
  connections: number;
  bytes: number;
}
export interface Stage {
  stage: string;
  in: Amount;
  out: Amount;
  held: Amount;
  lost?: Record<string, Amount>;
}
export interface Books {
  time: string;
  stages: Stage[];
  former?: Stage[];
  agents?: { agent: string; instance: string; time: string; stages: Stage[] }[];
  canaries?: number;
}
export interface NodeCoverage {
  node: string;
  rows: { class: string; family: string; seen: string; why?: string; remedy?: string }[];
  evidence?: { name: string; on: boolean; why?: string; remedy?: string }[];
  pressure?: {
    entries: number;
    max: number;
    drops: number;
    early_drops: number;
    insert_failures: number;
    full_in_ms?: number;
  };
  at: string;
  silent?: boolean;
}
export interface Coverage {
  time: string;
  summary: string;
  nodes: number;
  tables: NodeCoverage[] | null;
}
export interface Completion {
  from: number;
  suggestions: { text: string; kind: string; doc?: string }[];
}
export interface FieldInfo {
  name: string;
  type: string;
  unit?: string;
  words?: string[];
  doc: string;
  absent: string;
  aliases?: string[];
}
