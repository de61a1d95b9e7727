import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const SMALLEST_COMPRESSED = 1024;
const COMPRESSED = /\.(css|html|js|json|svg)$/;
const server = process.env.CI_SERVER_URL ?? "http://127.0.0.1:8000";

/** Write `.br` and `.gz` beside every file that becomes smaller by it, so that the server only has to read them. */
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    writeBundle({ dir }, bundle) {
      if (!dir) throw new Error("the build has no directory to write to");
      for (const fileName of Object.keys(bundle)) {
        // The server changes index.html for each request.
        if (!COMPRESSED.test(fileName) || fileName === "index.html") continue;
        const source = readFileSync(join(dir, fileName));
        if (source.length < SMALLEST_COMPRESSED) continue;
        const brotli = brotliCompressSync(source, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
        writeFileSync(join(dir, `${fileName}.br`), brotli);
        writeFileSync(join(dir, `${fileName}.gz`), gzipSync(source, { level: 9 }));
      }
    },
  };
}

const { version } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8")) as { version: string };

export default defineConfig({
  // Relative, so that the page works below any path; `<base>` in index.html says where that is.
  base: "./",
  plugins: [react(), compressed()],
  define: { __VERSION__: JSON.stringify(version) },
  build: {
    outDir: "../ci_server/ui/dist",
    emptyOutDir: true,
    target: "es2022",
    manifest: "manifest.json",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
  server: { proxy: { "^/(?!ui/|@|src/|node_modules/)": { target: server, changeOrigin: true } } },
});
