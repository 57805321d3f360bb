// One connection: what became of it and why, what decided, what each end counted, and the record as it is.

import { get, returned } from "../api";
import { type Conn, conns, edgeEnd, end, endTerm, ms, port, str, tone, why as whyWords, word } from "../columns";
import { endParam, fields } from "../data";
import { absolute, bytes, count, group, micros, plain, visible } from "../format";
import { equals } from "../query";
import { useResource } from "../resource";
import { beat, rangeFlags, span, state } from "../state";
import type { Result, Why } from "../types";
import { copy, md, shell } from "../ui/copy";
import { Glyph, Outcome } from "../ui/glyph";
import { Value } from "../ui/name";
import { Failed, Loading } from "../ui/states";
import { Claim } from "./edge";

/** The record with all its fields, and why its pair fares so. */
export function ConnView({ id, at }: { id: string; at: number }) {
  const h = useResource<Conn | null>(
    () => (fields.value.value ? `${id} ${at}` : null),
    async (stop) => {
      const all = (fields.peek().value ?? [])
        .map((f) => f.name)
        .filter((f) => !f.endsWith("_delta"))
        .join(", ");
      const s = span.peek();
      const r = await get<Result>(
        "query",
        {
          q: `conn_id = ${id} (canary = true or not canary = true) | limit 1 | fields ${all}`,
          since: Math.min(at - 1000, s.from),
          until: s.to,
        },
        stop,
      );
      return conns(r.columns, r.rows)[0] ?? null;
    },
    () => [beat.value, returned.value],
    [id, at],
  );
  const c = h.value;
  return (
    <article class={h.loading && c ? "refreshing" : ""}>
      {h.failure && !c && <Failed failure={h.failure} what="Connection" />}
      {c === undefined && !h.failure && <Loading what="Reading the record" />}
      {c === null && <p class="state">This connection is not in the range any more, or no longer kept.</p>}
      {c && <Record c={c} id={id} />}
    </article>
  );
}

function Record({ c, id }: { c: Conn; id: string }) {
  const utc = state.value.utc;
  const o = str(c.outcome);
  const words = whyWords(c);
  const { value: w } = useResource<Why>(
    () => (edgeEnd(c, "src") && edgeEnd(c, "dst") ? id : null),
    (stop) => {
      const s = span.peek();
      return get<Why>(
        "why",
        {
          src: endParam(edgeEnd(c, "src")),
          dst: endParam(edgeEnd(c, "dst")),
          port: c["dst.port"] === null ? undefined : str(c["service.port"]) || str(c["dst.port"]),
          since: s.from,
          until: s.to,
        },
        stop,
      );
    },
    () => [beat.value, returned.value],
    [id],
  );
  const bad = o !== "ok" && o !== "";
  const main = bad ? w?.findings.find((f) => f.cause !== "changed" && f.cause !== "all_well") : undefined;
  return (
    <>
      <h2 class="who">
        <Value of={end(c, "src")} term={endTerm(c, "src")} />
        <span class="arrow">→</span>
        <Value of={`${end(c, "dst")}${c["dst.port"] === null ? "" : `:${port(c)}`}`} term={endTerm(c, "dst")} />
      </h2>
      <p class="cause">
        <Glyph of={tone(o)} />
        {o ? word(o).charAt(0) + word(o).slice(1).toLowerCase() : "No outcome is proven yet"}
        {main ? `: ${visible(main.claim)}` : words ? `: ${visible(words)}` : ""}.
      </p>
      <ul class="evidence">
        <li>
          began{" "}
          <span title={absolute(ms(c.start ?? null), utc)}>
            {c.start ? absolute(ms(c.start), utc) : "before it was seen"}
          </span>
        </li>
        {c.evidence && <li>the outcome rests on {visible(list(c.evidence)).replaceAll("_", " ")}</li>}
        {c.seen_by && (
          <li>
            seen by{" "}
            {{ both: "both ends", src: "the client's node only", dst: "the server's node only" }[str(c.seen_by)] ??
              str(c.seen_by)}
          </li>
        )}
        {main?.evidence.map((e) => (
          <li key={e}>{visible(e)}</li>
        ))}
      </ul>
      {main?.next && (
        <p class="next">
          <span class="muted">Next: </span>
          {/^weirctl /.test(main.next) ? <code>{visible(main.next)}</code> : visible(main.next)}
        </p>
      )}
      <Policies c={c} />
      <BothEnds c={c} />
      {w && w.findings.filter((f) => f !== main && !(f.cause === "all_well" && bad)).length > 0 && (
        <>
          <h3>Of all connections between the two</h3>
          {w.findings
            .filter((f) => f !== main)
            .map((f) => (
              <Claim key={f.claim} f={f} first={false} />
            ))}
        </>
      )}
      <div class="actions">
        <button
          type="button"
          onClick={() =>
            void copy(`weirctl query ${shell(`conn_id = ${id}`)} ${rangeFlags(state.value.range)}`, "command")
          }
        >
          copy as CLI
        </button>
        <button type="button" onClick={() => void copy(markdown(c, main?.claim, main?.evidence ?? []), "connection")}>
          copy as Markdown
        </button>
      </div>
      <Raw c={c} />
    </>
  );
}

const list = (v: unknown): string => (Array.isArray(v) ? v.join(", ") : String(v)).replace(/\|/g, ", ");

/** The policies that decided, in the order in which they did, and what those in force say. */
function Policies({ c }: { c: Conn }) {
  const rows = (["egress", "ingress"] as const)
    .map((d) => ({
      d,
      policy: str(c[`${d}.policy`]),
      ns: str(c[`${d}.policy_ns`]),
      rule: str(c[`${d}.rule`]),
      action: str(c[`${d}.action`]),
      type: str(c[`${d}.policy_type`]),
    }))
    .filter((r) => r.policy || r.rule);
  const evaluated = str(c["policy.eval"]);
  if (rows.length === 0 && !evaluated) return null;
  return (
    <>
      <h3>Policies</h3>
      <ol class="policies">
        {rows.map((r) => (
          <li key={r.d}>
            <span class="muted">{r.d}</span>{" "}
            <Value
              of={[r.ns, r.policy].filter(Boolean).join("/") || "–"}
              term={r.policy ? equals(`${r.d}.policy`, r.policy) : null}
            />{" "}
            <span class="mono">{visible(r.rule)}</span>
            {r.action && <span class={`outcome ${r.action === "allow" ? "ok" : "denied"}`}>{r.action}</span>}
          </li>
        ))}
        {evaluated && (
          <li>
            <span class="muted">in force at its start</span>{" "}
            <Value
              of={evaluated}
              term={equals("policy.eval", evaluated)}
              class={evaluated === "denied" ? "denied" : ""}
            />
            <div class="muted">{visible(str(c["policy.eval_why"]))}</div>
          </li>
        )}
      </ol>
    </>
  );
}

const counters: [string, string, (v: number) => string][] = [
  ["packets", "packets →", (v) => group(v)],
  ["bytes", "bytes →", (v) => plain(bytes(v))],
  ["reverse.packets", "packets ←", (v) => group(v)],
  ["reverse.bytes", "bytes ←", (v) => plain(bytes(v))],
];

function BothEnds({ c }: { c: Conn }) {
  const num = (v: unknown): number | null => (typeof v === "number" ? v : null);
  const cell = (v: number | null, f: (v: number) => string, why: string) =>
    v === null ? (
      <span class="muted" title={why}>
        –
      </span>
    ) : (
      f(v)
    );
  const none = "that end's node did not report";
  return (
    <>
      <h3>What both ends saw</h3>
      <table class="ends-table">
        <thead>
          <tr>
            <th />
            <th>client saw</th>
            <th>server saw</th>
            <th>difference</th>
          </tr>
        </thead>
        <tbody>
          {counters.map(([f, title, show]) => {
            const a = num(c[`src.${f}`]);
            const b = num(c[`dst.${f}`]);
            const back = f.startsWith("reverse");
            const d = a === null || b === null ? null : back ? b - a : a - b;
            return (
              <tr key={f}>
                <th scope="row">{title}</th>
                <td>{cell(a, show, none)}</td>
                <td>{cell(b, show, none)}</td>
                <td class={d ? "lost" : ""}>
                  {cell(
                    d,
                    (v) => (v > 0 ? `${show(v)} lost` : v < 0 ? `${show(-v)} more` : "0"),
                    "only one end is known",
                  )}
                </td>
              </tr>
            );
          })}
          <tr>
            <th scope="row">retransmits</th>
            <td>{cell(num(c["src.retransmits"]), group, "no socket was read")}</td>
            <td>{cell(num(c["dst.retransmits"]), group, "no socket was read")}</td>
            <td />
          </tr>
          <tr>
            <th scope="row">outcome</th>
            <td>
              {c["src.outcome"] ? (
                <Outcome of={str(c["src.outcome"])} />
              ) : (
                <span class="muted" title="that node proved none">
                  –
                </span>
              )}
            </td>
            <td>
              {c["dst.outcome"] ? (
                <Outcome of={str(c["dst.outcome"])} />
              ) : (
                <span class="muted" title="that node proved none">
                  –
                </span>
              )}
            </td>
            <td />
          </tr>
          <tr>
            <th scope="row">node</th>
            <td>
              {c["src.node"] ? (
                <Value of={str(c["src.node"])} term={equals("src.node", c["src.node"])} />
              ) : (
                <span class="muted">–</span>
              )}
            </td>
            <td>
              {c["dst.node"] ? (
                <Value of={str(c["dst.node"])} term={equals("dst.node", c["dst.node"])} />
              ) : (
                <span class="muted">–</span>
              )}
            </td>
            <td />
          </tr>
        </tbody>
      </table>
      <p class="muted">
        {typeof c.rtt === "number"
          ? `RTT ${plain(micros(c.rtt))}${typeof c.rtt_min === "number" ? `, at least ${plain(micros(c.rtt_min))}` : ""}. `
          : "RTT unknown: no socket was read. "}
        {typeof c.path_mtu === "number" ? `Path MTU ${plain(count(c.path_mtu))}. ` : ""}
      </p>
    </>
  );
}

function Raw({ c }: { c: Conn }) {
  const rows = Object.entries(c).filter(([, v]) => v !== null);
  return (
    <details class="raw">
      <summary>All {rows.length} fields of the record</summary>
      <table>
        <tbody>
          {rows.map(([k, v]) => (
            <tr key={k}>
              <th scope="row" title={fields.value.value?.find((f) => f.name === k)?.doc}>
                {k}
              </th>
              <td class="mono">
                <Value
                  of={list(v)}
                  term={/^(start|end|since|id|src\.end|dst\.end)$/.test(k) || Array.isArray(v) ? null : equals(k, v)}
                />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

function markdown(c: Conn, claim: string | undefined, evidence: string[]): string {
  const head = `**${md(end(c, "src"))} → ${md(end(c, "dst"))}:${port(c)}** ${word(str(c.outcome))}${claim ? `: ${md(claim)}` : ""}`;
  return [head, "", ...evidence.map((e) => `- ${md(e)}`), `- began ${c.start}, conn\\_id ${c.conn_id}`].join("\n");
}
