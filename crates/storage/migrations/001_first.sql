-- Times are milliseconds since 1970, ids and digests are blobs, lists and documents are JSON.
-- Every table carries its tenant; there is one so far. A parent's removal takes its children along.

CREATE TABLE meta (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant TEXT NOT NULL,
    username TEXT NOT NULL,
    password_hash TEXT,
    group_names TEXT NOT NULL,
    admin INTEGER NOT NULL CHECK (admin IN (0, 1)),
    disabled INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    created INTEGER NOT NULL,
    UNIQUE (tenant, username)
) STRICT, WITHOUT ROWID;

-- One per user: a new link voids the one before.
CREATE TABLE setup_links (
    token BLOB NOT NULL PRIMARY KEY CHECK (length(token) = 32),
    tenant TEXT NOT NULL,
    user_id BLOB NOT NULL UNIQUE REFERENCES users ON DELETE CASCADE,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    tenant TEXT NOT NULL,
    user_id BLOB NOT NULL REFERENCES users ON DELETE CASCADE,
    authenticated_at INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_user ON sessions (user_id);

CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('dynamic')),
    status TEXT NOT NULL CHECK (status IN ('approved', 'pending')),
    metadata TEXT NOT NULL,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX clients_by_last_use ON clients (last_used, id);

CREATE TABLE decisions (
    nonce BLOB NOT NULL PRIMARY KEY CHECK (length(nonce) = 32),
    tenant TEXT NOT NULL,
    session_id BLOB NOT NULL CHECK (length(session_id) = 32),
    answer TEXT NOT NULL CHECK (answer IN ('approved', 'denied')),
    scopes TEXT,
    code BLOB,
    decided INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    CHECK ((answer = 'approved') = (scopes IS NOT NULL AND code IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant TEXT NOT NULL,
    user_id BLOB NOT NULL REFERENCES users ON DELETE CASCADE,
    client_id TEXT NOT NULL REFERENCES clients ON DELETE CASCADE,
    redirect_host TEXT NOT NULL,
    resource TEXT NOT NULL,
    scopes TEXT NOT NULL,
    evidence TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    UNIQUE (user_id, client_id, redirect_host, resource)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_of_client ON grants (client_id);

CREATE TABLE codes (
    code BLOB NOT NULL PRIMARY KEY CHECK (length(code) = 32),
    tenant TEXT NOT NULL,
    grant_id BLOB NOT NULL REFERENCES grants ON DELETE CASCADE,
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    client_id TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    code_challenge TEXT NOT NULL,
    resource TEXT NOT NULL,
    scopes TEXT NOT NULL,
    issued INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'redeemed', 'void')),
    family_id BLOB,
    misses INTEGER NOT NULL,
    CHECK ((state = 'redeemed') = (family_id IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_of_grant ON codes (grant_id);

CREATE TABLE families (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant TEXT NOT NULL,
    grant_id BLOB NOT NULL REFERENCES grants ON DELETE CASCADE,
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    client_id TEXT NOT NULL,
    resource TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL,
    late_repeat INTEGER,
    revoked INTEGER NOT NULL CHECK (revoked IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX families_of_grant ON families (grant_id);
CREATE INDEX families_of_client ON families (client_id);

-- One token per position: two successors of one token cannot both be there, whatever a caller does.
CREATE TABLE refresh_tokens (
    token BLOB NOT NULL PRIMARY KEY CHECK (length(token) = 32),
    tenant TEXT NOT NULL,
    family_id BLOB NOT NULL REFERENCES families ON DELETE CASCADE,
    counter INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    issued INTEGER NOT NULL,
    rotated INTEGER,
    UNIQUE (family_id, counter)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: a number is never given out twice, not even after its row was swept.
CREATE TABLE revocations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('family', 'user', 'client')),
    target TEXT NOT NULL,
    at INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('access_token', 'refresh_token')),
    state TEXT NOT NULL CHECK (state IN ('active', 'retired')),
    sealed BLOB NOT NULL,
    public_jwk TEXT,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX one_active_key ON keys (tenant, purpose) WHERE state = 'active';
