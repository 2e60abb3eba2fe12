// What one start of a client does, whichever SDK it is made with: connect (logging in if it has to), list
// the tools, make the calls it is asked for, and print what it saw as one line of JSON.
//
// usage: node sdk-vN.mjs URL STORE [--negotiate]
//   --negotiate   let the SDK find out the protocol revision (v2 only)
// environment: E2E_METADATA_URL, the URL of the client's metadata document, if it has one;
// E2E_CALLS, a JSON list of [tool, arguments]; E2E_STEP_UP, with which calls may send the person to the browser
// again, and the words of a call that fails are its answer; E2E_USERNAME, E2E_PASSWORD; E2E_LOGIN, without which
// being sent to the browser is an error

import { FileProvider } from "./store.mjs";

/** Lists, calls, prints and closes; `transport` is told to end its session if it has one. A call that sends the
 * person to the browser is made again once `authorized` has taken what the browser came back with. */
export async function report(client, protocol, transport, authorized = () => false) {
  const { tools } = await client.listTools();
  const answers = [];
  for (const [name, args] of JSON.parse(process.env.E2E_CALLS)) {
    const call = () => client.callTool({ name, arguments: args });
    try {
      const answer = call().catch(async (error) => {
        if (await authorized(error)) return call();
        throw error;
      });
      const { content, structuredContent } = await answer;
      answers.push({ content, structuredContent });
    } catch (error) {
      if (!process.env.E2E_STEP_UP) throw error;
      answers.push({ error: error.message });
    }
  }
  await transport.terminateSession?.();
  await client.close();
  process.stdout.write(`${JSON.stringify({ protocol, tools: tools.map((tool) => tool.name).sort(), answers })}\n`);
}

/** sdk: { newClient, newTransport, UnauthorizedError, finishArgument, version } */
export async function run(sdk) {
  const [url, store, ...flags] = process.argv.slice(2);
  const provider = new FileProvider(store, {
    username: process.env.E2E_USERNAME,
    password: process.env.E2E_PASSWORD,
    mayLogIn: Boolean(process.env.E2E_LOGIN),
  });
  await provider.listen();
  const connect = async () => {
    const client = sdk.newClient({ name: "doorward-e2e", version: "1" }, flags.includes("--negotiate"));
    const transport = sdk.newTransport(new URL(url), { authProvider: provider });
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
  const authorized = async (error) => {
    if (!(error instanceof sdk.UnauthorizedError) || !provider.callback) return false;
    await transport.finishAuth(sdk.finishArgument(provider.callback));
    provider.callback = undefined;
    return true;
  };
  await report(client, sdk.version(client, transport), transport, authorized);
  provider.close();
}
