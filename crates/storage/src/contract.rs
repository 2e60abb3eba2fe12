//! What every store must do, as checks that any implementation can be put through: named ones for the
//! promises that other crates build on, and a comparison with the in-memory tables under random units.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "checks for tests: they fail by panicking"
)]

mod chains;
mod checks;
mod newer;
pub(crate) mod random;
pub(crate) mod sample;

use std::sync::Arc;

use crate::store::Store;

/// How many units each random run applies.
const STEPS: usize = 400;

/// Runs every check, each on a store without a row that `new_store` makes; panics at the first that fails.
/// Needs a tokio runtime.
pub async fn all<Making>(new_store: impl Fn() -> Making)
where
    Making: Future<Output = Arc<dyn Store>>,
{
    checks::users_are_found_by_id_and_name(&*new_store().await).await;
    checks::removing_a_user_removes_everything_of_theirs(&*new_store().await).await;
    checks::a_setup_link_voids_the_one_before(&*new_store().await).await;
    checks::sessions_end(&*new_store().await).await;
    checks::clients_are_listed_newest_first(&*new_store().await).await;
    checks::room_is_made_for_clients(&*new_store().await).await;
    checks::a_consent_page_is_answered_once(&*new_store().await).await;
    checks::consent_records_are_unique(&*new_store().await).await;
    chains::a_code_is_redeemed_once(&*new_store().await).await;
    chains::one_of_many_redemptions_wins(new_store().await).await;
    chains::a_chain_is_seen_whole(&*new_store().await).await;
    chains::a_long_chain_is_cut(&*new_store().await).await;
    chains::one_of_many_rotations_wins(new_store().await).await;
    checks::revocations_are_numbered_in_order(&*new_store().await).await;
    checks::one_key_is_active(&*new_store().await).await;
    checks::a_unit_is_applied_whole_or_not_at_all(&*new_store().await).await;
    checks::the_version_changes_with_every_commit(&*new_store().await).await;
    checks::sweeping_keeps_what_lives(&*new_store().await).await;
    newer::clients_keep_everything_they_have(&*new_store().await).await;
    newer::only_self_service_clients_go_by_themselves(&*new_store().await).await;
    newer::a_registration_that_expired_is_swept(&*new_store().await).await;
    newer::everything_about_a_code_comes_together(&*new_store().await).await;
    newer::grants_are_listed_and_undone(&*new_store().await).await;
    newer::kill_switches_reach_every_chain(&*new_store().await).await;
    newer::the_feed_names_tokens_and_everything(&*new_store().await).await;
    newer::keys_are_rotated(&*new_store().await).await;
    newer::authenticators_belong_to_people(&*new_store().await).await;
    newer::a_name_is_used_once(&*new_store().await).await;
    newer::a_device_is_answered_once(&*new_store().await).await;
    newer::ds_05_a_device_that_nobody_answered_makes_room(&*new_store().await).await;
    newer::an_approved_device_goes_with_its_grant(&*new_store().await).await;
    newer::notes_are_compared_and_replaced(&*new_store().await).await;
    newer::everything_that_was_handed_out_ends(&*new_store().await).await;
    for seed in 1..=4 {
        random::compare(&*new_store().await, seed, STEPS).await;
    }
}
