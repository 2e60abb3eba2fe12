//! Permissions as values: what a handler needs stands in its signature (R26, R30).

use std::fmt;
use std::marker::PhantomData;

use http::request::Parts;

use crate::access_token::AccessToken;
use crate::refused::Refused;
use crate::rule::ScopeRule;

/// Something that not everybody may do. Implement it for an empty type, and take [`Granted`] of that type where the
/// thing is done.
pub trait Permission: Send + Sync + 'static {
    /// The scopes that it needs. It is asked at every check: keep the rule in a `LazyLock` where that counts.
    fn scopes() -> ScopeRule;

    /// Whether the holder of `token` may do it with the request that has this head, whatever was granted: role, owner,
    /// hour of the day.
    fn allows(token: &AccessToken, head: &Parts) -> bool {
        let _ = (token, head);
        true
    }
}

/// Proof that a request may do what `P` stands for. Only [`Granted::check`] makes one, so a function that takes it
/// cannot be called where the check was forgotten.
///
/// ```
/// use doorward_resource_server::{AccessToken, Granted, Permission, ScopeRule};
///
/// struct DeleteNotes;
///
/// impl Permission for DeleteNotes {
///     fn scopes() -> ScopeRule {
///         ScopeRule::all_of(["notes:delete"]).unwrap_or_else(|_| unreachable!("a scope"))
///     }
///     fn allows(token: &AccessToken, _: &http::request::Parts) -> bool {
///         token.groups().iter().any(|group| group == "editors")
///     }
/// }
///
/// fn delete_all(granted: &Granted<DeleteNotes>) {
///     println!("deleted for {}", granted.token().subject());
/// }
/// ```
///
/// Forgetting the check does not compile, and neither does the check of something else:
///
/// ```compile_fail,E0061
/// # use doorward_resource_server::{Granted, Permission, ScopeRule};
/// # struct DeleteNotes;
/// # impl Permission for DeleteNotes { fn scopes() -> ScopeRule { ScopeRule::all_of([""; 0]).unwrap() } }
/// # fn delete_all(granted: &Granted<DeleteNotes>) {}
/// delete_all();
/// ```
///
/// ```compile_fail,E0308
/// # use doorward_resource_server::{Granted, Permission, ScopeRule};
/// # struct DeleteNotes;
/// # impl Permission for DeleteNotes { fn scopes() -> ScopeRule { ScopeRule::all_of([""; 0]).unwrap() } }
/// # struct ReadNotes;
/// # impl Permission for ReadNotes { fn scopes() -> ScopeRule { ScopeRule::all_of([""; 0]).unwrap() } }
/// # fn delete_all(granted: &Granted<DeleteNotes>) {}
/// fn handler(granted: &Granted<ReadNotes>) {
///     delete_all(granted);
/// }
/// ```
///
/// ```compile_fail,E0451
/// # use doorward_resource_server::{AccessToken, Granted, Permission, ScopeRule};
/// # struct DeleteNotes;
/// # impl Permission for DeleteNotes { fn scopes() -> ScopeRule { ScopeRule::all_of([""; 0]).unwrap() } }
/// fn forge(token: AccessToken) -> Granted<DeleteNotes> {
///     Granted { token, permission: std::marker::PhantomData }
/// }
/// ```
pub struct Granted<P> {
    token: AccessToken,
    permission: PhantomData<fn() -> P>,
}

impl<P: Permission> Granted<P> {
    /// Checks the request with this head, which passed a layer of [`ResourceServer`](crate::ResourceServer). In an rmcp
    /// tool the head is `context.extensions.get::<http::request::Parts>()`; in an axum handler `Granted` is an extractor.
    ///
    /// A tool's answer is on its way when it runs, so there the refusal can only be told in the result; for a challenge
    /// that makes clients step up, name the tool in a scope table.
    pub fn check(head: &Parts) -> Result<Self, Refused> {
        let token = AccessToken::of(&head.extensions).ok_or(Refused::NoToken)?;
        let rule = P::scopes();
        if !rule.admits(token.scopes()) {
            let needed = rule.to_ask_for().clone();
            return Err(match needed.is_empty() {
                true => Refused::Permission,
                false => Refused::Scope { needed },
            });
        }
        if !P::allows(token, head) {
            return Err(Refused::Permission);
        }
        Ok(Self {
            token: token.clone(),
            permission: PhantomData,
        })
    }
}

impl<P> Granted<P> {
    /// Whose request it is.
    #[must_use]
    pub const fn token(&self) -> &AccessToken {
        &self.token
    }
}

impl<P> fmt::Debug for Granted<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Granted").field(&self.token).finish()
    }
}
