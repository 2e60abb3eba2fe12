//! Forgetting what time has ended.

use doorward_records::{Unit, Write};
use doorward_types::time::UnixTime;

use crate::settings::Lifetimes;

/// The unit that removes it. To be committed now and then; nothing depends on when.
#[must_use]
pub fn unit(lifetimes: &Lifetimes, now: UnixTime) -> Unit {
    Unit::writes(vec![Write::Sweep {
        now,
        families_idle_since: now.minus(lifetimes.refresh_idle),
        families_created_before: now.minus(lifetimes.refresh_absolute),
        clients_ungranted_since: now.minus(lifetimes.client_ungranted),
        clients_unused_since: now.minus(lifetimes.client_unused),
    }])
}
