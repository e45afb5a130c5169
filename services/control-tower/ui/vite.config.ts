import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// The pages ship inside the control-tower package; the service mounts `assets/` and answers index.html itself.
export default defineConfig({
  plugins: [svelte()],
  build: {
    outDir: "../src/control_tower/static/dist",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  server: { proxy: { "/api": "http://127.0.0.1:8080" } },
});
