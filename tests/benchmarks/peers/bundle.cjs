/**
 * `node bundle.cjs ENTRY MODULES COLLECTOR FOLDER FORMAT` writes the minified peer.js of one entry and its parts to FOLDER, with packages
 * taken from MODULES. `node bundle.cjs` says how many bytes brotli makes of standard input.
 */
const { readFileSync } = require("node:fs");
const { brotliCompressSync } = require("node:zlib");

const [entry, modules, collector, folder, format] = process.argv.slice(2);
if (entry) {
  require("../../../static/node_modules/esbuild").buildSync({
    entryPoints: { peer: entry },
    nodePaths: [modules],
    outdir: folder,
    bundle: true,
    minify: true,
    format,
    splitting: format === "esm",
    target: "es2020",
    legalComments: "none",
    tsconfigRaw: "{}",
    define: { COLLECTOR: JSON.stringify(collector), "process.env.NODE_ENV": '"production"' },
  });
} else console.log(brotliCompressSync(readFileSync(0)).length);
