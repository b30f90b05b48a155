// Makes public/app.js of src and of the clients' sources beside this folder.
import { build } from "esbuild";

await build({
  entryPoints: ["src/main.ts"],
  outfile: "public/app.js",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  alias: {
    rowcall: "../../clients/ts/src/index.ts",
    "rowcall-textcrdt": "../../clients/textcrdt/src/index.ts",
    "rowcall-textcrdt/provider": "../../clients/textcrdt/src/provider.ts",
    "rowcall-textcrdt/codemirror": "../../clients/textcrdt/src/codemirror.ts",
    // What the clients import is this folder's, as it would be were they installed: there must be one CodeMirror.
    "@codemirror/state": "@codemirror/state",
    "@codemirror/view": "@codemirror/view",
    fflate: "fflate",
  },
});
