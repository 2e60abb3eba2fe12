// A person at a browser without JavaScript: opens the authorization URL, signs in, approves.
//
// environment: E2E_PAGES, a file to which the words of each consent page are added as a line of JSON

import { appendFileSync } from "node:fs";

const entities = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function decode(text) {
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) =>
    hex ? String.fromCodePoint(parseInt(hex, 16)) : decimal ? String.fromCodePoint(Number(decimal)) : (entities[name] ?? whole),
  );
}

function attributes(tag) {
  const found = {};
  for (const [, name, , double, single, bare] of tag.matchAll(/([\w-]+)(\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+)))?/g)) {
    found[name.toLowerCase()] ??= decode(double ?? single ?? bare ?? "");
  }
  return found;
}

/** What a person reads on a page: for messages when a login goes wrong. */
function words(html) {
  return decode(html.replace(/<(style|script|svg)\b[\s\S]*?<\/\1>|<[^>]*>/gi, " ").replace(/\s+/g, " ")).trim();
}

/** The form of a page that has a field or button of that name, as { action, fields }. */
function formWith(html, name, base) {
  for (const [, tag, body] of html.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)) {
    const controls = [...body.matchAll(/<(?:input|button)\b([^>]*)>/gi)].map(([, control]) => attributes(control));
    if (!controls.some((control) => control.name === name)) continue;
    const fields = new URLSearchParams();
    for (const control of controls) {
      // A button is sent only when it is pressed; a person leaves every offered box ticked.
      if (control.name && ["hidden", "checkbox"].includes(control.type)) {
        fields.append(control.name, control.value ?? "on");
      }
    }
    return { action: new URL(attributes(tag).action || base, base), fields };
  }
  return undefined;
}

class Browser {
  #cookies = new Map();

  async #send(url, init) {
    const headers = { accept: "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document", ...init.headers };
    if (this.#cookies.size > 0) {
      headers.cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    }
    const response = await fetch(url, { ...init, headers, redirect: "manual" });
    for (const line of response.headers.getSetCookie()) {
      const [pair] = line.split(";");
      const at = pair.indexOf("=");
      const name = pair.slice(0, at).trim();
      if (/max-age=0/i.test(line)) this.#cookies.delete(name);
      else this.#cookies.set(name, pair.slice(at + 1).trim());
    }
    const page = { url: new URL(url), status: response.status, location: response.headers.get("location") };
    page.html = await response.text();
    return page;
  }

  /** Follows redirects within the site; the one that leaves it is handed back. */
  async #follow(page) {
    for (let hop = 0; hop < 10; hop += 1) {
      if (page.status < 300 || page.status >= 400) return page;
      const next = new URL(page.location, page.url);
      if (next.origin !== page.url.origin) return page;
      page = await this.#send(next, { headers: { "sec-fetch-site": "same-origin" } });
    }
    throw new Error("more than ten redirects");
  }

  async open(url) {
    return this.#follow(await this.#send(url, { headers: { "sec-fetch-site": "none" } }));
  }

  async submit(page, name, filled) {
    const form = formWith(page.html, name, page.url);
    if (!form) throw new Error(`no form with ${name} at ${page.url} (${page.status}): ${words(page.html)}`);
    for (const [field, value] of Object.entries(filled)) form.fields.set(field, value);
    const headers = {
      "content-type": "application/x-www-form-urlencoded",
      origin: page.url.origin,
      "sec-fetch-site": "same-origin",
    };
    return this.#follow(await this.#send(form.action, { method: "POST", headers, body: form.fields.toString() }));
  }
}

/** Signs in, approves, and calls the client's callback, as a browser does at the last redirect. */
export async function login(url, username, password) {
  const browser = new Browser();
  const signIn = await browser.open(url);
  const consent = await browser.submit(signIn, "password", { username, password });
  if (process.env.E2E_PAGES) appendFileSync(process.env.E2E_PAGES, `${JSON.stringify(words(consent.html))}\n`);
  const done = await browser.submit(consent, "decision", { decision: "approve" });
  if (!done.location) throw new Error(`no redirect to the client (${done.status}): ${words(done.html)}`);
  await arrive(new URL(done.location, done.url));
}

/** The last redirect. A client may still be opening its listener: a person presses reload. */
export async function arrive(url) {
  for (const end = Date.now() + 60_000; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    try {
      return await fetch(url);
    } catch (error) {
      if (error.cause?.code !== "ECONNREFUSED" || Date.now() > end) throw error;
    }
  }
}
