// Builds the page into dist/: index.html, assets/ and the licences of what was bundled.
// `node build.mjs --watch` rebuilds on every change, for development.
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { context } from "esbuild";

const BUNDLED = ["preact", "@preact/signals", "@preact/signals-core", "uplot"];

const watch = process.argv.includes("--watch");
rmSync("dist", { recursive: true, force: true });
mkdirSync("dist/assets", { recursive: true });
cpSync("index.html", "dist/index.html");
cpSync("src/icon.svg", "dist/assets/icon.svg");
writeFileSync("dist/assets/licenses.txt", BUNDLED.map(licence).join("\n"));

const bundle = await context({
  entryPoints: { main: "src/main.tsx" },
  outdir: "dist/assets",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !watch,
  sourcemap: watch,
  legalComments: "none",
  logLevel: "warning",
});
if (watch) {
  await bundle.watch();
} else {
  await bundle.rebuild();
  await bundle.dispose();
}

function licence(name) {
  const folder = `node_modules/${name}`;
  const { version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
  if (!file || !existsSync(`${folder}/${file}`)) throw new Error(`${name} has no licence file`);
  return `${name} ${version}\n\n${readFileSync(`${folder}/${file}`, "utf8")}`;
}
