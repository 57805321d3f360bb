// Asks for a token where the API wants one. It is kept for this tab only.

import { useEffect, useRef, useState } from "preact/hooks";
import { link, signIn } from "../api";

export function SignIn() {
  const l = link.value;
  const [token, setToken] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const open = l.state === "token";
  useEffect(() => {
    if (open) input.current?.focus();
  }, [open]);
  if (l.state !== "token") return null;
  return (
    <div class="scrim" role="dialog" aria-modal="true" aria-label="Sign in">
      <form
        class="signin"
        onSubmit={(e) => {
          e.preventDefault();
          if (token.trim()) signIn(token);
          setToken("");
        }}
      >
        <h1>weir</h1>
        <p>This aggregator asks for a token: one of api.tokenFile, or of Kubernetes.</p>
        {l.message && (
          <p class="bad" role="alert">
            {l.message}
          </p>
        )}
        <label>
          <span class="sr">Token</span>
          <input
            ref={input}
            class="mono"
            type="password"
            autocomplete="off"
            value={token}
            onInput={(e) => setToken(e.currentTarget.value)}
            placeholder="token"
          />
        </label>
        <button type="submit" class="primary" disabled={!token.trim()}>
          Sign in
        </button>
        <p class="muted">
          It is kept until this tab closes. In Kubernetes: <code>kubectl create token NAME</code>
        </p>
      </form>
    </div>
  );
}
