// Passkeys, and nothing else: asks the browser for one and sends the answer in an ordinary form. The pages that
// load this work without it too; what needs it is hidden until it runs.
"use strict";

const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");

const toBytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));

const create = async (form) => {
  const { challenge, rp, user, username, exclude } = form.dataset;
  const credential = await navigator.credentials.create({
    publicKey: {
      challenge: toBytes(challenge),
      rp: { id: rp, name: rp },
      user: { id: toBytes(user), name: username, displayName: username },
      pubKeyCredParams: [-7, -8, -257].map((alg) => ({ type: "public-key", alg })),
      excludeCredentials: exclude.split(" ").filter(Boolean).map((id) => ({ type: "public-key", id: toBytes(id) })),
      authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
      attestation: "none",
    },
  });
  return {
    id: toText(credential.rawId),
    clientDataJSON: toText(credential.response.clientDataJSON),
    attestationObject: toText(credential.response.attestationObject),
  };
};

const get = async (form) => {
  const { challenge, rp } = form.dataset;
  const credential = await navigator.credentials.get({
    publicKey: { challenge: toBytes(challenge), rpId: rp, userVerification: "required" },
  });
  const { clientDataJSON, authenticatorData, signature, userHandle } = credential.response;
  const answer = {
    id: toText(credential.rawId),
    clientDataJSON: toText(clientDataJSON),
    authenticatorData: toText(authenticatorData),
    signature: toText(signature),
  };
  return userHandle ? { ...answer, userHandle: toText(userHandle) } : answer;
};

const ask = async (event) => {
  const form = event.currentTarget;
  if (form.elements.credential.value) return;
  event.preventDefault();
  const said = form.querySelector("[data-said]");
  said.textContent = "";
  try {
    const answer = await (form.dataset.passkey === "create" ? create(form) : get(form));
    form.elements.credential.value = JSON.stringify(answer);
    form.submit();
  } catch (error) {
    const known = error.name === "InvalidStateError";
    said.textContent = known
      ? "This device has a passkey for this account already."
      : "That did not work, or was cancelled. Try again.";
  }
};

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.addEventListener("submit", ask);
    // An address cannot have passkeys, only a name can.
    form.hidden = !form.dataset.rp;
  }
}
