//! Changes, and the facts they rest on.

use doorward_types::digest::Digest;
use doorward_types::id::{AuthenticatorId, ClientId, FamilyId, GrantId, KeyId, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;

use crate::account::{Session, SetupLink, User};
use crate::authenticator::Authenticator;
use crate::client::{Client, ClientStatus};
use crate::code::{Code, CodeState};
use crate::decision::Decision;
use crate::device::DeviceAuthorization;
use crate::grant::{Family, Grant};
use crate::key::{KeyState, StoredKey};
use crate::refresh::RefreshToken;
use crate::replay::Replay;
use crate::revocation::Revoked;

/// A fact that must still hold when a unit is applied; checked inside the same transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::large_enum_variant,
    reason = "a unit has a handful, which are moved once"
)]
pub enum Precondition {
    /// The user exists and is not disabled.
    UserEnabled(UserId),
    /// No user of the default tenant has this name.
    UsernameFree(String),
    /// The user exists (disabled or not).
    UserExists(UserId),
    /// The user is still exactly what was loaded.
    UserIs(User),
    /// The setup link exists: it was not used.
    SetupLinkExists(Digest),
    /// The session exists: it was not signed out.
    SessionExists(Digest),
    /// The client exists with this status.
    ClientHasStatus(ClientId, ClientStatus),
    /// The client exists.
    ClientExists(ClientId),
    /// No client has this id.
    ClientAbsent(ClientId),
    /// The client is still exactly what was loaded.
    ClientIs(Client),
    /// Fewer than this many self-service clients exist that have no grant and that nobody approved or disabled.
    UngrantedClientsBelow(u64),
    /// Nobody answered the consent page with this nonce.
    DecisionAbsent(Digest),
    /// The answer is still the one that was loaded, code included.
    DecisionIs(Decision),
    /// The grant exists: it was not revoked.
    GrantExists(GrantId),
    /// The live families under this grant are these, sorted.
    LiveFamiliesOfGrantAre(GrantId, Vec<FamilyId>),
    /// No grant exists for user × client × redirect host × resource of this one.
    GrantAbsent(Grant),
    /// The code is in this state with this many misses.
    CodeIs {
        /// Digest of the code.
        code: Digest,
        /// Its state.
        state: CodeState,
        /// Its misses.
        misses: u32,
    },
    /// The family exists and is not revoked.
    FamilyLive(FamilyId),
    /// The family's late repeat is still what was loaded.
    FamilyLateRepeatIs(FamilyId, Option<UnixTime>),
    /// The refresh token exists with this rotation time (`None`: it is the head).
    RefreshTokenRotatedIs(Digest, Option<UnixTime>),
    /// No active key has this one's purpose.
    NoActiveKeyLike(StoredKey),
    /// The key exists in this state.
    KeyHasState(KeyId, KeyState),
    /// The authenticator is still exactly what was loaded.
    AuthenticatorIs(Authenticator),
    /// Nobody used this name.
    ReplayAbsent(Digest),
    /// The device authorization is still exactly what was loaded.
    DeviceAuthorizationIs(DeviceAuthorization),
    /// Fewer than this many device authorizations exist.
    DeviceAuthorizationsBelow(u64),
    /// No device authorization has this user code.
    UserCodeFree(Digest),
    /// The note has this value (`None`: there is none).
    MetaIs {
        /// Its name.
        name: String,
        /// Its value.
        value: Option<Vec<u8>>,
    },
}

/// One change. Inserts fail the unit (as a conflict) if the row is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Adds a user.
    InsertUser(User),
    /// Replaces everything but id, tenant and creation time of a user.
    UpdateUser(User),
    /// Removes a user with sessions, setup links, grants, families, codes and refresh tokens.
    DeleteUser(UserId),
    /// Adds a setup link, voiding earlier ones of the same user.
    InsertSetupLink(SetupLink),
    /// Uses a setup link up.
    DeleteSetupLink(Digest),
    /// Voids the setup link of a user.
    DeleteSetupLinksOf(UserId),
    /// Adds a session.
    InsertSession(Session),
    /// Signs a session out.
    DeleteSession(Digest),
    /// Signs out every session of a user.
    DeleteSessionsOf(UserId),
    /// Adds a client.
    InsertClient(Client),
    /// Replaces everything but id, tenant and creation time of a client.
    UpdateClient(Client),
    /// Changes a client's status.
    SetClientStatus(ClientId, ClientStatus),
    /// Notes that a client was used.
    TouchClient(ClientId, UnixTime),
    /// Removes a client with grants, families, codes and refresh tokens.
    DeleteClient(ClientId),
    /// Removes at most this many self-service clients that have no grant, that nobody approved or disabled and
    /// that were last used before this time, oldest first: the room that a new registration needs.
    ReapClients {
        /// Last used before.
        before: UnixTime,
        /// At most.
        limit: u64,
    },
    /// Notes an answer on the consent page.
    InsertDecision(Decision),
    /// Replaces the answer with the same nonce.
    UpdateDecision(Decision),
    /// Adds a consent record.
    InsertGrant(Grant),
    /// Replaces scopes, evidence and update time of the grant with the same id.
    UpdateGrant(Grant),
    /// Removes a consent record with families, codes and refresh tokens.
    DeleteGrant(GrantId),
    /// Removes every consent record of a user, the same way.
    DeleteGrantsOf(UserId),
    /// Adds a code.
    InsertCode(Code),
    /// Changes a code's state and misses.
    SetCodeState {
        /// Digest of the code.
        code: Digest,
        /// New state.
        state: CodeState,
        /// New misses.
        misses: u32,
    },
    /// Adds a family.
    InsertFamily(Family),
    /// Notes that a family issued a token.
    TouchFamily(FamilyId, UnixTime),
    /// Notes a late repeat.
    SetFamilyLateRepeat(FamilyId, UnixTime),
    /// Marks a family revoked.
    RevokeFamily(FamilyId),
    /// Marks every family under a user's consent records revoked.
    RevokeFamiliesOf(UserId),
    /// Marks every family under a consent record revoked.
    RevokeFamiliesOfGrant(GrantId),
    /// Marks every family under a client's consent records revoked.
    RevokeFamiliesOfClient(ClientId),
    /// Marks every family revoked that has a refresh token whose successor this key derives.
    RevokeFamiliesOfKey(KeyId),
    /// Narrows or restores nothing: sets the widest scope of a family (used when policy tightened).
    SetFamilyScopes(FamilyId, ScopeSet),
    /// Adds a refresh token.
    InsertRefreshToken(RefreshToken),
    /// Notes that a refresh token was rotated.
    SetRefreshTokenRotated(Digest, UnixTime),
    /// Appends to the revocation feed; storage gives it the next sequence number.
    AppendRevocation {
        /// What.
        revoked: Revoked,
        /// When.
        at: UnixTime,
        /// When the entry can go.
        expires: UnixTime,
    },
    /// Adds a key.
    InsertKey(StoredKey),
    /// Makes the next key the active one; it must be [`KeyState::Next`], and no other may be active.
    ActivateKey(KeyId, UnixTime),
    /// Retires a key; one that is retired keeps its time.
    RetireKey(KeyId, UnixTime),
    /// Forgets a key.
    DeleteKey(KeyId),
    /// Replaces the sealed half of a key: the same secret under another master key.
    ReplaceSealed(KeyId, Vec<u8>),
    /// Adds an authenticator.
    InsertAuthenticator(Authenticator),
    /// Replaces name, sealed half, counter and last use of an authenticator.
    UpdateAuthenticator(Authenticator),
    /// Removes an authenticator.
    DeleteAuthenticator(AuthenticatorId),
    /// Removes every authenticator of a user.
    DeleteAuthenticatorsOf(UserId),
    /// Notes that a name was used.
    InsertReplay(Replay),
    /// Adds a device authorization.
    InsertDeviceAuthorization(DeviceAuthorization),
    /// Replaces interval, last poll and state of a device authorization. One that was denied or redeemed stays
    /// that.
    UpdateDeviceAuthorization(DeviceAuthorization),
    /// Keeps a note under a name, replacing the one before.
    SetMeta {
        /// Its name.
        name: String,
        /// Its value.
        value: Vec<u8>,
    },
    /// Ends everything that was handed out, as a restored backup must: every family is revoked; sessions,
    /// setup links, answers, codes and device authorizations are removed. Used names stay used.
    EndAll,
    /// Removes what time has ended: sessions, setup links, decisions, used names, device authorizations and codes
    /// (the last two a day after expiry), dead families (idle or absolute end before these times, or revoked a
    /// day ago), revocations, and self-service clients that nobody approved or disabled: whose registration expired, or
    /// that nobody uses.
    Sweep {
        /// The present.
        now: UnixTime,
        /// Families last used before this are dead.
        families_idle_since: UnixTime,
        /// Families created before this are dead.
        families_created_before: UnixTime,
        /// Clients without a grant last used before this go.
        clients_ungranted_since: UnixTime,
        /// Clients with a grant but no live family, last used before this, go.
        clients_unused_since: UnixTime,
    },
}

/// Preconditions and writes that are applied together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unit {
    /// What must still hold.
    pub preconditions: Vec<Precondition>,
    /// What changes.
    pub writes: Vec<Write>,
}

impl Unit {
    /// A unit without preconditions.
    #[must_use]
    pub fn writes(writes: Vec<Write>) -> Self {
        Self {
            preconditions: Vec::new(),
            writes,
        }
    }

    /// Whether it changes nothing: such a unit need not be committed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Adds a precondition.
    #[must_use]
    pub fn given(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    /// Adds a write.
    #[must_use]
    pub fn then(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }
}
