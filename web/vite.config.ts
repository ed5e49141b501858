// How the page is built: hashed files into dist/, nothing inline, since the policy forbids it.
//
// While working on it: `npm run dev` beside a running `clipsight serve`.

import { svelte, vitePreprocess } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

export default defineConfig({
  root: "src",
  plugins: [svelte({ preprocess: vitePreprocess(), configFile: false })],
  build: {
    outDir: "../dist",
    emptyOutDir: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  // The origin stays as it is: the server refuses requests of pages that are not its own.
  server: {
    proxy: {
      "/v1": { target: process.env["CLIPSIGHT"] ?? "http://127.0.0.1:8080", changeOrigin: false },
    },
  },
});
