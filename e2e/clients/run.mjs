// What one start of a client does, whichever SDK it is made with: connect (logging in if it has to), list
// the tools, call whoami and echo, and print what it saw as one line of JSON.
//
// usage: node sdk-vN.mjs URL STORE [--login] [--negotiate]
//   --login       a login may happen; without it, being sent to the browser is an error
//   --negotiate   let the SDK find out the protocol revision (v2 only)
// environment: E2E_USERNAME, E2E_PASSWORD

import { FileProvider } from "./store.mjs";

/** Counts what goes to the authorization server, so that a test can tell a refresh from a login. */
function recorded(requests) {
  return async (input, init) => {
    const response = await fetch(input, init);
    const url = new URL(input instanceof Request ? input.url : input);
    if (url.pathname === "/token" || url.pathname === "/register") {
      const grant = url.pathname === "/token" ? new URLSearchParams(init.body).get("grant_type") : "registration";
      requests.push(`${grant} ${response.status}`);
    }
    return response;
  };
}

/** sdk: { newClient, newTransport, UnauthorizedError, finishArgument, version } */
export async function run(sdk) {
  const [url, store, ...flags] = process.argv.slice(2);
  const provider = new FileProvider(store, {
    username: process.env.E2E_USERNAME,
    password: process.env.E2E_PASSWORD,
    mayLogIn: flags.includes("--login"),
  });
  await provider.listen();
  const requests = [];
  const connect = async () => {
    const client = sdk.newClient({ name: "doorward-e2e", version: "1" }, flags.includes("--negotiate"));
    const transport = sdk.newTransport(new URL(url), { authProvider: provider, fetch: recorded(requests) });
    try {
      await client.connect(transport);
      return { client, transport };
    } catch (error) {
      if (!(error instanceof sdk.UnauthorizedError) || !provider.callback) throw error;
      await transport.finishAuth(sdk.finishArgument(provider.callback));
      provider.callback = undefined;
      return undefined;
    }
  };
  const { client, transport } = (await connect()) ?? (await connect());
  const { tools } = await client.listTools();
  const whoami = await client.callTool({ name: "whoami", arguments: {} });
  const echo = await client.callTool({ name: "echo", arguments: { text: "through the door" } });
  const seen = {
    protocol: sdk.version(client, transport),
    tools: tools.map((tool) => tool.name).sort(),
    whoami: whoami.structuredContent,
    echo: echo.content,
    logins: provider.logins,
    requests,
  };
  await client.close();
  provider.close();
  process.stdout.write(`${JSON.stringify(seen)}\n`);
}
