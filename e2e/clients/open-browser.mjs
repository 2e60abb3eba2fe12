// What `xdg-open` and `BROWSER` are on a machine under test: a person who signs in and approves, or, when
// nobody is at the machine, one who declines at once, so that the client fails instead of waiting.
//
// usage: node open-browser.mjs URL
// environment: E2E_USERNAME, E2E_PASSWORD, E2E_LOGIN (set: somebody is there)

import { arrive, login } from "./browser.mjs";

const url = new URL(process.argv.at(-1));
if (process.env.E2E_LOGIN) {
  await login(url, process.env.E2E_USERNAME, process.env.E2E_PASSWORD);
} else {
  const back = new URL(url.searchParams.get("redirect_uri"));
  back.searchParams.set("error", "access_denied");
  back.searchParams.set("error_description", "a login was not expected");
  back.searchParams.set("state", url.searchParams.get("state") ?? "");
  await arrive(back);
}
