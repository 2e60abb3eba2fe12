//! The same scenarios through the bridge, with a host that speaks stdio.

use super::catalogue::Catalogue;
use super::suite::Way;
use super::{all_pass, at, not_scored};

/// The bridge sends what a host writes, so everything that a host can do over stdio passes through it.
#[tokio::test(flavor = "multi_thread")]
async fn r22_every_scored_scenario_of_2025_11_25_passes_through_the_bridge() {
    let catalogue = Catalogue::of_the_suite();
    let authorization = catalogue
        .older
        .scored
        .iter()
        .filter(|name| name.starts_with("auth/"));
    assert_eq!(authorization.count(), 14);
    all_pass(&Way::bridge(), &at(&catalogue.older.scored, "2025-11-25")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_every_scored_scenario_of_2026_07_28_passes_through_the_bridge() {
    let catalogue = Catalogue::of_the_suite();
    let authorization = catalogue
        .newer
        .scored
        .iter()
        .filter(|name| name.starts_with("auth/"));
    assert_eq!(authorization.count(), 25);
    all_pass(&Way::bridge(), &at(&catalogue.newer.scored, "2026-07-28")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_every_scenario_that_is_not_scored_passes_through_the_bridge() {
    let catalogue = Catalogue::of_the_suite();
    all_pass(&Way::bridge(), &not_scored(&catalogue)).await;
}
