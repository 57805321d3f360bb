// Queries as text: splitting, chips, adding and removing terms. The server parses for real;
// this knows only quotes, parentheses, words and the bars between stages.

interface Token {
  text: string;
  pos: number;
  end: number;
  kind: "word" | "string" | "op" | "punct";
}

const word = /[^\s()|,=!<>~"']+/y;
const quoted = /"(?:[^"\\\n]|\\.)*"?/y;
const op = /!=|<=|>=|=~|!~|[=<>!~]/y;

/** Tokens of a text; what is no token, as a single quote, counts as a word. */
export function tokens(text: string): Token[] {
  const out: Token[] = [];
  let i = 0;
  while (i < text.length) {
    if (/\s/.test(text[i] as string)) {
      i++;
      continue;
    }
    let end = i + 1;
    let kind: Token["kind"] = "word";
    if ("()|,".includes(text[i] as string)) kind = "punct";
    else {
      for (const [re, k] of [
        [quoted, "string"],
        [op, "op"],
        [word, "word"],
      ] as const) {
        re.lastIndex = i;
        const m = re.exec(text);
        if (m) {
          end = i + m[0].length;
          kind = k;
          break;
        }
      }
    }
    out.push({ text: text.slice(i, end), pos: i, end, kind });
    i = end;
  }
  return out;
}

/** The condition, and the stages with their bars: "a = b" and "| stats conns". */
export function split(text: string): { expr: string; stages: string } {
  let depth = 0;
  for (const t of tokens(text)) {
    if (t.kind !== "punct") continue;
    if (t.text === "(") depth++;
    if (t.text === ")") depth--;
    if (t.text === "|" && depth <= 0) return { expr: text.slice(0, t.pos).trim(), stages: text.slice(t.pos).trim() };
  }
  return { expr: text.trim(), stages: "" };
}

export function join(expr: string, stages: string): string {
  return [expr, stages].filter(Boolean).join(" ");
}

/**
 * The terms that must all hold, each as it is written. A condition with "or" at its top is one term.
 * What does not fit the grammar stays in the last term, so that nothing is lost: the terms joined
 * by spaces say what the text says.
 */
export function terms(expr: string): string[] {
  const ts = tokens(expr);
  let depth = 0;
  for (const t of ts) {
    if (t.text === "(") depth++;
    if (t.text === ")") depth--;
    if (depth === 0 && t.kind === "word" && t.text === "or") return [expr.trim()];
  }
  const out: string[] = [];
  let i = 0;
  const group = (): void => {
    let d = 0;
    do {
      const t = ts[i];
      if (!t) return;
      if (t.text === "(") d++;
      if (t.text === ")") d--;
      i++;
    } while (d > 0);
  };
  const unary = (): void => {
    if (ts[i]?.text === "not") {
      i++;
      unary();
    } else if (ts[i]?.text === "(") group();
    else if (ts[i]?.text === "has") i += 2;
    else {
      i++;
      if (ts[i]?.kind === "op") i += 2;
      else {
        if (ts[i]?.text === "not" && ts[i + 1]?.text === "in") i++;
        if (ts[i]?.text === "in" && ts[i + 1]?.text === "(") {
          i++;
          group();
        }
      }
    }
  };
  while (i < ts.length) {
    if (ts[i]?.kind === "word" && ts[i]?.text === "and") {
      i++;
      continue;
    }
    const from = (ts[i] as Token).pos;
    unary();
    out.push(expr.slice(from, ts[Math.min(i, ts.length) - 1]?.end));
  }
  return out;
}

const keywords = new Set(["and", "or", "not", "has", "in"]);

/** A value as it stands in a query: in quotes where it would not be read as this one word. */
export function value(v: string | number | boolean): string {
  const s = String(v);
  if (/^[\p{L}\p{N}_./:+-]+$/u.test(s) && !keywords.has(s)) return s;
  return JSON.stringify(s);
}

/** field = value, or that the field is absent. */
export function equals(field: string, v: string | number | boolean | null): string {
  return v === null || v === "" ? `not has ${field}` : `${field} = ${value(v)}`;
}

export function negate(term: string): string {
  const t = term.trim();
  if (/^not\s/.test(t)) return t.slice(4).trim();
  return `not ${terms(t).length > 1 || /\sor\s/.test(t) ? `(${t})` : t}`;
}

/** The query with one term more; a term that stands there already goes, as does its contrary. */
export function toggle(query: string, term: string): string {
  const { expr, stages } = split(query);
  let list = terms(expr);
  if (list.includes(term)) return join(list.filter((t) => t !== term).join(" "), stages);
  list = list.filter((t) => t !== negate(term)).map((t) => (list.length === 1 && hasOr(t) ? `(${t})` : t));
  return join([...list, term].join(" "), stages);
}

function hasOr(expr: string): boolean {
  let depth = 0;
  return tokens(expr).some((t) => {
    if (t.text === "(") depth++;
    if (t.text === ")") depth--;
    return depth === 0 && t.kind === "word" && t.text === "or";
  });
}

export function without(query: string, term: string): string {
  const { expr, stages } = split(query);
  return join(
    terms(expr)
      .filter((t) => t !== term)
      .join(" "),
    stages,
  );
}

/** The conditions of several texts, all of which must hold. */
export function both(...exprs: string[]): string {
  return exprs
    .map((e) => e.trim())
    .filter(Boolean)
    .map((e) => (hasOr(e) ? `(${e})` : e))
    .join(" ");
}

/** Bytes of UTF-8 before a position in a text, as the API counts cursors, and back. */
export function byteOffset(text: string, index: number): number {
  return new TextEncoder().encode(text.slice(0, index)).length;
}

export function charOffset(text: string, offset: number): number {
  return new TextDecoder().decode(new TextEncoder().encode(text).slice(0, offset)).length;
}

/** A chip: what it shows, and the terms that it stands for. */
export interface Chip {
  text: string;
  terms: string[];
}

/** The terms as chips; the namespace and the name of one end are one. */
export function chips(expr: string): Chip[] {
  const list = terms(expr);
  const out: Chip[] = [];
  for (let i = 0; i < list.length; i++) {
    const t = list[i] as string;
    const ns = /^(src|dst)\.ns = (\S+)$/.exec(t);
    const next = list[i + 1] ?? "";
    const name = /^(src|dst)\.(?:workload|pod) = "?([^"\s]+?)"?$/.exec(next);
    if (ns && name && ns[1] === name[1]) {
      out.push({
        text: `${ns[1] === "src" ? "from" : "to"} ${ns[2]}/${(name[2] as string).replace(/^[A-Z]\w*\//, "")}`,
        terms: [t, next],
      });
      i++;
    } else out.push({ text: t, terms: [t] });
  }
  return out;
}
