//! The fuzz targets over their seeds, so that they are compiled and true on every day and not only while
//! somebody fuzzes (docs/fuzzing.md).

use std::path::Path;

#[path = "../../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "while fuzzing it is a crate of its own")]
#[expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "a target that panics has found something"
)]
mod targets;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        check(&seed);
        // And what a little damage makes of it.
        for at in (0..seed.len()).step_by(1 + seed.len() / 100) {
            let mut damaged = seed.clone();
            damaged.truncate(at);
            check(&damaged);
            damaged.push(b'"');
            damaged.extend_from_slice(seed.get(at + 1..).unwrap_or_default());
            check(&damaged);
        }
        count += 1;
    }
    assert!(count >= 9, "seeds in {}", folder.display());
}

#[test]
fn p3_bodies_that_are_accepted_are_read_alike_by_everybody() {
    replay("envelope", targets::envelope::check);
}

#[test]
fn headers_that_are_accepted_say_what_the_body_says() {
    replay("headers", targets::headers::check);
}

#[test]
fn event_streams_are_read_the_same_wherever_they_are_split() {
    replay("sse", targets::sse::check);
}

#[test]
fn lines_of_a_process_keep_everything_but_the_identifiers() {
    replay("framing", targets::framing::check);
}

#[test]
fn ex_06_what_is_typed_as_a_code_is_one_code_or_none() {
    replay("user_code", targets::user_code::check);
}

#[test]
fn rg_01_rg_05_registrations_that_are_accepted_are_safe() {
    replay("registration", targets::registration::check);
}

#[test]
fn answers_of_passkeys_are_read_in_one_way_or_refused() {
    replay("passkey", targets::passkey::check);
}

#[test]
fn g6_rg_06_rg_11_client_ids_and_documents_mean_what_they_say() {
    replay("client_metadata", targets::client_metadata::check);
}

#[test]
fn tk_08_who_a_request_is_from_is_read_in_one_way_or_refused() {
    replay("client_call", targets::client_call::check);
}

#[test]
fn tk_10_assertions_that_are_accepted_say_what_they_must() {
    replay("client_assertion", targets::client_assertion::check);
}

#[test]
fn az_08_pushed_requests_come_out_as_they_went_in() {
    replay("pushed", targets::pushed::check);
}

#[test]
fn r15_a37_tables_of_scopes_say_what_they_are_defined_to_say() {
    replay("scope_table", targets::scope_table::check);
}

#[test]
fn mb_13_mb_14_mb_18_answers_are_filtered_and_told_as_a_plain_reader_finds_them() {
    replay("answers", targets::answers::check);
}

#[test]
fn mb_13_streams_are_filtered_the_same_wherever_they_are_cut() {
    replay("sieve", targets::sieve::check);
}

#[test]
fn what_authorization_servers_say_is_taken_only_as_it_was_said() {
    replay("statements", targets::statements::check);
}

#[test]
fn cl_14_challenges_have_one_meaning_and_name_no_url_that_is_not_used() {
    replay("challenge", targets::challenge::check);
}

#[test]
fn cl_02_resource_metadata_that_is_accepted_is_about_the_server_that_was_asked_for() {
    replay("resource_metadata", targets::resource_metadata::check);
}

#[test]
fn cl_01_cl_03_cl_04_server_metadata_that_is_accepted_is_the_issuers_and_leads_nowhere_dangerous() {
    replay("server_metadata", targets::server_metadata::check);
}

#[test]
fn cl_05_cl_06_a_code_comes_only_out_of_the_answer_that_is_waited_for() {
    replay("callback", targets::callback::check);
}
