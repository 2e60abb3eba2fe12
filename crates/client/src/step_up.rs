//! More scopes when a call needs them, but not for ever (A34 to A36, B28).

use std::collections::HashMap;

use doorward_types::scope::ScopeSet;

use crate::challenge::Challenge;
use crate::error::Error;

/// How many step-ups one operation of one resource gets: with the first login three authorization requests.
pub const MAX_STEP_UPS: u8 = 2;

/// How many operations are remembered.
const MAX_OPERATIONS: usize = 1024;

/// What has been tried: per resource and operation how often, and which elevations were refused.
#[derive(Debug, Default)]
pub struct StepUps {
    /// Per resource and operation: how often.
    tries: HashMap<(String, String), u8>,
    /// Per resource: the unions that were asked for and of which nobody has seen yet that they were granted.
    asked: HashMap<String, Vec<ScopeSet>>,
}

impl StepUps {
    /// What to ask for after `challenge` refused `operation`: the union of what was asked for before and what the challenge
    /// names (A10, A35). `requested` and `granted` are those of the token that was refused. An error when nothing is to be
    /// gained: tried too often, or everything that is challenged was granted already.
    pub fn next(
        &mut self,
        resource: &str,
        operation: &str,
        challenge: &Challenge,
        (requested, granted): (&ScopeSet, &ScopeSet),
    ) -> Result<ScopeSet, Error> {
        let why = || describe(operation, challenge);
        let key = (resource.to_owned(), operation.to_owned());
        let tries = self.tries.get(&key).copied().unwrap_or_default();
        let Some(challenged) = &challenge.scope else {
            return Err(Error::GaveUp {
                tries: tries + 1,
                why: format!("{}, but names no scope", why()),
            });
        };
        let union = requested.union(challenged);
        if tries >= MAX_STEP_UPS {
            return Err(Error::GaveUp {
                tries: tries + 1,
                why: why(),
            });
        }
        if challenged.is_subset(granted) {
            let why = format!("{}, which the token was granted", why());
            return Err(Error::GaveUp {
                tries: tries + 1,
                why,
            });
        }
        // Asked for before and not granted: the user or the server said no. The user is asked again once, not at every call.
        let asked = self.asked.entry(resource.to_owned()).or_default();
        if asked.contains(&union) {
            let why = format!(
                "{}, which was asked for and not granted (log in again to be asked anew)",
                why()
            );
            return Err(Error::GaveUp {
                tries: tries + 1,
                why,
            });
        }
        if self.tries.len() >= MAX_OPERATIONS || asked.len() >= MAX_OPERATIONS {
            return Err(Error::GaveUp {
                tries: tries + 1,
                why: "too many operations asked for more scopes".into(),
            });
        }
        asked.push(union.clone());
        self.tries.insert(key, tries + 1);
        Ok(union)
    }

    /// These scopes were granted: a union among them is no refused elevation, and may be asked for again when the grant is gone one
    /// day. The tries are forgotten only with a success: a server that is never content stays limited.
    pub fn granted(&mut self, resource: &str, scopes: &ScopeSet) {
        if let Some(asked) = self.asked.get_mut(resource) {
            asked.retain(|union| !union.is_subset(scopes));
        }
    }

    /// The operation went through: its tries are forgotten. A refused elevation is not: the operation may need it for other
    /// arguments only (B28).
    pub fn succeeded(&mut self, resource: &str, operation: &str) {
        self.tries.remove(&(resource.to_owned(), operation.to_owned()));
    }
}

fn describe(operation: &str, challenge: &Challenge) -> String {
    let scope = challenge
        .scope
        .as_ref()
        .map(|scope| format!(" \"{scope}\""))
        .unwrap_or_default();
    let text = challenge
        .error_description
        .as_ref()
        .map(|text| format!(" ({text})"))
        .unwrap_or_default();
    format!(
        "{} asks for more scopes{scope}{text}",
        crate::text::shown(operation)
    )
}

#[cfg(test)]
mod tests;
