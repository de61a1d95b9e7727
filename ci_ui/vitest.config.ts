import { defineConfig } from "vitest/config";

export default defineConfig({
  define: { __VERSION__: '"0"' },
  // A test that needs a document says so in its first line: `// @vitest-environment happy-dom`. Making one takes longer than most tests.
  test: { environment: "node", include: ["src/**/*.test.ts", "src/**/*.test.tsx"] },
});
