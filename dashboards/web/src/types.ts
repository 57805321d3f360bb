// Answers of the API by the names the page uses; api.gen.ts is made from the OpenAPI document.

import type { components } from "./api.gen";

type Schemas = components["schemas"];

export type Cell = string | number | boolean | null;
export type Column = Schemas["QueryColumn"];
export type Row = Omit<Schemas["QueryRow"], "values"> & { values: Cell[] };
export type Result = Omit<Schemas["QueryAnswer"], "rows"> & { rows: Row[] };
export type Missing = Schemas["MissingAggregator"];
export type Finding = Schemas["Finding"];
export type Findings = Schemas["Findings"];
export type MapEdge = Schemas["MapEdge"];
export type FlowMap = Schemas["Map"];
export type Why = Schemas["WhyAnswer"];
export type WhyFinding = Schemas["WhyFinding"];
export type PolicyStep = Schemas["PolicyStep"];
export type WhyBothEnds = Schemas["BothEnds"];
export type Change = Schemas["Change"];
export type Changes = Schemas["Changes"];
export type Difference = Schemas["Difference"];
export type Differences = Schemas["Differences"];
export type Amount = Schemas["Amount"];
export type Stage = Schemas["LedgerStage"];
export type Books = Schemas["Ledger"];
export type NodeCoverage = Schemas["NodeCoverage"];
export type Coverage = Schemas["Coverage"];
export type Completion = Schemas["CompletionAnswer"];
export type FieldInfo = Schemas["FieldInfo"];
