// One connection: what became of it and why, what decided, what each end counted, and the record as it is.

import { get, returned } from "../api";
import { type Conn, conns, edgeEnd, end, endTerm, ms, port, str, tone, why as whyWords, word } from "../columns";
import { endParam, fields } from "../data";
import { isWide } from "../ends";
import { absolute, count, micros, plain, visible } from "../format";
import { equals } from "../query";
import { useResource } from "../resource";
import { beat, rangeFlags, span, state } from "../state";
import type { Result, Why } from "../types";
import { copy, md, shell } from "../ui/copy";
import { Glyph } from "../ui/glyph";
import { Value } from "../ui/name";
import { Failed, Loading } from "../ui/states";
import { BothEnds } from "./bothends";
import { Claim } from "./edge";
import { Policies } from "./policies";

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
    () => (askable(c) ? id : null),
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
      <Decided c={c} id={id} />
      <BothEnds c={c} />
      <Socket c={c} />
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

/** Whether both ends are known so far that why can be asked. */
const askable = (c: Conn): boolean => [edgeEnd(c, "src"), edgeEnd(c, "dst")].every((e) => e !== "" && !isWide(e));

/** What decided about this connection, by the policies that were in force at its start. */
function Decided({ c, id }: { c: Conn; id: string }) {
  const { value: w } = useResource<Why>(
    () => (askable(c) ? id : null),
    (stop) => {
      const from = ms(c.start ?? c.end ?? null);
      return get<Why>(
        "why",
        {
          src: endParam(edgeEnd(c, "src")),
          dst: endParam(edgeEnd(c, "dst")),
          conn: id,
          since: from - 1000,
          until: Math.max(from, ms(c.end ?? null)) + 1000,
        },
        stop,
      );
    },
    () => returned.value,
    [id],
  );
  const evaluated = str(c["policy.eval"]);
  return (
    <>
      {w && <Policies steps={w.policies} />}
      {evaluated && (
        <p class="muted">
          At its start the agent found it{" "}
          <Value
            of={evaluated}
            term={equals("policy.eval", evaluated)}
            class={evaluated === "denied" ? "denied" : ""}
          />
          {c["policy.eval_why"] ? `: ${visible(str(c["policy.eval_why"]))}` : ""}
        </p>
      )}
    </>
  );
}

/** What the sockets said. */
function Socket({ c }: { c: Conn }) {
  return (
    <p class="muted">
      {typeof c.rtt === "number"
        ? `RTT ${plain(micros(c.rtt))}${typeof c.rtt_min === "number" ? `, at least ${plain(micros(c.rtt_min))}` : ""}. `
        : "RTT unknown: no socket was read. "}
      {typeof c.path_mtu === "number" ? `Path MTU ${plain(count(c.path_mtu))}. ` : ""}
    </p>
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
