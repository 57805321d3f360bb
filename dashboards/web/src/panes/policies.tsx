// What decided about a connection, in the order in which it is asked, and what came nearest to allowing it.

import { visible } from "../format";
import { equals } from "../query";
import type { PolicyStep } from "../types";
import { Glyph } from "../ui/glyph";
import { Value } from "../ui/name";

const stages: Record<string, string> = {
  antrea: "Antrea policy",
  cluster_policy: "ClusterNetworkPolicy",
  node_rule: "rule of the node",
  network_policy: "NetworkPolicy",
  default: "default",
};

const results: Record<string, string> = {
  allow: "allows",
  deny: "denies",
  no_match: "does not fit",
  not_selected: "not asked",
  undefined: "says nothing",
};

export function Policies({ steps }: { steps: PolicyStep[] }) {
  if (steps.length === 0) return null;
  const directions = ["egress", "ingress"].filter((d) => steps.some((s) => s.direction === d));
  return (
    <>
      <h3>Policies, in the order in which they are asked</h3>
      {directions.map((d) => (
        <section key={d} aria-label={`${d} policies`}>
          <h4 class="muted">{d === "egress" ? "egress: the client may" : "ingress: the server may be called"}</h4>
          <ol class="policies">
            {steps
              .filter((s) => s.direction === d)
              .map((s, i) => (
                <Step key={`${i} ${s.policy} ${s.rule}`} s={s} />
              ))}
          </ol>
        </section>
      ))}
    </>
  );
}

function Step({ s }: { s: PolicyStep }) {
  const name = s.policy?.split("/").at(-1) ?? "";
  const tone = s.result === "deny" ? "denied" : s.result === "allow" ? "ok" : "unknown";
  const marks = [
    s.decides && "decides",
    s.observed && "observed",
    s.nearest && "nearest allow",
    s.skipped && "decided before it was asked",
  ].filter(Boolean);
  return (
    <li class={`${s.decides ? "decides" : ""} ${s.skipped || s.result === "not_selected" ? "aside" : ""}`}>
      {s.decides && <Glyph of={tone} />}
      <span class="muted">{stages[s.stage] ?? s.stage}</span>{" "}
      {s.policy && <Value of={s.policy} term={equals(`${s.direction}.policy`, name)} />}
      {s.rule && <span class="mono">[{visible(s.rule)}]</span>} <b>{results[s.result] ?? s.result}</b>
      {marks.length > 0 && <span class="marks"> {marks.join(", ")}</span>}
      {s.why && <div class="muted">{visible(s.why)}</div>}
    </li>
  );
}
