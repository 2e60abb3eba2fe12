-- Tables whose CHECKs grow are made anew and filled; foreign keys are off meanwhile (they would take the
-- children along) and checked afterwards.

CREATE TABLE clients_new (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    origin TEXT NOT NULL
        CHECK (origin IN ('dynamic', 'confidential', 'operator', 'configured', 'metadata_document')),
    status TEXT NOT NULL CHECK (status IN ('approved', 'pending', 'disabled')),
    metadata TEXT NOT NULL,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL,
    secret BLOB CHECK (length(secret) = 32),
    registration_token BLOB CHECK (length(registration_token) = 32),
    servers TEXT,
    introspects TEXT NOT NULL,
    document TEXT,
    expires INTEGER,
    approved INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO clients_new (id, tenant, origin, status, metadata, created, last_used, introspects)
    SELECT id, tenant, origin, status, metadata, created, last_used, '[]' FROM clients;
DROP TABLE clients;
ALTER TABLE clients_new RENAME TO clients;
CREATE INDEX clients_by_last_use ON clients (last_used, id);

ALTER TABLE sessions ADD COLUMN device TEXT;
ALTER TABLE sessions ADD COLUMN methods TEXT NOT NULL DEFAULT '[]';
ALTER TABLE codes ADD COLUMN trace BLOB CHECK (length(trace) = 16);
ALTER TABLE families ADD COLUMN trace BLOB CHECK (length(trace) = 16);
ALTER TABLE families ADD COLUMN device TEXT;
CREATE INDEX families_of_user ON families (user_id);

-- The numbering goes on where it was, also if every entry has been swept.
CREATE TABLE revocations_new (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('family', 'user', 'client', 'token', 'everything')),
    target TEXT NOT NULL,
    at INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
INSERT INTO revocations_new SELECT sequence, tenant, kind, target, at, expires FROM revocations;
DELETE FROM sqlite_sequence WHERE name = 'revocations_new';
INSERT INTO sqlite_sequence (name, seq) SELECT 'revocations_new', seq FROM sqlite_sequence WHERE name = 'revocations';
DROP TABLE revocations;
ALTER TABLE revocations_new RENAME TO revocations;

CREATE TABLE keys_new (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('access_token', 'refresh_token')),
    state TEXT NOT NULL CHECK (state IN ('next', 'active', 'retired')),
    sealed BLOB NOT NULL,
    public_jwk TEXT,
    created INTEGER NOT NULL,
    activated INTEGER,
    retired INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO keys_new (id, tenant, purpose, state, sealed, public_jwk, created, activated, retired)
    SELECT id, tenant, purpose, state, sealed, public_jwk, created, created, NULL FROM keys;
DROP TABLE keys;
ALTER TABLE keys_new RENAME TO keys;
CREATE UNIQUE INDEX one_active_key ON keys (tenant, purpose) WHERE state = 'active';
CREATE UNIQUE INDEX one_next_key ON keys (tenant, purpose) WHERE state = 'next';

CREATE TABLE authenticators (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant TEXT NOT NULL,
    user_id BLOB NOT NULL REFERENCES users ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('passkey', 'totp', 'recovery_code')),
    name TEXT NOT NULL,
    lookup BLOB UNIQUE CHECK (length(lookup) = 32),
    sealed BLOB NOT NULL,
    counter INTEGER NOT NULL,
    created INTEGER NOT NULL,
    last_used INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX authenticators_of_user ON authenticators (user_id);

CREATE TABLE replays (
    key BLOB NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    tenant TEXT NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_by_end ON replays (expires);

CREATE TABLE device_authorizations (
    device_code BLOB NOT NULL PRIMARY KEY CHECK (length(device_code) = 32),
    tenant TEXT NOT NULL,
    user_code BLOB NOT NULL UNIQUE CHECK (length(user_code) = 32),
    client_id TEXT NOT NULL REFERENCES clients ON DELETE CASCADE,
    resource TEXT NOT NULL,
    offered TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    interval_seconds INTEGER NOT NULL,
    last_poll INTEGER,
    state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'redeemed')),
    user_id BLOB,
    grant_id BLOB REFERENCES grants ON DELETE CASCADE,
    scopes TEXT,
    family_id BLOB,
    trace BLOB CHECK (length(trace) = 16),
    CHECK ((state = 'approved') = (user_id IS NOT NULL AND grant_id IS NOT NULL AND scopes IS NOT NULL)),
    CHECK ((state = 'redeemed') = (family_id IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX device_authorizations_of_client ON device_authorizations (client_id);
CREATE INDEX device_authorizations_of_grant ON device_authorizations (grant_id);
CREATE INDEX device_authorizations_by_end ON device_authorizations (expires);

-- Tells copies of this database from other installations'.
INSERT INTO meta (tenant, name, value) VALUES ('default', 'installation', randomblob(16));
