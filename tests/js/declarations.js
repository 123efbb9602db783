/**
 * The types of what a site may import, as `.d.ts`: `node tests/js/declarations.js` writes them from the JSDoc of the modules
 * into `progress/static/progress/types/`, `--check` says whether they are as they should be.
 */

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import ts from "typescript";

const HERE = dirname(fileURLToPath(import.meta.url));
const MODULES = resolve(HERE, "../../progress/static/progress");
const TYPES = join(MODULES, "types");
const PUBLIC = ["list-words", "log-lines", "progress-socket", "requests", "task-list", "task-log", "task-progress", "wishes"];

/** @returns {Map<string, string>} Name of each file → its text. */
function declarations() {
  const { config } = ts.readConfigFile(join(HERE, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, HERE);
  Object.assign(options, { noEmit: false, declaration: true, emitDeclarationOnly: true, outDir: TYPES, rootDir: MODULES });
  const found = new Map();
  const program = ts.createProgram(PUBLIC.map((name) => join(MODULES, `${name}.js`)), options);
  program.emit(undefined, (path, text) => {
    const name = basename(path);
    if (!PUBLIC.includes(name.replace(".d.ts", ""))) return;
    found.set(name, text.replaceAll('"./protocol.d.ts"', '"../protocol.d.ts"'));
  });
  return found;
}

const wanted = declarations();
mkdirSync(TYPES, { recursive: true });
if (process.argv.includes("--check")) {
  const there = readdirSync(TYPES);
  const wrong = [...wanted].filter(([name, text]) => !there.includes(name) || readFileSync(join(TYPES, name), "utf8") !== text);
  const extra = there.filter((name) => !wanted.has(name));
  if (wrong.length || extra.length) {
    console.error(`The types of ${[...wrong.map(([name]) => name), ...extra].join(", ")} are old: npm run declarations`);
    process.exit(1);
  }
} else {
  for (const [name, text] of wanted) writeFileSync(join(TYPES, name), text);
}
