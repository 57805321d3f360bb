import { defineConfig } from "vite";

// `npm run dev` serves the source and asks the API of a running aggregator.
const api = "http://127.0.0.1:8443";

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: { "/api": api } },
  build: {
    outDir: "dist",
    target: "es2022",
    assetsInlineLimit: 0, // data: URLs would need a wider Content-Security-Policy
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: false,
  },
});
