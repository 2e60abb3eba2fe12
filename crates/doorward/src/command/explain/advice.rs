//! What to do about a refusal, in one sentence for the person who runs the server.

/// From what happened, the reason (a word of the code), the rule's id, and the client. The most exact one that is known.
pub(super) fn advice(what: &str, reason: &str, rule: &str, client: Option<&str>) -> String {
    if what.contains("sign-in: failed") {
        return "The user name and the password did not fit. If the person forgot it: `doorward user passwd NAME`.".into();
    }
    // A reason may carry what it is about, as in `ClientPending(…)`.
    let word = reason.split(['(', ' ', ':']).next().unwrap_or_default();
    if word == "ClientPending" {
        return format!(
            "This client waits for approval. If you know it: `doorward client approve {}`.",
            client.unwrap_or("CLIENT_ID")
        );
    }
    by_reason(word)
        .or_else(|| by_rule(rule))
        .unwrap_or("Look at the steps above; the log has the same trace id on each of its lines.")
        .into()
}

fn by_reason(word: &str) -> Option<&'static str> {
    by_page(word)
        .or_else(|| by_token(word))
        .or_else(|| by_call(word))
        .or_else(|| by_message(word))
}

/// What a person was told on a page.
fn by_page(word: &str) -> Option<&'static str> {
    Some(match word {
        "UnregisteredRedirect" | "MissingRedirect" => {
            "The client asked to return to an address that it did not register. Addresses are compared letter by letter; only the port of a loopback address may differ. Let the client register again, or register the address that it uses."
        }
        "UnknownClient" => {
            "The client is not registered here any more. Remove the server from the client and add it again, so that it registers anew."
        }
        "ClientDisabled" => {
            "An operator switched this client off. `doorward client list` shows it; `doorward client enable` lets it in again."
        }
        "Expired" => {
            "It was used too late. Begin the login again from the client; if it happens again, compare the clocks and the configured lifetimes."
        }
        "OtherBrowser" | "SignedOut" | "AlreadyAnswered" | "NoAnswer" | "ClientChanged" => {
            "The page did not belong to this browser's sign-in any more. Begin the login again from the client."
        }
        "SetupLink" => "The link was used or is too old. Make a new one: `doorward user passwd NAME`.",
        "AmbiguousClient" | "MissingClient" | "Unreadable" | "StateTooLong" => {
            "The client sent a request that cannot be read. This is an error in the client: tell its makers the rule above."
        }
        "DocumentUnread" => {
            "The client's metadata document could not be fetched. Open its address yourself; the log says why it was not read."
        }
        "DocumentRefused" | "DocumentAddress" => {
            "The client's metadata document is not valid. This is an error in the client: tell its makers the rule above."
        }
        "DocumentHostDenied" | "DocumentsOff" => {
            "Clients that are known by a web address are restricted by `client_metadata_documents` in the configuration."
        }
        "access_denied" => "The person, or a rule for this account, said no. Nothing has to be repaired.",
        "login_required" | "consent_required" => {
            "The client asked not to show a page (`prompt=none`) where one is needed. It has to ask again without."
        }
        _ => return None,
    })
}

/// What the token endpoint told a client.
fn by_token(word: &str) -> Option<&'static str> {
    Some(match word {
        "CodeMismatch" => {
            "The client redeemed the code with another client_id, redirect_uri or code_verifier than it began with. The verifier must be the one whose SHA-256 was sent as code_challenge. This is an error in the client, or somebody else's attempt with its code."
        }
        "CodeRedeemed" => {
            "The code was used a second time, so everything that came of it was revoked. If a client retried: it must keep the first answer. If none did: somebody has read the code on its way."
        }
        "CodeExpired" => {
            "The client took longer than a minute to redeem the code. Compare its connection and the clocks."
        }
        "CodeVoid" => {
            "Five wrong attempts were made with this code. Begin the login again; look who made them."
        }
        "UnknownCode" => "This code was never issued here, or is long forgotten. Begin the login again.",
        "UnknownRefreshToken" | "Revoked" => {
            "The login was ended here, by a person, an operator or a rule. The client has to log in again."
        }
        "Replayed" => {
            "A refresh token that had been replaced long ago was used again, so the login was ended: two programs have a copy of it. Find out which; then log in again."
        }
        "WrongClient" => "A client presented a token of another client. Each has to log in for itself.",
        "NoLongerAllowed" => {
            "The account, the client or the access rule of the server changed after the login. See `doorward user list`, `doorward client list` and `allow` of the server."
        }
        "Resource" | "ResourceMissing" | "ResourceUnknown" => {
            "The client named another server (`resource`) than the login was for. One token is good for one server."
        }
        "Scope" | "invalid_scope" => {
            "The client asked for a scope that was not granted, or that does not exist."
        }
        "Call" => "The client did not authenticate as it registered to, or sent a form that cannot be read.",
        "GrantNotRegistered" | "NotForItself" | "UnsupportedGrantType" => {
            "The client asked for a token in a way that it is not registered for. `doorward client show` tells its grant types."
        }
        "DeviceDenied" => "The person denied the device. Nothing has to be repaired.",
        "DeviceExpired" => "Nobody entered the device's code in time. Begin the login again on the device.",
        _ => return None,
    })
}

/// What the gateway told a client.
fn by_call(word: &str) -> Option<&'static str> {
    Some(match word {
        "no_token" => {
            "The call came without a token: that is how every login begins. If the client does not go on, it did not follow the WWW-Authenticate header."
        }
        "insufficient_scope" => {
            "The token lacks a scope that this call needs. The client has to log in again with the scopes of the challenge, and the person has to tick them."
        }
        "not_allowed" => {
            "The server's `allow` rule does not name this account. Add it there, if it should have access."
        }
        "no_scope_opens_it" => {
            "No scope of this server names what was asked for, so nobody may use it. If somebody should: name it in a scope of `[servers.scopes]`."
        }
        "scope_not_for_user" => {
            "This account may not have a scope that the call needs: that scope has an `allow` rule, which does not name it. Another login does not help; the operator can add the account there."
        }
        "scope_not_for_client" => {
            "This client is registered for fewer scopes than the call needs. Use another client, or register it with them: `scope` of its registration, `scopes` in `[[clients]]`."
        }
        "rate_limited" => {
            "More was asked for than `[limits]` allows in that time; nothing was done. The client may go on after the time in `Retry-After`. If that is too little for honest use, raise the limit that is named."
        }
        "denied_by_policy" => {
            "The policy forbids this call to this account. No other token would help. If no policy is named, none permits it: `doorward policy test` tells what would."
        }
        "policy_failed" => {
            "A policy could not be evaluated for this call (a sum that overflows, say), so nothing was let through. Mend the policies that are named; `doorward policy test` shows the same."
        }
        "wrong_audience" => "The token is for another server. A client needs a login for each server.",
        "expired" => {
            "The token has expired. Clients refresh it at this point; this one did not, or could not."
        }
        "revoked" => {
            "The login was ended here, by a person, an operator or a rule. The client has to log in again."
        }
        "unknown_key" | "bad_signature" => {
            "The token was not signed here, or with a key that was revoked. The client has to log in again."
        }
        "origin" => {
            "A web page called from an origin that is not known. If it should: add it to `allowed_origins`."
        }
        "bad_credential" => {
            "The Authorization header cannot be read: it must be `Bearer` and one token, sent once."
        }
        "upstream_unreachable" | "upstream_failed" | "upstream_timed_out" => {
            "The MCP server behind this address did not answer. Look at it, and at the log."
        }
        _ => return None,
    })
}

/// What was wrong with a message, or with what answers it.
fn by_message(word: &str) -> Option<&'static str> {
    Some(match word {
        "malformed" | "wrong_type" | "id_token" | "wrong_issuer" | "wrong_tenant" | "missing_claim"
        | "bad_claim" | "sender_constrained" => {
            "This is no access token of this server. The client has to log in here, and to send the access token that it is given."
        }
        "not_yet_valid" => "The token is from the future: compare the clocks.",
        "unknown_task" | "unknown_request_state" => {
            "What was named was not handed out to this user and client, or is too old. The client has to begin that call anew."
        }
        "missing_capability" => {
            "The client asked about a task without declaring that it knows tasks, which the protocol forbids. Look at the client."
        }
        "unknown_session" => {
            "The session is over, or was begun by another user or client. Clients begin a new one with `initialize`."
        }
        "unknown_method" => {
            "The protocol has no such method in this revision. If it is an extension: name it in `methods` of a scope."
        }
        "blind" => {
            "Doorward could not read its own revocations for a minute, and lets nobody in until it can. Look at the data folder, its disk, and the log."
        }
        "body_too_large" | "body_timed_out" | "body_cut" => {
            "The client's message did not arrive whole, or is too long. Look at the client and at what lies between."
        }
        "upstream_refused" | "upstream_not_mcp" | "upstream_status" | "upstream_unreadable" => {
            "The MCP server behind this address answered in a way that cannot be passed on. Look at it, and at the log, which says what it answered."
        }
        _ => return None,
    })
}

fn by_rule(rule: &str) -> Option<&'static str> {
    Some(match rule {
        "B3" => {
            "A form came back that this browser was not given. If nobody attacked: cookies are turned off, or the page was older than the server's key."
        }
        "R17" => "The registration policy refused the client. See `[registration]` in the configuration.",
        "R18" => "The client has to use PKCE with S256.",
        "R19" => "The client has to name one server of this origin as `resource`.",
        "R37" => "The server's `allow` rule does not let this account or client in.",
        "A11" => "The client asked for a scope that does not exist here.",
        "S4" => {
            "Redirect addresses must be https, loopback, or of a scheme that is allowed in `[registration]`."
        }
        _ => return None,
    })
}
