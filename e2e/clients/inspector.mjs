// The Inspector on the command line, which does one thing per start.
//
// usage: node inspector.mjs URL ERA
// environment: E2E_CALLS (see run.mjs), and what open-browser.mjs reads

import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const program = fileURLToPath(
  new URL("./node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js", import.meta.url),
);
const [url, era] = process.argv.slice(2);

/** Its callback has a fixed port unless told otherwise; another Inspector may be using that. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function inspect(mayLogIn, ...args) {
  const login = mayLogIn
    ? ["--callback-url", `http://127.0.0.1:${await freePort()}/oauth/callback`]
    : ["--stored-auth-only"];
  const all = ["--cli", url, "--transport", "http", "--protocol-era", era, "--format", "json", ...login, ...args];
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...all], {
    env: { ...process.env, MCP_AUTO_OPEN_ENABLED: "true", MCP_INSPECTOR_SECRET_STORE: "file" },
  });
  const { result } = JSON.parse(stdout);
  return result;
}

const { tools } = await inspect(Boolean(process.env.E2E_LOGIN), "--method", "tools/list");
const answers = [];
for (const [name, args] of JSON.parse(process.env.E2E_CALLS)) {
  const words = ["--method", "tools/call", "--tool-name", name, "--tool-args-json", JSON.stringify(args)];
  try {
    const { content, structuredContent } = await inspect(Boolean(process.env.E2E_STEP_UP), ...words);
    answers.push({ content, structuredContent });
  } catch (error) {
    if (!process.env.E2E_STEP_UP) throw error;
    // Its last line is for programs.
    answers.push({ error: JSON.parse(error.stderr.trim().split("\n").at(-1)).error.message });
  }
}
process.stdout.write(`${JSON.stringify({ tools: tools.map((tool) => tool.name).sort(), answers })}\n`);
