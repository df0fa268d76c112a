/**
 * Builds tracker.js, messenger.js, handover.js, rules.js and intercom.js out of src/. `--check` writes nothing and fails where the committed
 * files differ. The messenger comes first: its file name holds its digest, and the tracker holds the name.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { build } from "esbuild";
import { minify } from "terser";
import uglify from "uglify-js";

const here = fileURLToPath(new URL(".", import.meta.url));
const check = process.argv.includes("--check");
const goals = { "tracker.js": 4096, "messenger.js": 9216, "handover.js": 1536, "rules.js": 2048, "intercom.js": 2048 };
let failed = false;

/** One script of plain text without white space, the same for the same sources. */
async function bundle(entry, define = {}) {
  const bundled = await build({
    absWorkingDir: here,
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2020",
    charset: "utf8",
    legalComments: "none",
    tsconfigRaw: "{}", // else a "use strict" for tsc is written out
    // Many a page has a `var URL` of its own; the other name that the URL standard gives the class is left alone.
    define: { ...define, URL: "webkitURL" },
  });
  // The two together save more than each alone: one finds more to leave out, the other names what is left more alike.
  const small = await minify(bundled.outputFiles[0].text, {
    ecma: 2020,
    module: true,
    toplevel: true,
    compress: { passes: 4, unsafe: true, unsafe_comps: true, unsafe_arrows: true, unsafe_methods: true, pure_getters: true, hoist_funs: true },
    mangle: { toplevel: true },
    format: { comments: false },
  });
  const smaller = uglify.minify(small.code, {
    module: true,
    toplevel: true,
    compress: { passes: 4, pure_getters: true, hoist_funs: true, hoist_vars: true },
  });
  if (smaller.error) throw smaller.error;
  return smaller.code + "\n";
}

/** A classic script, whose names would be the page's otherwise. */
const classic = (text) => `(()=>{${text.trim()}})()\n`;

function finish(name, text) {
  const path = here + name;
  const raw = Buffer.from(text);
  const gzip = gzipSync(raw, { level: 9 }).length;
  console.log(`${name}: ${raw.length} bytes, ${gzip} gzip (goal ${goals[name]}), ${brotliCompressSync(raw).length} brotli`);
  if (!check) return writeFileSync(path, raw);
  if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
    failed = true;
    console.error(`${name} is not what the sources make: run node static/build.mjs`);
  }
}

const messenger = await bundle("src/messenger/main.js");
const digest = createHash("sha256").update(messenger).digest("hex").slice(0, 12);
const tracker = await bundle("src/tracker/main.js", { MESSENGER: JSON.stringify(`messenger-${digest}.js`) });
finish("messenger.js", messenger);
finish("tracker.js", classic(tracker));
finish("intercom.js", classic(await bundle("src/intercom/main.js")));
finish("handover.js", await bundle("src/handover/main.js"));
finish("rules.js", await bundle("src/rules/main.js"));
process.exit(failed ? 1 : 0);
